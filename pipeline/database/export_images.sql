-- One row per final image of a model, in the order of prompts and seeds.
SELECT prompt_id, prompt_key, prompt.text, prompt.source, category, seed, image
FROM sample
JOIN model USING (model_id)
JOIN prompt USING (prompt_id)
WHERE model.name = $model AND status = 'done' AND image IS NOT NULL
ORDER BY prompt_id, seed;
