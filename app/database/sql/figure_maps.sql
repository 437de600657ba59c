-- One row per map of chosen prompts at one seed, with the frame of its step.
-- value = low + map * (high - low); map is float16, row-major, 0..1.
SELECT s.model_id, s.prompt_id, e.step, e.method, e.word, e.height, e.width, e.low::DOUBLE AS low,
       e.high::DOUBLE AS high, e.map, f.image
FROM explanation AS e JOIN sample AS s USING (sample_id)
LEFT JOIN frame AS f ON f.sample_id = e.sample_id AND f.step = e.step
WHERE s.model_id IN $models AND s.prompt_id IN $prompts AND s.seed = $seed
  AND e.method IN $methods AND e.step IN $steps
ORDER BY s.model_id, s.prompt_id, e.step, e.method, e.word
