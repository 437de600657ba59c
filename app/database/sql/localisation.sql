-- One row per (model, method, whether maps of words, step, scene): how well maps find known objects; words averaged.
SELECT model_id, method, word <> '' AS of_word, step, scene, count(*)::INTEGER AS maps,
       avg(average_precision) AS average_precision, avg(average_precision - mask_share) AS gain,
       avg(pointing) AS pointing, avg(iou) AS iou, avg(mask_share) AS chance
FROM localisation WHERE model_id IN $models AND layer = 'all'
GROUP BY ALL ORDER BY model_id, method, of_word, step, scene
