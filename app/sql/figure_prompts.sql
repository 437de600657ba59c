-- One row per prompt with a finished image, in the study's order.
SELECT p.prompt_id, p.prompt_key, p.text, p.category
FROM prompt AS p
WHERE p.category IN $categories AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[])))
  AND EXISTS (SELECT 1 FROM sample AS s WHERE s.prompt_id = p.prompt_id AND s.model_id IN $models
              AND s.seed IN $seeds AND s.image IS NOT NULL)
ORDER BY p.prompt_id
