-- One row per (source, layer group) that the study recorded for words.
SELECT source, layer_group, count(*)::BIGINT AS rows FROM token_attention WHERE model_id IN $models
GROUP BY ALL ORDER BY source, layer_group = 'all' DESC, layer_group
