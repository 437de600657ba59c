-- One row per (model, concept): first step whose similarity correlates with the final one at r >= 0.9 and stays there.
SELECT r.model_id, r.concept_id, c.name AS concept, c.family, r.predictable_from, r.prompts
FROM rollup_trajectory AS r JOIN concept AS c USING (concept_id)
WHERE r.model_id IN $models AND r.concept_id IN $concepts AND r.category = $category
ORDER BY r.model_id, r.concept_id
