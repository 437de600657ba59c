-- One row per (model, method, randomised layers): Spearman with the trained model's map; steps averaged.
SELECT model_id, method, layers, share::DOUBLE AS share, avg(spearman) AS spearman, sum(samples)::INTEGER AS samples
FROM randomisation WHERE model_id IN $models
GROUP BY ALL ORDER BY model_id, method, share
