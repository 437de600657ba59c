-- One row per word of one prompt and seed with its stored map: nats per position of the latents, float16, row-major, 0..1;
-- value = low + map * (high - low).
SELECT s.model_id, i.word_index, i.word, i.role, i.nats, i.signed_nats, i.effect, i.change, i.height, i.width,
       i.low::DOUBLE AS low, i.high::DOUBLE AS high, i.map
FROM information AS i JOIN sample AS s USING (sample_id)
WHERE s.prompt_id = $prompt AND s.seed = $seed AND s.model_id IN $models AND i.map IS NOT NULL
ORDER BY s.model_id, i.word_index
