-- One row per (model, role, step): what the words of a role got together; seeds averaged within a prompt first.
-- Only prompts that have the role count. total = sum over the role's words, each = their mean; scaled relevance where
-- there is one, else the share of attention.
WITH point AS (
    SELECT t.model_id, t.prompt_id, s.seed, CASE WHEN t.role = '' THEN 'other' ELSE t.role END AS role,
           unnest(t.steps) AS step, unnest(coalesce(t.scaled, t.mass)) AS value
    FROM token_attention AS t JOIN sample AS s USING (sample_id) JOIN prompt AS p ON p.prompt_id = t.prompt_id
    WHERE t.model_id IN $models AND s.seed IN $seeds AND p.category IN $categories
      AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[])))
      AND t.source = $source AND t.layer_group = $layer_group AND t.role <> 'special'
),
sampled AS (
    SELECT model_id, prompt_id, seed, role, step, sum(value) AS total, avg(value) AS each FROM point GROUP BY ALL
),
unit AS (
    SELECT model_id, prompt_id, role, step, avg(total) AS total, avg(each) AS each FROM sampled GROUP BY ALL
)
SELECT model_id, role, step, count(*)::INTEGER AS prompts,
       avg(total) AS total, stddev_samp(total) AS total_sd, avg(each) AS each, stddev_samp(each) AS each_sd
FROM unit GROUP BY ALL ORDER BY model_id, role, step
