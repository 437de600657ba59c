-- One row per (model, concept) or ($by_family, concept_id 0) per (model, family): when it emerges; seeds, and a family's concepts,
-- averaged within a prompt first.
-- mean, sd: of the restricted emergence on the axis, n prompts the unit; shares: of the outcomes, prompts the unit; median and
-- quartiles over samples, never = the last step.
WITH chosen AS (
    FROM row_emergence($models, $categories, $slice, $seeds, $concepts, $named, $axis, $by_family)
),
sampled AS (
    SELECT model_id, concept_id, concept, family, count(*) AS samples, median(x) AS median,
           quantile_cont(x, 0.25) AS q1, quantile_cont(x, 0.75) AS q3
    FROM chosen GROUP BY ALL
),
unit AS (
    SELECT model_id, concept_id, family, prompt_id, avg(x) AS x, avg((outcome = 'start')::INTEGER) AS start,
           avg((outcome = 'never')::INTEGER) AS never
    FROM chosen GROUP BY ALL
),
prompted AS (
    SELECT model_id, concept_id, family, count(*) AS n, avg(x) AS mean, stddev_samp(x) AS sd, avg(start) AS start_share,
           avg(never) AS never_share
    FROM unit GROUP BY ALL
)
SELECT model_id, concept_id, concept, family, n::INTEGER AS n, mean, sd, start_share, 1 - start_share - never_share AS emerges_share,
       never_share, samples::INTEGER AS samples, median, q1, q3
FROM sampled JOIN prompted USING (model_id, concept_id, family)
ORDER BY model_id, concept_id, family
