-- One row per (concept, prompt) of a model: its curve of one seed; none where it is longer than the model's steps.
SELECT concept_id, prompt_id, 1::INTEGER AS seeds, final, if(len(similarity) <= curve_length($model), similarity, NULL) AS similarity
FROM trajectory WHERE model_id = $model AND seed = $seed
