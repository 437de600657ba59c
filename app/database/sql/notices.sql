-- One row per notice: samples that were made, with something odd about them.
SELECT notice, count(*)::INTEGER AS samples, count(DISTINCT prompt_id)::INTEGER AS prompts
FROM sample JOIN scoped_prompt($categories, $slice) USING (prompt_id)
WHERE notice <> '' AND model_id IN $models AND seed IN $seeds
GROUP BY notice ORDER BY samples DESC, notice LIMIT 50
