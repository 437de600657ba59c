-- One row per model, in the study's order.
SELECT * FROM model ORDER BY model_id
