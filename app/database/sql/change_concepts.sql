-- One row per (model, concept, prompt, seed), by names that last over snapshots; $named: of the prompts that name the concept. auc: of curves that rise;
-- emergence: restricted (never = the last step), in steps.
WITH last AS (
    SELECT model_id, max(step) AS step FROM step GROUP BY model_id
)
SELECT m.name AS model, c.family, c.name AS concept, p.prompt_key, t.seed, t.final::DOUBLE AS final,
       CASE WHEN t.rise > 0 THEN t.auc END::DOUBLE AS auc,
       CASE WHEN t.outcome IS NOT NULL THEN coalesce(t.emergence_step, l.step) END::DOUBLE AS emergence
FROM trajectory AS t JOIN counted_pair($categories, $slice, $concepts, $named) USING (prompt_id, concept_id)
JOIN model AS m USING (model_id) JOIN concept AS c USING (concept_id) JOIN prompt AS p USING (prompt_id)
LEFT JOIN last AS l USING (model_id)
WHERE c.concept_id > 0
ORDER BY m.name, c.concept_id, p.prompt_id, t.seed
