-- One row per (model, step, pair of methods): agreement of their maps; seeds averaged first, then over prompts.
-- Step -1 is the mean over the explained steps, which are averaged within a prompt.
WITH chosen AS (
    SELECT a.model_id, a.step, a.method_a, a.method_b, a.prompt_id, a.spearman, a.iou
    FROM agreement AS a JOIN sample AS s USING (sample_id)
    JOIN scoped_prompt($categories, $slice) AS p ON p.prompt_id = a.prompt_id
    WHERE a.model_id IN $models AND s.seed IN $seeds
),
unit AS (
    SELECT model_id, step, method_a, method_b, prompt_id, avg(spearman) AS spearman, avg(iou) AS iou
    FROM chosen GROUP BY ALL
    UNION ALL
    SELECT model_id, -1, method_a, method_b, prompt_id, avg(spearman), avg(iou) FROM chosen GROUP BY ALL
)
SELECT model_id, step, method_a, method_b, count(spearman)::INTEGER AS prompts,
       avg(spearman) AS spearman, stddev_samp(spearman) AS spearman_sd, avg(iou) AS iou, stddev_samp(iou) AS iou_sd
FROM unit GROUP BY ALL ORDER BY model_id, method_a, method_b, step
