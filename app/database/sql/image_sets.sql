-- One row per (model, measure, reference, extractor): a saved measure of all final images of a model.
SELECT model_id, measure, value, low, high, lower_is_better, images, prompts, reference_id, reference_images, extractor, method, computed_at, outdated
FROM image_set WHERE model_id IN $models
ORDER BY measure <> 'vendi', measure, reference_id, extractor, model_id
