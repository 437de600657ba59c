-- One row per (model, against): rank correlation, over the words of a prompt, of information and what the scorer sees of leaving the word
-- out (effect, change); seeds averaged first, prompts with at least three words.
WITH word AS (
    SELECT model_id, prompt_id, word_index, avg(nats) AS nats, avg(effect) AS effect, avg(change) AS change
    FROM information_value($models, $categories, $slice, $seeds) WHERE nats IS NOT NULL GROUP BY ALL
),
against AS (
    SELECT model_id, prompt_id, nats, 'effect' AS against, effect AS value FROM word
    UNION ALL
    SELECT model_id, prompt_id, nats, 'change', change FROM word
),
ranked AS (
    SELECT model_id, prompt_id, against,
           rank() OVER (PARTITION BY model_id, prompt_id, against ORDER BY nats)
           + (count(*) OVER (PARTITION BY model_id, prompt_id, against, nats) - 1) / 2 AS rank_nats,
           rank() OVER (PARTITION BY model_id, prompt_id, against ORDER BY value)
           + (count(*) OVER (PARTITION BY model_id, prompt_id, against, value) - 1) / 2 AS rank_value
    FROM against
),
unit AS (
    SELECT model_id, prompt_id, against, corr(rank_nats, rank_value) AS rho
    FROM ranked GROUP BY ALL HAVING count(*) > 2 AND stddev_samp(rank_nats) > 0 AND stddev_samp(rank_value) > 0
)
SELECT model_id, against, count(*)::INTEGER AS prompts, avg(rho) AS mean, stddev_samp(rho) AS sd
FROM unit GROUP BY ALL ORDER BY model_id, against DESC
