-- One row per (model, family, prompt): the restricted mean emergence on the axis, seeds and concepts averaged; for tests between rows.
SELECT model_id, family, prompt_id, avg(x) AS step
FROM restricted_emergence($models, $categories, $slice, $seeds, $concepts, $named, $axis)
GROUP BY ALL ORDER BY model_id, family, prompt_id
