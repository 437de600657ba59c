-- One row per prompt with a finished image, in the study's order.
SELECT p.prompt_id, p.prompt_key, p.text, p.category
FROM scoped_prompt($categories, $slice) AS p
WHERE EXISTS (SELECT 1 FROM sample AS s WHERE s.prompt_id = p.prompt_id AND s.model_id IN $models
              AND s.seed IN $seeds AND s.image IS NOT NULL)
ORDER BY p.prompt_id
