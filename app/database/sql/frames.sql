-- One row per (prompt, model): the frame nearest to a place between the first step (progress 0) and the last (1).
WITH place AS (
    SELECT model_id, $progress * max(step) AS wanted FROM step WHERE model_id IN $models GROUP BY model_id
),
chosen AS (
    SELECT s.prompt_id, s.model_id, s.sample_id, f.step, f.image,
           row_number() OVER (PARTITION BY s.sample_id ORDER BY abs(f.step - p.wanted), f.step) AS nearest
    FROM sample AS s JOIN place AS p USING (model_id) JOIN frame AS f USING (sample_id)
    WHERE s.prompt_id IN $prompts AND s.seed = $seed AND s.model_id IN $models
)
SELECT c.prompt_id, p.prompt_key, c.model_id, c.step, c.image, r.value AS score,
       t.similarity[c.step + 1]::DOUBLE AS similarity
FROM chosen AS c JOIN prompt AS p USING (prompt_id)
LEFT JOIN scored_sample($metric) AS r
    ON r.model_id = c.model_id AND r.prompt_id = c.prompt_id AND coalesce(r.seed, $seed) = $seed
LEFT JOIN trajectory AS t ON t.model_id = c.model_id AND t.concept_id = 0 AND t.prompt_id = c.prompt_id AND t.seed = $seed
WHERE c.nearest = 1 ORDER BY c.prompt_id, c.model_id
