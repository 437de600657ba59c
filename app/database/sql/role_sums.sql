-- One row per (model, role): the mean over steps of what the words of a role got together, over prompts.
WITH point AS (
    FROM role_value($models, $categories, $slice, $seeds, $source, $layer_group)
),
stepped AS (
    SELECT model_id, prompt_id, seed, role, step, sum(value) AS total FROM point GROUP BY ALL
),
unit AS (
    SELECT model_id, prompt_id, role, avg(total) AS value FROM stepped GROUP BY ALL
)
SELECT model_id, role, count(*)::INTEGER AS prompts, avg(value) AS mean, stddev_samp(value) AS sd
FROM unit GROUP BY ALL ORDER BY model_id, role
