-- One row per prompt within the filters whose words were followed, by the source asked for.
SELECT p.prompt_id, p.prompt_key, p.text
FROM prompt AS p
WHERE p.category IN $categories
  AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[]))) AND p.prompt_id IN (
    SELECT DISTINCT t.prompt_id FROM token_attention AS t JOIN sample AS s USING (sample_id)
    WHERE t.model_id IN $models AND s.seed IN $seeds AND t.source = $source
)
ORDER BY p.prompt_id LIMIT 500
