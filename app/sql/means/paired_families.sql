-- What paired_families.sql asks, of all seeds: each prompt's means over a family's concepts, as published.
WITH side AS (
    SELECT model_id, family, prompt_id, final::DOUBLE AS final, auc::DOUBLE AS auc, emergence_step::DOUBLE AS emergence
    FROM rollup_family JOIN prompt USING (prompt_id)
    WHERE (model_id = $baseline OR model_id IN $candidates) AND category IN $categories
      AND ($slice IS NULL OR prompt_id IN (SELECT unnest($slice::INTEGER[])))
      AND family IN (SELECT family FROM concept WHERE concept_id IN $concepts)
)
SELECT b.model_id, a.family, a.prompt_id, a.final AS final_baseline, b.final AS final_candidate,
       a.emergence AS emergence_baseline, b.emergence AS emergence_candidate,
       a.auc AS auc_baseline, b.auc AS auc_candidate
FROM side AS a JOIN side AS b USING (family, prompt_id)
WHERE a.model_id = $baseline AND b.model_id IN $candidates
ORDER BY b.model_id, a.family, a.prompt_id
