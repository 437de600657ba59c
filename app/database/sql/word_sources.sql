-- One row per (source, layer group) that the study recorded for words; all layers together first.
SELECT source, layer_group, count(*)::BIGINT AS rows FROM token_attention WHERE model_id IN $models
GROUP BY source, layer_group ORDER BY source, (layer_group <> 'all'), layer_group
