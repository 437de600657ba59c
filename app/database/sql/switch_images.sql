-- One row per (model, base, step): the images of one prompt's switches, with what the base differs in.
SELECT DISTINCT s.model_id, i.base, i.step, i.image, coalesce(nullif(w.differs, ''), split_part(w.concept, '/', 1)) AS family
FROM switch_image AS i JOIN sample AS s ON s.sample_id = i.sample_id
JOIN switch AS w ON w.sample_id = i.sample_id AND w.base = i.base AND w.direction = i.direction AND w.step = i.step
WHERE s.prompt_id = $prompt AND s.seed = $seed AND i.direction = $switched AND s.model_id IN $models
ORDER BY s.model_id, i.base, i.step
