-- One row per saliency map of one prompt and seed: of the whole prediction ('' = word), or of every word.
-- value = low + map * (high - low); map is float16, row-major, 0..1.
SELECT s.model_id, e.step, e.method, e.word, e.height, e.width, e.low::DOUBLE AS low, e.high::DOUBLE AS high, e.map
FROM explanation AS e JOIN sample AS s USING (sample_id)
WHERE s.prompt_id = $prompt AND s.seed = $seed AND s.model_id IN $models AND (e.word <> '') = $words
ORDER BY s.model_id, e.method, e.step, e.word
