-- One row per (model, step): the mean over prompts of the embeddings' place on the study's two principal components.
WITH point AS (
    SELECT f.model_id, f.prompt_id, unnest(f.x) AS x, unnest(f.y) AS y, generate_subscripts(f.x, 1) - 1 AS step
    FROM path AS f JOIN prompt AS p USING (prompt_id)
    WHERE f.model_id IN $models AND f.seed IN $seeds AND p.category IN $categories
      AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[])))
),
unit AS (
    SELECT model_id, step, prompt_id, avg(x) AS x, avg(y) AS y FROM point GROUP BY ALL
)
SELECT model_id, step::INTEGER AS step, count(*)::INTEGER AS prompts, avg(x)::DOUBLE AS x, avg(y)::DOUBLE AS y,
       stddev_samp(x)::DOUBLE AS x_sd, stddev_samp(y)::DOUBLE AS y_sd
FROM unit GROUP BY ALL ORDER BY model_id, step
