-- One row per concept whose presence is not known in some model, because too few prompts do not name it.
SELECT DISTINCT concept_id FROM contrast
WHERE threshold IS NULL AND model_id IN $models AND concept_id IN $concepts
ORDER BY concept_id
