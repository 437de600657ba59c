-- One row per (model, prompt, word, step): its share of attention or its scaled relevance at one seed.
WITH point AS (
    SELECT t.model_id, t.prompt_id, t.word_index, t.word, t.role,
           unnest(t.steps) AS step, unnest(coalesce(t.scaled, t.mass)) AS value
    FROM token_attention AS t JOIN sample AS s USING (sample_id)
    WHERE t.model_id IN $models AND t.prompt_id IN $prompts AND s.seed IN $seeds
      AND t.source = $source AND t.layer_group = 'all' AND t.word_index >= 0
)
SELECT model_id, prompt_id, word_index, word, role, step::INTEGER AS step, avg(value)::DOUBLE AS value
FROM point GROUP BY ALL ORDER BY model_id, prompt_id, word_index, step
