-- One row per (model, concept, step): mean similarity over prompts, from the rollups.
SELECT model_id, concept_id, step, prompts, samples,
       mean::DOUBLE AS mean, low::DOUBLE AS low, high::DOUBLE AS high, sd::DOUBLE AS sd, r_final::DOUBLE AS r_final
FROM rollup_step
WHERE model_id IN $models AND concept_id IN $concepts AND category = $category
ORDER BY model_id, concept_id, step
