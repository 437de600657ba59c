-- One row per (model, pair of rows) that share prompts: moments of the differences of their restricted mean emergence on the axis,
-- second minus first, over the prompts that both have. A row is a concept, or ($by_family, concept_id 0) a family; seeds, and a
-- family's concepts, averaged within a prompt first. For tests between rows.
WITH unit AS MATERIALIZED (
    SELECT model_id, concept_id, family, prompt_id, avg(x) AS x
    FROM row_emergence($models, $categories, $slice, $seeds, $concepts, $named, $axis, $by_family) GROUP BY ALL
)
SELECT model_id, a.concept_id AS first_concept_id, b.concept_id AS second_concept_id, a.family AS first_family, b.family AS second_family,
       count(*)::INTEGER AS prompts, avg(b.x - a.x) AS difference, stddev_samp(b.x - a.x) AS sd
FROM unit AS a JOIN unit AS b USING (model_id, prompt_id)
WHERE (a.concept_id, a.family) < (b.concept_id, b.family)
GROUP BY ALL ORDER BY ALL
