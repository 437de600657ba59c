-- One row per (concept, prompt) of a model: its curve, of all seeds together; none where it is longer than the model's steps.
SELECT concept_id, prompt_id, seeds, final, if(len(similarity) <= curve_length($model), similarity, NULL) AS similarity
FROM rollup_prompt WHERE model_id = $model
