-- One row per (concept, prompt) of a model: its curve of one seed.
SELECT concept_id, prompt_id, 1::INTEGER AS seeds, final, similarity FROM trajectory WHERE model_id = $model AND seed = $seed
