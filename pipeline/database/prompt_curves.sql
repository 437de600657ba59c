-- One row per (concept, prompt) of a model: the mean curve over seeds at a range of steps (1-based), sorted.
SELECT concept_id, prompt_id, similarity[$first:$last] AS similarity
FROM rollup_prompt
WHERE model_id = $model
ORDER BY concept_id, prompt_id;
