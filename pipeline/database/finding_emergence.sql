-- A row is a (model, concept family): the median emergence, in % of the steps, of the concepts that the prompt names.
SELECT model.label, concept.family, 100 * median(emergence_step / nullif(len(similarity) - 1, 0)) AS emergence
FROM trajectory
JOIN model USING (model_id) JOIN concept USING (concept_id) JOIN prompt USING (prompt_id)
WHERE concept_id > 0 AND list_contains(string_split(lower(prompt.text), ' '), lower(concept.name))
GROUP BY model_id, model.label, concept.family
HAVING emergence IS NOT NULL
ORDER BY model_id, emergence;
