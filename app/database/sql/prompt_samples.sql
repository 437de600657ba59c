-- One row per sample of one prompt: score, status and final image.
SELECT s.sample_id, s.model_id, m.label AS model, s.seed, s.status, s.error, s.notice, s.seconds,
       r.value AS score, s.image
FROM sample AS s JOIN model AS m USING (model_id)
LEFT JOIN scored_sample($metric) AS r
    ON r.model_id = s.model_id AND r.prompt_id = s.prompt_id AND coalesce(r.seed, s.seed) = s.seed
WHERE s.prompt_id = $prompt AND s.model_id IN $models AND s.seed IN $seeds
ORDER BY s.model_id, s.seed
