-- One row per (model, prompt, seed, step, method) with a map: whole counts maps of the whole prediction, words those of single words.
SELECT s.model_id, s.prompt_id, p.prompt_key, p.text, p.category, s.seed, e.step, e.method,
       count(*) FILTER (WHERE e.word = '')::INTEGER AS whole, count(*) FILTER (WHERE e.word <> '')::INTEGER AS words
FROM explanation AS e JOIN sample AS s USING (sample_id) JOIN scoped_prompt($categories, $slice) AS p USING (prompt_id)
WHERE s.model_id IN $models AND s.seed IN $seeds
GROUP BY ALL ORDER BY s.model_id, s.prompt_id, s.seed, e.step, e.method
