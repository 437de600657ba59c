-- row_emergence($models, $categories, $slice, $seeds, $concepts, $named, $axis, $by_family): restricted_emergence with what a row
-- of a table of emergence is: a concept, or (by_family, concept_id 0) a family of concepts.
CREATE TEMP MACRO row_emergence(models, categories, slice, seeds, concepts, named, axis, by_family) AS TABLE
SELECT r.model_id, CASE WHEN by_family THEN 0 ELSE r.concept_id END AS concept_id, CASE WHEN by_family THEN '' ELSE c.name END AS concept,
       c.family, r.prompt_id, r.outcome, r.x
FROM restricted_emergence(models, categories, slice, seeds, concepts, named, axis) AS r JOIN concept AS c USING (concept_id)
