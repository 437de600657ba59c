-- One row per (prompt, model): final images of a few prompts spread over the set, that every shown model has done.
WITH complete AS (
    SELECT s.prompt_id, row_number() OVER (ORDER BY s.prompt_id) - 1 AS place, count(*) OVER () AS total
    FROM sample AS s JOIN prompt AS p USING (prompt_id)
    WHERE s.status = 'done' AND s.seed = $seed AND s.model_id IN $models AND p.category IN $categories
      AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[])))
    GROUP BY s.prompt_id
),
spread AS (
    SELECT prompt_id FROM complete
    WHERE place % greatest(total // $number, 1) = 0 ORDER BY prompt_id LIMIT $number
)
SELECT s.prompt_id, p.prompt_key, p.text, s.model_id, m.label AS model, s.clip_score::DOUBLE AS score, s.image
FROM sample AS s JOIN spread USING (prompt_id) JOIN prompt AS p USING (prompt_id) JOIN model AS m USING (model_id)
WHERE s.seed = $seed AND s.status = 'done' AND s.model_id IN $models
ORDER BY s.prompt_id, s.model_id
