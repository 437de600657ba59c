-- One row per (model, concept, prompt): its restricted mean emergence on the axis, seeds averaged; for tests between rows.
SELECT model_id, concept, prompt_id, avg(x) AS step
FROM restricted_emergence($models, $categories, $slice, $seeds, $concepts, $named, $axis)
GROUP BY ALL ORDER BY model_id, concept, prompt_id
