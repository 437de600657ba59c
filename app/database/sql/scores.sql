-- One row per (model, prompt): the chosen score of the final image, '' = the CLIP score, seeds averaged.
SELECT s.model_id, s.prompt_id, p.category, avg(s.value) AS score, count(*)::INTEGER AS seeds
FROM scored_sample($metric) AS s JOIN scoped_prompt($categories, $slice) AS p USING (prompt_id)
WHERE s.model_id IN $models AND (s.seed IS NULL OR s.seed IN $seeds)
GROUP BY s.model_id, s.prompt_id, p.category
ORDER BY s.model_id, s.prompt_id
