-- One row per prompt within the filters that has saliency maps of the whole prediction, or of concepts.
SELECT p.prompt_id, p.prompt_key, p.text, count(DISTINCT e.method)::INTEGER AS methods
FROM explanation AS e JOIN sample AS s USING (sample_id) JOIN scoped_prompt($categories, $slice) AS p USING (prompt_id)
WHERE s.model_id IN $models AND s.seed IN $seeds AND (e.word = '' OR e.method = 'concept-attention')
GROUP BY ALL ORDER BY methods DESC, p.prompt_id LIMIT 500
