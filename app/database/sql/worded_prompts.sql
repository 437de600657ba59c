-- One row per prompt within the filters whose words were followed, by the source asked for.
SELECT p.prompt_id, p.prompt_key, p.text
FROM scoped_prompt($categories, $slice) AS p
WHERE p.prompt_id IN (
    SELECT DISTINCT t.prompt_id FROM token_attention AS t JOIN sample AS s USING (sample_id)
    WHERE t.model_id IN $models AND s.seed IN $seeds AND t.source = $source
)
ORDER BY p.prompt_id LIMIT 500
