-- One row per (prompt, model): the final image of chosen prompts at one seed.
SELECT s.prompt_id, p.text, s.model_id, s.image, s.clip_score::DOUBLE AS score
FROM sample AS s JOIN prompt AS p USING (prompt_id)
WHERE s.prompt_id IN $prompts AND s.seed = $seed AND s.model_id IN $models AND s.image IS NOT NULL
ORDER BY s.prompt_id, s.model_id
