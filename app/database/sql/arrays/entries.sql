-- One row per pair of a model and a seed of the study.
SELECT model_id, unnest(seeds) AS seed FROM model CROSS JOIN study ORDER BY model_id, seed
