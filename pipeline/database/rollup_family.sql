-- Fills `rollup_family` for one model, from `rollup_prompt`.
INSERT INTO rollup_family
SELECT model_id, family, prompt_id, avg(final), avg(auc), avg(emergence_step)
FROM rollup_prompt JOIN concept USING (concept_id)
WHERE model_id = $model AND concept_id > 0
GROUP BY ALL ORDER BY family, prompt_id;
