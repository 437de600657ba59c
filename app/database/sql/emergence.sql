-- One row per (model, concept) or ($by_family, concept_id 0) per (model, family): when it emerges; seeds, and a family's concepts,
-- averaged within a prompt first.
-- mean, sd: of the restricted emergence on the axis, n prompts the unit; shares: of the outcomes, prompts the unit; median and
-- quartiles over samples, never = the last step.
-- others, other_families: the model's rows after it with which it shares prompts; shared, differences, sds: prompts that both
-- have, and moments of the other's emergence minus its own over them, for tests between rows.
WITH named AS (  -- a family is the lowest of its concepts until the end: texts as keys took half as long again
    SELECT concept_id, CASE WHEN $by_family THEN min(concept_id) OVER (PARTITION BY family) ELSE concept_id END AS row_id
    FROM concept WHERE concept_id IN $concepts
),
chosen AS MATERIALIZED (
    SELECT r.model_id, n.row_id, r.prompt_id, r.outcome, r.x
    FROM restricted_emergence($models, $categories, $slice, $seeds, $concepts, $named, $axis) AS r JOIN named AS n USING (concept_id)
),
sampled AS (
    SELECT model_id, row_id, count(*) AS samples, quantile_cont(x, [0.25, 0.5, 0.75]) AS quartiles FROM chosen GROUP BY ALL
),
unit AS MATERIALIZED (
    SELECT model_id, row_id, prompt_id, avg(x) AS x, avg((outcome = 'start')::INTEGER) AS start,
           avg((outcome = 'never')::INTEGER) AS never
    FROM chosen GROUP BY ALL
),
prompted AS (
    SELECT model_id, row_id, count(*) AS n, avg(x) AS mean, stddev_samp(x) AS sd, avg(start) AS start_share, avg(never) AS never_share
    FROM unit GROUP BY ALL
),
pair AS (
    SELECT model_id, a.row_id, b.row_id AS other, count(*)::INTEGER AS shared, avg(b.x - a.x) AS difference, stddev_samp(b.x - a.x) AS sd
    FROM unit AS a JOIN unit AS b USING (model_id, prompt_id) WHERE a.row_id < b.row_id GROUP BY ALL
),
paired AS (
    SELECT p.model_id, p.row_id, list(p.other ORDER BY other) AS others, list(c.family ORDER BY other) AS other_families,
           list(p.shared ORDER BY other) AS shared, list(p.difference ORDER BY other) AS differences, list(coalesce(p.sd, 'NaN') ORDER BY other) AS sds
    FROM pair AS p JOIN concept AS c ON c.concept_id = p.other GROUP BY ALL
)
SELECT s.model_id, CASE WHEN $by_family THEN 0 ELSE row_id END AS concept_id, CASE WHEN $by_family THEN '' ELSE c.name END AS concept,
       c.family, p.n::INTEGER AS n, p.mean, p.sd, p.start_share, 1 - p.start_share - p.never_share AS emerges_share, p.never_share,
       s.samples::INTEGER AS samples, s.quartiles[2] AS median, s.quartiles[1] AS q1, s.quartiles[3] AS q3,
       o.others, o.other_families, o.shared, o.differences, o.sds
FROM sampled AS s JOIN prompted AS p USING (model_id, row_id) JOIN concept AS c ON c.concept_id = row_id
LEFT JOIN paired AS o USING (model_id, row_id)
ORDER BY s.model_id, concept_id, c.family
