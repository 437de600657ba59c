-- One row per model: its name, and the share of (prompt, concept that it does not name, seed) in which the concept is present at the last step.
SELECT m.name, avg((t.outcome <> 'never')::INTEGER) AS share
FROM trajectory AS t JOIN model AS m USING (model_id)
WHERE t.concept_id > 0 AND t.outcome IS NOT NULL
  AND NOT EXISTS (FROM mention AS n WHERE n.prompt_id = t.prompt_id AND n.concept_id = t.concept_id)
GROUP BY m.model_id, m.name ORDER BY m.model_id;
