-- One row per frame of a few prompts and one seed, of every model: the predicted clean image at a step, and its similarity.
SELECT s.prompt_id, p.prompt_key, p.text, s.model_id, f.step, f.image, t.similarity[f.step + 1]::DOUBLE AS similarity
FROM sample AS s
JOIN prompt AS p USING (prompt_id)
JOIN frame AS f USING (sample_id)
LEFT JOIN trajectory AS t ON t.sample_id = s.sample_id AND t.model_id = s.model_id
     AND t.prompt_id = s.prompt_id AND t.concept_id = 0
WHERE s.prompt_id IN $prompts AND s.seed = $seed AND s.model_id IN $models
ORDER BY s.prompt_id, s.model_id, f.step
