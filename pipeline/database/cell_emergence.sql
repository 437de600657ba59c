-- Fills `cell_emergence` for one model, for all prompts or for those that name the concept.
INSERT INTO cell_emergence
WITH chosen AS (
    SELECT concept_id, category, prompt_id, emergence_step
    FROM trajectory JOIN prompt USING (prompt_id) LEFT JOIN mention USING (prompt_id, concept_id)
    WHERE model_id = $model AND concept_id > 0 AND (NOT $named OR mention.prompt_id IS NOT NULL)
),
unit AS (
    SELECT concept_id, category, prompt_id, avg(emergence_step) AS value, count(*) AS samples FROM chosen GROUP BY ALL
),
prompted AS (
    SELECT concept_id, category, count(*) AS prompts, sum(samples) AS samples,
           count(value) AS n, avg(value) AS mean, stddev_samp(value) AS sd
    FROM unit GROUP BY ALL
),
emerging AS (
    SELECT concept_id, category, emergence_step AS step, count(*) AS samples
    FROM chosen WHERE emergence_step IS NOT NULL GROUP BY ALL
),
counted AS (
    SELECT concept_id, category, list(coalesce(e.samples, 0) ORDER BY step) AS steps
    FROM prompted CROSS JOIN (SELECT step FROM step WHERE model_id = $model)
    LEFT JOIN emerging AS e USING (concept_id, category, step)
    GROUP BY ALL
)
SELECT $model, concept_id, category, $named, prompts, samples, n, mean, sd, steps
FROM prompted JOIN counted USING (concept_id, category)
ORDER BY concept_id, category;
