-- One row per (prompt, seed) of a model, both by names that last over snapshots, that is done: its final image.
SELECT p.prompt_key, s.seed, s.image
FROM sample AS s JOIN model AS m USING (model_id) JOIN prompt AS p USING (prompt_id)
WHERE m.name = $model AND p.prompt_key IN $keys AND s.seed IN $seeds AND s.status = 'done'
ORDER BY p.prompt_id, s.seed
