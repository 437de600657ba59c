-- One row per (model, role, step): mean over prompts of the role's word value; words and seeds averaged within a prompt.
WITH point AS (
    SELECT t.model_id, t.prompt_id, t.role,
           unnest(t.steps) AS step, unnest(coalesce(t.scaled, t.mass)) AS value
    FROM token_attention AS t JOIN sample AS s USING (sample_id) JOIN prompt AS p ON p.prompt_id = t.prompt_id
    WHERE t.model_id IN $models AND s.seed IN $seeds AND p.category IN $categories
      AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[])))
      AND t.source = $source AND t.layer_group = 'all' AND t.word_index >= 0 AND t.role <> ''
),
unit AS (
    SELECT model_id, role, step, prompt_id, avg(value) AS value FROM point GROUP BY ALL
)
SELECT model_id, role, step::INTEGER AS step, count(*)::INTEGER AS prompts, avg(value)::DOUBLE AS mean,
       stddev_samp(value)::DOUBLE AS sd
FROM unit GROUP BY ALL ORDER BY model_id, role, step
