-- Fills `cell_family` for one model, for all concepts of a family or for those that the prompt names.
INSERT INTO cell_family
WITH chosen AS (
    SELECT family, category, prompt_id, emergence_step
    FROM trajectory JOIN concept USING (concept_id) JOIN prompt USING (prompt_id)
    LEFT JOIN mention USING (prompt_id, concept_id)
    WHERE model_id = $model AND concept_id > 0 AND (NOT $named OR mention.prompt_id IS NOT NULL)
),
unit AS (
    SELECT family, category, prompt_id, count(*) AS samples, avg(emergence_step) AS value,
           list(emergence_step ORDER BY emergence_step) FILTER (WHERE emergence_step IS NOT NULL) AS emerged
    FROM chosen GROUP BY ALL
),
prompted AS (
    SELECT family, category, count(*) AS prompts, sum(samples) AS samples,
           count(value) AS n, avg(value) AS mean, stddev_samp(value) AS sd
    FROM unit GROUP BY ALL
),
-- The i-th of a prompt's k (sample, concept) pairs to emerge raises its share from (i-1)/k to i/k, and the share's square
-- with it. Sums of these rises over all prompts stand for the shares of every prompt at every step.
rise AS (
    SELECT family, category, samples AS k, unnest(emerged) AS step, generate_subscripts(emerged, 1) AS i FROM unit
),
risen AS (
    SELECT family, category, step, count(*) AS samples, sum(1 / k) AS share, sum((2 * i - 1) / (k * k)) AS square
    FROM rise GROUP BY ALL
),
reached AS (
    SELECT family, category, s.step, p.prompts, coalesce(r.samples, 0) AS samples,
           coalesce(sum(r.share) OVER so_far, 0) AS share, coalesce(sum(r.square) OVER so_far, 0) AS square
    FROM prompted AS p CROSS JOIN (SELECT step FROM step WHERE model_id = $model) AS s
    LEFT JOIN risen AS r USING (family, category, step)
    WINDOW so_far AS (PARTITION BY family, category ORDER BY s.step)
),
listed AS (
    SELECT family, category, list(samples ORDER BY step) AS steps, list(share / prompts ORDER BY step) AS share,
           list(CASE WHEN prompts > 1
               THEN sqrt(greatest(square - share * share / prompts, 0) / (prompts - 1)) ELSE 0 END ORDER BY step) AS share_sd
    FROM reached GROUP BY ALL
)
SELECT $model, family, category, $named, prompts, samples, n, mean, sd, steps, share, share_sd
FROM prompted JOIN listed USING (family, category)
ORDER BY family, category;
