-- One row per (model, step): the mean place over prompts, seeds averaged, and the spread of places around it.
WITH point AS (
    SELECT t.model_id, t.prompt_id, generate_subscripts(t.x, 1) - 1 AS step, unnest(t.x) AS x, unnest(t.y) AS y
    FROM path AS t JOIN prompt AS p USING (prompt_id)
    WHERE t.model_id IN $models AND t.seed IN $seeds AND p.category IN $categories
      AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[])))
),
unit AS (
    SELECT model_id, prompt_id, step, avg(x) AS x, avg(y) AS y FROM point GROUP BY ALL
)
SELECT model_id, step, count(*)::INTEGER AS prompts, avg(x) AS x, avg(y) AS y,
       sqrt(var_pop(x) + var_pop(y)) AS spread
FROM unit GROUP BY ALL ORDER BY model_id, step
