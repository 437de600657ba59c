-- One row per (model, method): similarity of the maps to those of the model with the largest share of its weights randomised.
SELECT model_id, method, max(share)::DOUBLE AS share, avg(spearman)::DOUBLE AS randomised
FROM randomisation AS r
WHERE model_id IN $models
  AND share = (SELECT max(o.share) FROM randomisation AS o WHERE o.model_id = r.model_id AND o.method = r.method)
GROUP BY ALL ORDER BY model_id, method
