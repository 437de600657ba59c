-- One row per notice: samples that were made, with something odd about them.
SELECT notice, count(*)::INTEGER AS samples, count(DISTINCT prompt_id)::INTEGER AS prompts
FROM sample JOIN prompt USING (prompt_id)
WHERE notice <> '' AND model_id IN $models AND category IN $categories
  AND ($slice IS NULL OR prompt_id IN (SELECT unnest($slice::INTEGER[]))) AND seed IN $seeds
GROUP BY notice ORDER BY samples DESC, notice LIMIT 50
