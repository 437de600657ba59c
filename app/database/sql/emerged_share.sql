-- One row per (model, family, step): share of the family's concepts that are present for good by this step; prompts are the unit.
WITH counted AS (FROM counted_pair($categories, $slice, $concepts, $named)),
chosen AS (
    SELECT t.model_id, c.family, t.prompt_id, t.emergence_step
    FROM trajectory AS t JOIN counted USING (prompt_id, concept_id) JOIN concept AS c USING (concept_id)
    WHERE t.model_id IN $models AND t.concept_id IN $concepts AND t.seed IN $seeds AND t.outcome IS NOT NULL
),
unit AS (
    SELECT model_id, family, prompt_id, count(*) AS size,
           list(emergence_step ORDER BY emergence_step) FILTER (WHERE emergence_step IS NOT NULL) AS emerged
    FROM chosen GROUP BY ALL
),
-- The i-th of a prompt's k concepts to emerge raises its share from (i-1)/k to i/k, and the share's square with it. Sums
-- of these rises over all prompts stand for the shares of every prompt at every step, which took a gigabyte.
rise AS (
    SELECT model_id, family, size, unnest(emerged) AS step, generate_subscripts(emerged, 1) AS i FROM unit
),
risen AS (
    SELECT model_id, family, step, sum(1 / size) AS share, sum((2 * i - 1) / (size * size)) AS square
    FROM rise GROUP BY ALL
),
total AS (
    SELECT model_id, family, count(*) AS prompts FROM unit GROUP BY ALL
),
reached AS (
    SELECT t.model_id, t.family, s.step, t.prompts,
           coalesce(sum(r.share) OVER so_far, 0) AS share, coalesce(sum(r.square) OVER so_far, 0) AS square
    FROM total AS t JOIN step AS s USING (model_id) LEFT JOIN risen AS r USING (model_id, family, step)
    WINDOW so_far AS (PARTITION BY t.model_id, t.family ORDER BY s.step)
)
SELECT model_id, family, step, prompts::INTEGER AS prompts, share / prompts AS mean,
       CASE WHEN prompts > 1
           THEN sqrt(greatest(square - share * share / prompts, 0) / (prompts - 1)) END AS sd
FROM reached ORDER BY model_id, family, step
