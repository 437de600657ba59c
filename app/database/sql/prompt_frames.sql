-- One row per frame of one prompt and seed, of every model: the predicted clean image at a step, and its similarity.
SELECT s.model_id, s.sample_id, f.step, f.image, t.similarity[f.step + 1]::DOUBLE AS similarity
FROM sample AS s
JOIN frame AS f USING (sample_id)
LEFT JOIN trajectory AS t ON t.sample_id = s.sample_id AND t.model_id = s.model_id
     AND t.prompt_id = s.prompt_id AND t.concept_id = 0
WHERE s.prompt_id = $prompt AND s.seed = $seed AND s.model_id IN $models
ORDER BY s.model_id, f.step
