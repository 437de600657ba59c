-- One row per (model, stage, reason): how many samples failed so, and the first prompt that did.
SELECT m.label AS model, f.stage, f.error, count(*)::INTEGER AS samples, max(f.tries)::INTEGER AS tries,
       min_by(p.text, p.prompt_id) AS first_prompt
FROM failure AS f JOIN model AS m USING (model_id) JOIN scoped_prompt($categories, $slice) AS p USING (prompt_id)
WHERE f.model_id IN $models AND f.seed IN $seeds
GROUP BY ALL
ORDER BY samples DESC, model, stage, error
LIMIT 200
