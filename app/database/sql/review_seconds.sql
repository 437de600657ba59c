-- One row per (model, prompt): seconds per image, seeds averaged.
SELECT s.model_id, s.prompt_id, avg(s.seconds)::DOUBLE AS seconds
FROM sample AS s JOIN scoped_prompt($categories, $slice) AS p USING (prompt_id)
WHERE s.status = 'done' AND s.model_id IN $models AND s.seed IN $seeds
GROUP BY ALL ORDER BY s.model_id, s.prompt_id
