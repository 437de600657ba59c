-- curve_length(model): a model's steps: no curve has more similarities.
CREATE TEMP MACRO curve_length(model) AS (SELECT count(*) FROM step WHERE model_id = model)
