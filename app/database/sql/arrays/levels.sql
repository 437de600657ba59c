-- One row per (model, step): where it is on the axis, and where the step before it is.
SELECT model_id, step, x, before FROM level($models, $axis) ORDER BY model_id, step
