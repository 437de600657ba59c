-- One row per sample of one prompt: score, status and final image.
SELECT s.sample_id, s.model_id, m.label AS model, s.seed, s.status, s.error, s.notice, s.seconds,
       s.clip_score::DOUBLE AS score, s.image
FROM sample AS s JOIN model AS m USING (model_id)
WHERE s.prompt_id = $prompt AND s.model_id IN $models AND s.seed IN $seeds
ORDER BY s.model_id, s.seed
