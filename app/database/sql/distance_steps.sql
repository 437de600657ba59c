-- One row per (sample, step) of a distance per step to a reference entry: its value in the distance's own unit.
SELECT s.model_id, s.prompt_id, s.seed, unnest(s.steps)::INTEGER AS step, unnest(s.step_values) AS value
FROM score AS s JOIN metric USING (metric_id) JOIN scoped_prompt($categories, $slice) AS p USING (prompt_id)
WHERE metric.name = $distance AND s.steps IS NOT NULL AND s.seed IS NOT NULL AND s.model_id IN $models AND s.seed IN $seeds
ORDER BY s.model_id, s.prompt_id, s.seed, step
