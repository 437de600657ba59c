-- One row per (prompt, model): final image of a few prompts and one seed.
SELECT s.prompt_id, p.prompt_key, p.text, p.category, s.model_id, m.label AS model,
       r.value AS score, s.image
FROM sample AS s JOIN prompt AS p USING (prompt_id) JOIN model AS m USING (model_id)
LEFT JOIN scored_sample($metric) AS r
    ON r.model_id = s.model_id AND r.prompt_id = s.prompt_id AND coalesce(r.seed, s.seed) = s.seed
WHERE s.prompt_id IN $prompts AND s.seed = $seed AND s.model_id IN $models AND s.status = 'done'
ORDER BY s.prompt_id, s.model_id
