-- One row per (model, prompt, seed, family, step): the share of images drawn anew from a noised finished image that keep its
-- attribute, as the judge and as the scorer read it (NULL = not known). Always by the first scorer.
SELECT r.model_id, r.prompt_id, s.seed, r.family, r.step, r.redraws,
       r.judged / r.redraws::DOUBLE AS judge, r.kept / r.redraws::DOUBLE AS scorer
FROM redraw AS r JOIN sample AS s ON s.sample_id = r.sample_id
JOIN scoped_prompt($categories, $slice) AS p ON p.prompt_id = r.prompt_id
WHERE r.model_id IN $models AND s.seed IN $seeds
ORDER BY r.model_id, r.prompt_id, s.seed, r.family, r.step
