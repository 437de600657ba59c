-- One row per group of layers that ConceptAttention was recorded for; all layers together first.
SELECT layer_group FROM concept_attention WHERE model_id IN $models
GROUP BY layer_group ORDER BY (layer_group <> 'all'), layer_group
