-- One row per (model, step): density of information of one word over the prompts that have it, nats per unit of log-SNR; seeds, and
-- places of a word that comes again, are averaged within a prompt.
WITH point AS (
    SELECT model_id, prompt_id, seed, unnest(steps) AS step, unnest(density) AS value
    FROM information_value($models, $categories, $slice, $seeds) WHERE word = $word
),
sampled AS (
    SELECT model_id, prompt_id, seed, step, avg(value) AS value FROM point GROUP BY ALL
),
unit AS (
    SELECT model_id, prompt_id, step, avg(value) AS value FROM sampled GROUP BY ALL
)
SELECT model_id, step::INTEGER AS step, count(*)::INTEGER AS prompts, avg(value) AS mean, stddev_samp(value) AS sd
FROM unit GROUP BY ALL ORDER BY model_id, step
