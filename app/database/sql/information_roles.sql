-- One row per (model, role, step): density of information of a word of the role, nats per unit of log-SNR; the words of a role are
-- averaged within a sample, then seeds within a prompt. Only prompts that have the role count.
WITH point AS (
    SELECT model_id, prompt_id, seed, role, unnest(steps) AS step, unnest(density) AS value
    FROM information_value($models, $categories, $slice, $seeds)
),
sampled AS (
    SELECT model_id, prompt_id, seed, role, step, avg(value) AS value FROM point GROUP BY ALL
),
unit AS (
    SELECT model_id, prompt_id, role, step, avg(value) AS value FROM sampled GROUP BY ALL
)
SELECT model_id, role, step::INTEGER AS step, count(*)::INTEGER AS prompts, avg(value) AS mean, stddev_samp(value) AS sd
FROM unit GROUP BY ALL ORDER BY model_id, role, step
