-- One row per prompt within the filters that has saliency maps of the whole prediction.
SELECT p.prompt_id, p.prompt_key, p.text, count(DISTINCT e.method)::INTEGER AS methods
FROM explanation AS e JOIN sample AS s USING (sample_id) JOIN prompt AS p USING (prompt_id)
WHERE s.model_id IN $models AND s.seed IN $seeds AND p.category IN $categories
  AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[]))) AND e.word = ''
GROUP BY ALL ORDER BY methods DESC, p.prompt_id LIMIT 500
