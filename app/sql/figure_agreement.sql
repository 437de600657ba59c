-- One row per (model, method_a, method_b, prompt): agreement of their maps; seeds and steps averaged.
SELECT a.model_id, a.method_a, a.method_b, a.prompt_id, avg(a.spearman)::DOUBLE AS spearman, avg(a.iou)::DOUBLE AS iou
FROM agreement AS a JOIN sample AS s USING (sample_id) JOIN prompt AS p ON p.prompt_id = a.prompt_id
WHERE a.model_id IN $models AND s.seed IN $seeds AND p.category IN $categories
  AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[])))
GROUP BY ALL ORDER BY a.model_id, a.method_a, a.method_b, a.prompt_id
