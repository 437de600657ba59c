-- One row per (model, prompt, word, step) of some prompts: what the word got, averaged over seeds.
-- mass is a share of attention (or the raw relevance), scaled is 0..1 within a step, entropy 0..1.
WITH point AS (
    SELECT t.model_id, t.prompt_id, t.word_index, t.word, t.role,
           unnest(t.steps) AS step, unnest(t.mass) AS mass, unnest(t.scaled) AS scaled, unnest(t.entropy) AS entropy
    FROM token_attention AS t JOIN sample AS s USING (sample_id)
    WHERE t.prompt_id IN $prompts AND t.model_id IN $models AND s.seed IN $seeds
      AND t.source = $source AND t.layer_group = $layer_group
)
SELECT model_id, prompt_id, word_index, word, role, step::INTEGER AS step, count(*)::INTEGER AS seeds,
       avg(mass)::DOUBLE AS mass, avg(scaled)::DOUBLE AS scaled, avg(entropy)::DOUBLE AS entropy
FROM point GROUP BY ALL ORDER BY model_id, prompt_id, word_index, step
