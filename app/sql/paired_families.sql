-- One row per (candidate, family, prompt): final similarity, emergence and area of the baseline and the candidate, seeds
-- averaged within a concept first, then the family's concepts; NULL where none emerged.
WITH unit AS (
    SELECT t.model_id, c.family, t.prompt_id, t.concept_id, avg(t.final) AS final, avg(t.auc) AS auc,
           avg(t.emergence_step) AS emergence
    FROM trajectory AS t JOIN prompt AS p USING (prompt_id) JOIN concept AS c USING (concept_id)
    WHERE (t.model_id = $baseline OR t.model_id IN $candidates) AND t.concept_id IN $concepts
      AND p.category IN $categories
        AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[]))) AND t.seed IN $seeds
    GROUP BY ALL
),
side AS (
    SELECT model_id, family, prompt_id, avg(final) AS final, avg(auc) AS auc, avg(emergence) AS emergence,
           min(concept_id) AS place
    FROM unit GROUP BY ALL
)
SELECT b.model_id, a.family, a.prompt_id, a.final AS final_baseline, b.final AS final_candidate,
       a.emergence AS emergence_baseline, b.emergence AS emergence_candidate,
       a.auc AS auc_baseline, b.auc AS auc_candidate
FROM side AS a JOIN side AS b USING (family, prompt_id)
WHERE a.model_id = $baseline AND b.model_id IN $candidates
ORDER BY b.model_id, a.family, a.prompt_id
