-- One row per (model, concept), by names that last over snapshots: a hash of what its presence is judged by, and of the noise levels of the model's steps.
WITH levels AS (
    SELECT model_id, list(log_snr ORDER BY step) AS levels FROM step GROUP BY model_id
)
SELECT m.name AS model, c.family, c.name AS concept, md5(row(t.baseline, t.threshold, l.levels)::VARCHAR) AS thresholds
FROM contrast AS t JOIN model AS m USING (model_id) JOIN concept AS c USING (concept_id) LEFT JOIN levels AS l USING (model_id)
ORDER BY m.name, c.concept_id
