-- One row per (model, kind, name): information in nats of a word of a role (kind role), or of a word (kind word, those of at least two
-- prompts); averaged within a sample, then over seeds within a prompt.
WITH value AS (
    FROM information_value($models, $categories, $slice, $seeds) WHERE nats IS NOT NULL
),
named AS (
    SELECT model_id, prompt_id, seed, 'role' AS kind, role AS name, nats FROM value
    UNION ALL
    SELECT model_id, prompt_id, seed, 'word', word, nats FROM value WHERE word <> ''
),
sampled AS (
    SELECT model_id, prompt_id, seed, kind, name, avg(nats) AS nats FROM named GROUP BY ALL
),
unit AS (
    SELECT model_id, prompt_id, kind, name, avg(nats) AS nats FROM sampled GROUP BY ALL
)
SELECT model_id, kind, name, count(*)::INTEGER AS prompts, avg(nats) AS mean, stddev_samp(nats) AS sd
FROM unit GROUP BY ALL HAVING kind = 'role' OR count(*) > 1
ORDER BY model_id, kind, prompts DESC, name
