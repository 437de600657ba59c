-- One row per (model, role, step): what the words of a role got together; seeds averaged within a prompt first.
-- Only prompts that have the role count. total = sum over the role's words, each = their mean; scaled relevance where
-- there is one, else the share of attention.
WITH point AS (
    FROM role_value($models, $categories, $slice, $seeds, $source, $layer_group)
),
sampled AS (
    SELECT model_id, prompt_id, seed, role, step, sum(value) AS total, avg(value) AS each FROM point GROUP BY ALL
),
unit AS (
    SELECT model_id, prompt_id, role, step, avg(total) AS total, avg(each) AS each FROM sampled GROUP BY ALL
)
SELECT model_id, role, step, count(*)::INTEGER AS prompts,
       avg(total) AS total, stddev_samp(total) AS total_sd, avg(each) AS each, stddev_samp(each) AS each_sd
FROM unit GROUP BY ALL ORDER BY model_id, role, step
