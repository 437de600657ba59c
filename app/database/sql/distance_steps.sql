-- One row per sample with a distance per step to a reference entry: the steps compared, and the values in the distance's own unit.
SELECT s.model_id, s.prompt_id, s.seed, s.steps, s.step_values AS value_list
FROM score AS s JOIN metric USING (metric_id) JOIN scoped_prompt($categories, $slice) AS p USING (prompt_id)
WHERE metric.name = $distance AND s.steps IS NOT NULL AND s.seed IS NOT NULL AND s.model_id IN $models AND s.seed IN $seeds
ORDER BY s.model_id, s.prompt_id, s.seed
