-- One row per (sample, step): the place of the predicted clean image's embedding; at most $most prompts, spread evenly.
WITH followed AS (
    SELECT DISTINCT p.prompt_id, p.prompt_key, p.text, p.category
    FROM path AS t JOIN scoped_prompt($categories, $slice) AS p USING (prompt_id)
    WHERE t.model_id IN $models AND t.seed IN $seeds
),
numbered AS (
    SELECT *, row_number() OVER (ORDER BY prompt_id) - 1 AS place, count(*) OVER () AS total FROM followed
),
chosen AS (
    SELECT * FROM numbered
    QUALIFY row_number() OVER (PARTITION BY (place * $most // greatest(total, $most)) ORDER BY place) = 1
)
SELECT t.sample_id, t.model_id, t.prompt_id, c.prompt_key, c.text, c.category, t.seed,
       generate_subscripts(t.x, 1) - 1 AS step, unnest(t.x) AS x, unnest(t.y) AS y
FROM path AS t JOIN chosen AS c USING (prompt_id)
WHERE t.model_id IN $models AND t.seed = $seed
ORDER BY t.model_id, t.sample_id, step
