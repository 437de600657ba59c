-- One row per (model, concept, prompt): final similarity, rise, area and emergence, seeds averaged; for paired tests.
SELECT t.model_id, t.concept_id, t.prompt_id, avg(t.final) AS final, avg(t.auc) AS auc,
       avg(t.emergence_step) AS emergence
FROM trajectory AS t JOIN prompt AS p USING (prompt_id)
WHERE (t.model_id = $baseline OR t.model_id IN $candidates) AND t.concept_id IN $concepts
  AND p.category IN $categories
    AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[]))) AND t.seed IN $seeds
GROUP BY ALL ORDER BY t.model_id, t.concept_id, t.prompt_id
