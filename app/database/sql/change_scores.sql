-- One row per (model, prompt, seed), by names that last over snapshots: samples done and failed, and the chosen score, '' = the CLIP score; one per
-- prompt is that of each of its seeds.
SELECT m.name AS model, p.prompt_key, s.seed, count(*) FILTER (WHERE s.status = 'done')::INTEGER AS done,
       count(*) FILTER (WHERE s.status = 'failed')::INTEGER AS failed, avg(r.value)::DOUBLE AS score
FROM sample AS s JOIN model AS m USING (model_id) JOIN prompt AS p USING (prompt_id)
LEFT JOIN scored_sample($metric) AS r
    ON r.model_id = s.model_id AND r.prompt_id = s.prompt_id AND coalesce(r.seed, s.seed) = s.seed AND s.status = 'done'
GROUP BY m.name, p.prompt_key, s.seed
ORDER BY m.name, p.prompt_key, s.seed
