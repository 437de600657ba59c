-- One row per (model, prompt, seed), by names that last over snapshots: samples done and failed, and the CLIP score.
SELECT m.name AS model, p.prompt_key, s.seed, count(*) FILTER (WHERE s.status = 'done')::INTEGER AS done,
       count(*) FILTER (WHERE s.status = 'failed')::INTEGER AS failed, avg(s.clip_score)::DOUBLE AS score
FROM sample AS s JOIN model AS m USING (model_id) JOIN prompt AS p USING (prompt_id)
GROUP BY m.name, p.prompt_key, s.seed
ORDER BY m.name, p.prompt_key, s.seed
