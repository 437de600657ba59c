-- One row per (model, pair of concepts) that share prompts: moments of the differences of their restricted mean emergence on the
-- axis, second minus first, over the prompts that both have; seeds averaged within a prompt first. For tests between rows.
WITH unit AS MATERIALIZED (
    SELECT model_id, concept_id, prompt_id, avg(x) AS x
    FROM restricted_emergence($models, $categories, $slice, $seeds, $concepts, $named, $axis) GROUP BY ALL
)
SELECT model_id, a.concept_id AS first, b.concept_id AS second, count(*)::INTEGER AS prompts, avg(b.x - a.x) AS difference,
       stddev_samp(b.x - a.x) AS sd
FROM unit AS a JOIN unit AS b USING (model_id, prompt_id)
WHERE a.concept_id < b.concept_id
GROUP BY ALL ORDER BY ALL
