-- One row per (concept, prompt) of a model: its curve, of all seeds together.
SELECT concept_id, prompt_id, seeds, final, similarity FROM rollup_prompt WHERE model_id = $model
