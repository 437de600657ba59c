-- One row per (model, step): the mean place over prompts, seeds averaged, and the spread of places around it.
WITH point AS (
    SELECT t.model_id, t.prompt_id, generate_subscripts(t.x, 1) - 1 AS step, unnest(t.x) AS x, unnest(t.y) AS y
    FROM path AS t JOIN scoped_prompt($categories, $slice) AS p USING (prompt_id)
    WHERE t.model_id IN $models AND t.seed IN $seeds
),
unit AS (
    SELECT model_id, prompt_id, step, avg(x) AS x, avg(y) AS y FROM point GROUP BY ALL
)
SELECT model_id, step::INTEGER AS step, count(*)::INTEGER AS prompts, avg(x)::DOUBLE AS x, avg(y)::DOUBLE AS y,
       stddev_samp(x)::DOUBLE AS x_sd, stddev_samp(y)::DOUBLE AS y_sd, sqrt(var_pop(x) + var_pop(y)) AS spread
FROM unit GROUP BY ALL ORDER BY model_id, step
