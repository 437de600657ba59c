-- One row per (model, step, pair of methods): agreement of their maps; seeds averaged first, then over prompts.
WITH unit AS (
    SELECT a.model_id, a.step, a.method_a, a.method_b, a.prompt_id, avg(a.spearman) AS spearman, avg(a.iou) AS iou
    FROM agreement AS a JOIN sample AS s USING (sample_id) JOIN prompt AS p ON p.prompt_id = a.prompt_id
    WHERE a.model_id IN $models AND s.seed IN $seeds AND p.category IN $categories
      AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[])))
    GROUP BY ALL
)
SELECT model_id, step, method_a, method_b, count(*)::INTEGER AS prompts,
       count(spearman)::INTEGER AS n, avg(spearman) AS spearman, stddev_samp(spearman) AS spearman_sd,
       avg(iou) AS iou, stddev_samp(iou) AS iou_sd
FROM unit GROUP BY ALL ORDER BY model_id, step, method_a, method_b
