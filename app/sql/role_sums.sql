-- One row per (model, role): the mean over steps of what the words of a role got together, over prompts.
WITH point AS (
    SELECT t.model_id, t.prompt_id, s.seed, CASE WHEN t.role = '' THEN 'other' ELSE t.role END AS role,
           unnest(t.steps) AS step, unnest(coalesce(t.scaled, t.mass)) AS value
    FROM token_attention AS t JOIN sample AS s USING (sample_id) JOIN prompt AS p ON p.prompt_id = t.prompt_id
    WHERE t.model_id IN $models AND s.seed IN $seeds AND p.category IN $categories
      AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[])))
      AND t.source = $source AND t.layer_group = $layer_group AND t.role <> 'special'
),
stepped AS (
    SELECT model_id, prompt_id, seed, role, step, sum(value) AS total FROM point GROUP BY ALL
),
unit AS (
    SELECT model_id, prompt_id, role, avg(total) AS value FROM stepped GROUP BY ALL
)
SELECT model_id, role, count(*)::INTEGER AS prompts, avg(value) AS mean, stddev_samp(value) AS sd
FROM unit GROUP BY ALL ORDER BY model_id, role
