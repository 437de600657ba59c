-- scored_sample($metric): one row per sample that has the score, '' = the CLIP score; of a metric per prompt, one row per model
-- and prompt, without sample and seed.
CREATE TEMP MACRO scored_sample(wanted) AS TABLE
SELECT sample_id, model_id, prompt_id, seed, clip_score::DOUBLE AS value FROM sample
WHERE wanted = '' AND status = 'done' AND clip_score IS NOT NULL
UNION ALL
SELECT sample_id, model_id, prompt_id, seed, score.value FROM score JOIN metric USING (metric_id) WHERE metric.name = wanted
