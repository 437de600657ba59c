-- One row per prompt within the filters with stored maps of information.
SELECT p.prompt_id, p.prompt_key, p.text
FROM scoped_prompt($categories, $slice) AS p
WHERE p.prompt_id IN (
    SELECT DISTINCT i.prompt_id FROM information AS i JOIN sample AS s USING (sample_id)
    WHERE i.model_id IN $models AND s.seed IN $seeds AND i.map IS NOT NULL
)
ORDER BY p.prompt_id LIMIT 500
