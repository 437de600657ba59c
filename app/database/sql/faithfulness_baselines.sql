-- One row per baseline (zero, re-noised, resampled) that insertion and deletion were measured with, zero first.
WITH known AS (SELECT baseline, count(*)::BIGINT AS rows FROM faithfulness WHERE model_id IN $models GROUP BY ALL)
SELECT baseline, rows FROM known ORDER BY array_position(['zero', 're-noised', 'resampled'], baseline)
