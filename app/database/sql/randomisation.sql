-- One row per (model, method, randomised layers): Spearman with the trained model's map, its mean over maps. The standard deviation
-- over maps is known where a row of the table is one map.
SELECT model_id, method, layers, share::DOUBLE AS share, avg(spearman) AS spearman,
       CASE WHEN max(samples) <= 1 THEN stddev_samp(spearman) END::DOUBLE AS sd, sum(samples)::INTEGER AS samples
FROM randomisation WHERE model_id IN $models
GROUP BY ALL ORDER BY model_id, method, share
