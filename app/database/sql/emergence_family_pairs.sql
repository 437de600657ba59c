-- One row per (model, pair of families) that share prompts: moments of the differences of their restricted mean emergence on the
-- axis, second minus first, over the prompts that both have; seeds and concepts averaged within a prompt first.
WITH unit AS MATERIALIZED (
    SELECT model_id, family, prompt_id, avg(x) AS x
    FROM restricted_emergence($models, $categories, $slice, $seeds, $concepts, $named, $axis) JOIN concept USING (concept_id)
    GROUP BY ALL
)
SELECT model_id, a.family AS first, b.family AS second, count(*)::INTEGER AS prompts, avg(b.x - a.x) AS difference,
       stddev_samp(b.x - a.x) AS sd
FROM unit AS a JOIN unit AS b USING (model_id, prompt_id)
WHERE a.family < b.family
GROUP BY ALL ORDER BY ALL
