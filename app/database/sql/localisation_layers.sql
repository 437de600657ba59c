-- One row per (model, method, layer, scene): how well the maps of words of one layer alone find the objects; steps and words averaged.
SELECT model_id, method, layer, scene, avg(average_precision - mask_share) AS gain
FROM localisation WHERE model_id IN $models AND word <> ''
  AND method IN (SELECT method FROM localisation WHERE layer <> 'all')
GROUP BY ALL ORDER BY model_id, method, layer, scene
