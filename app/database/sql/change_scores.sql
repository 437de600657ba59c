-- One row per (model, prompt, seed), by names that last over snapshots: samples done and failed, and the chosen score, '' = the
-- CLIP score; one per prompt holds for each of its seeds.
WITH scored AS (
    SELECT sample_id, value FROM scored_sample($metric) WHERE sample_id IS NOT NULL
    UNION ALL
    SELECT s.sample_id, r.value FROM scored_sample($metric) AS r JOIN sample AS s USING (model_id, prompt_id)
    WHERE r.sample_id IS NULL AND s.status = 'done'
)
SELECT m.name AS model, p.prompt_key, s.seed, count(*) FILTER (WHERE s.status = 'done')::INTEGER AS done,
       count(*) FILTER (WHERE s.status = 'failed')::INTEGER AS failed, avg(r.value)::DOUBLE AS score
FROM sample AS s JOIN model AS m USING (model_id) JOIN prompt AS p USING (prompt_id) LEFT JOIN scored AS r USING (sample_id)
GROUP BY m.name, p.prompt_key, s.seed
ORDER BY m.name, p.prompt_key, s.seed
