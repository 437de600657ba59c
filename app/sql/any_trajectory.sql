-- One row where there is a trajectory of a shown concept within the filters, else none. It stops at the first.
SELECT 1 AS found FROM trajectory JOIN prompt USING (prompt_id)
WHERE model_id IN $models AND concept_id IN $concepts AND seed IN $seeds AND category IN $categories
  AND ($slice IS NULL OR prompt_id IN (SELECT unnest($slice::INTEGER[])))
LIMIT 1
