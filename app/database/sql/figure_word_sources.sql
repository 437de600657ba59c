-- One row per (source, prompt) with word values: attention or relevance.
SELECT t.source, t.prompt_id, p.text, count(DISTINCT t.model_id)::INTEGER AS models
FROM token_attention AS t
JOIN scoped_prompt($categories, $slice) AS p USING (prompt_id) JOIN sample AS s USING (sample_id)
WHERE t.model_id IN $models AND s.seed IN $seeds AND t.word_index >= 0
GROUP BY ALL ORDER BY t.source DESC, t.prompt_id
