-- One row where there is a trajectory of a shown concept within the filters, else none. It stops at the first.
SELECT 1 AS found FROM trajectory JOIN scoped_prompt($categories, $slice) USING (prompt_id)
WHERE model_id IN $models AND concept_id IN $concepts AND seed IN $seeds
LIMIT 1
