-- One row per model: samples planned, done and failed within the filters; the rest is missing.
WITH planned AS (
    SELECT count(*) * len($seeds) AS samples FROM scoped_prompt($categories, $slice)
),
tried AS (
    SELECT model_id,
           count(*) FILTER (WHERE status = 'done') AS done,
           count(*) FILTER (WHERE status = 'failed') AS failed,
           sum(seconds) FILTER (WHERE status = 'done') AS seconds
    FROM sample JOIN scoped_prompt($categories, $slice) USING (prompt_id)
    WHERE seed IN $seeds
    GROUP BY model_id
)
SELECT model_id,
       samples::INTEGER AS planned,
       coalesce(done, 0)::INTEGER AS done,
       coalesce(failed, 0)::INTEGER AS failed,
       greatest(samples - coalesce(done, 0) - coalesce(failed, 0), 0)::INTEGER AS missing,
       seconds / nullif(done, 0) AS seconds_per_sample
FROM model CROSS JOIN planned LEFT JOIN tried USING (model_id)
WHERE model_id IN $models
ORDER BY model_id
