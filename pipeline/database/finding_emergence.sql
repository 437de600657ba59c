-- A row is a (model, concept family), over the concepts that the prompt names, prompts the unit: the Kaplan-Meier restricted
-- mean of their emergence in % of the steps, and the shares that are there from the start and that never emerge; NULL where
-- too few prompts do not name the concepts.
WITH prompt_mean AS (
    SELECT model_id, concept.family, prompt_id,
           avg(CASE outcome WHEN 'never' THEN 1 ELSE emergence_step / nullif(len(similarity) - 1, 0) END) AS emergence,
           avg((outcome = 'start')::INTEGER) AS start, avg((outcome = 'never')::INTEGER) AS never
    FROM trajectory JOIN mention USING (prompt_id, concept_id) JOIN concept USING (concept_id)
    GROUP BY ALL
)
SELECT label, prompt_mean.family, 100 * avg(emergence ORDER BY prompt_id) AS emergence,
       100 * avg(start ORDER BY prompt_id) AS start, 100 * avg(never ORDER BY prompt_id) AS never
FROM prompt_mean JOIN model USING (model_id)
GROUP BY model_id, label, prompt_mean.family
ORDER BY model_id, emergence NULLS LAST, prompt_mean.family;
