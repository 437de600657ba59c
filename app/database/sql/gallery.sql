-- One row per (prompt, model): final images of a few prompts spread over the set, that every shown model has done.
WITH complete AS (
    SELECT s.prompt_id, row_number() OVER (ORDER BY s.prompt_id) - 1 AS place, count(*) OVER () AS total
    FROM sample AS s JOIN scoped_prompt($categories, $slice) AS p USING (prompt_id)
    WHERE s.status = 'done' AND s.seed = $seed AND s.model_id IN $models
    GROUP BY s.prompt_id
),
spread AS (
    SELECT prompt_id FROM complete
    WHERE place % greatest(total // $number, 1) = 0 ORDER BY prompt_id LIMIT $number
)
SELECT s.prompt_id, p.prompt_key, p.text, s.model_id, m.label AS model, r.value AS score, s.image
FROM sample AS s JOIN spread USING (prompt_id) JOIN prompt AS p USING (prompt_id) JOIN model AS m USING (model_id)
LEFT JOIN scored_sample($metric) AS r
    ON r.model_id = s.model_id AND r.prompt_id = s.prompt_id AND coalesce(r.seed, s.seed) = s.seed
WHERE s.seed = $seed AND s.status = 'done' AND s.model_id IN $models
ORDER BY s.prompt_id, s.model_id
