-- One row per (model, method): localisation over scenes, steps and words averaged within a scene.
WITH unit AS (
    SELECT model_id, method, scene, avg(pointing) AS pointing, avg(iou) AS iou,
           avg(average_precision) AS precision, avg(mask_share) AS chance
    FROM localisation WHERE model_id IN $models GROUP BY ALL
)
SELECT model_id, method, count(*)::INTEGER AS scenes,
       avg(pointing)::DOUBLE AS pointing, stddev_samp(pointing)::DOUBLE AS pointing_sd,
       avg(iou)::DOUBLE AS iou, stddev_samp(iou)::DOUBLE AS iou_sd,
       avg(precision)::DOUBLE AS precision, stddev_samp(precision)::DOUBLE AS precision_sd,
       avg(chance)::DOUBLE AS chance
FROM unit GROUP BY ALL ORDER BY model_id, precision DESC, method
