-- One row per (model, prompt): seconds per image, seeds averaged.
SELECT s.model_id, s.prompt_id, avg(s.seconds)::DOUBLE AS seconds
FROM sample AS s JOIN prompt AS p USING (prompt_id)
WHERE s.status = 'done' AND s.model_id IN $models AND p.category IN $categories
  AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[]))) AND s.seed IN $seeds
GROUP BY ALL ORDER BY s.model_id, s.prompt_id
