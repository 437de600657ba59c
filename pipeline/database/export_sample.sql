-- One row per sample, with the names and texts that its ids stand for: what a reader of the exported data set opens first.
SELECT
    sample_id, model.name AS model, model.label AS model_label, prompt_key, prompt.text AS prompt, category, seed, status,
    error, notice, clip_score, width, height, image
FROM sample
JOIN model USING (model_id)
JOIN prompt USING (prompt_id)
ORDER BY sample_id;
