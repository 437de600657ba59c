-- One row per (model, concept, step) of one prompt: mean over seeds, with the lowest and highest seed.
WITH point AS (
    SELECT model_id, concept_id, seed, unnest(similarity) AS value, generate_subscripts(similarity, 1) - 1 AS step
    FROM trajectory
    WHERE prompt_id = $prompt AND model_id IN $models AND concept_id IN $concepts AND seed IN $seeds
)
SELECT model_id, concept_id, step::INTEGER AS step, avg(value) AS mean, min(value)::DOUBLE AS low,
       max(value)::DOUBLE AS high, count(*)::INTEGER AS seeds
FROM point GROUP BY ALL ORDER BY model_id, concept_id, step
