-- One row per (prompt, model): the final image of chosen prompts at one seed.
SELECT s.prompt_id, p.text, s.model_id, s.image, r.value AS score
FROM sample AS s JOIN prompt AS p USING (prompt_id)
LEFT JOIN scored_sample($metric) AS r
    ON r.model_id = s.model_id AND r.prompt_id = s.prompt_id AND coalesce(r.seed, s.seed) = s.seed
WHERE s.prompt_id IN $prompts AND s.seed = $seed AND s.model_id IN $models AND s.image IS NOT NULL
ORDER BY s.prompt_id, s.model_id
