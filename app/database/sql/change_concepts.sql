-- One row per (model, concept) over all prompts, by names that last over snapshots: the means that the charts show; emergence: restricted mean in steps,
-- over the prompts that name the concept.
SELECT m.name AS model, c.name AS concept, c.family, r.prompts, r.final_mean AS final, r.auc_mean AS auc,
       r.emergence_mean AS emergence
FROM rollup_trajectory AS r JOIN model AS m USING (model_id) JOIN concept AS c USING (concept_id)
WHERE r.category = '' AND c.concept_id > 0
ORDER BY m.name, c.concept_id
