-- One row per model, in the study's order.
SELECT name FROM model ORDER BY model_id;
