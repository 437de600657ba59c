-- role_value($models, $categories, $slice, $seeds, $source, $layer_group): per word and step what it got, with the word's role;
-- scaled relevance where there is one, else the share of attention.
CREATE TEMP MACRO role_value(models, categories, slice, seeds, from_source, of_layers) AS TABLE
SELECT t.model_id, t.prompt_id, s.seed, CASE WHEN t.role = '' THEN 'other' ELSE t.role END AS role,
       unnest(t.steps) AS step, unnest(coalesce(t.scaled, t.mass)) AS value
FROM token_attention AS t JOIN sample AS s USING (sample_id)
JOIN scoped_prompt(categories, slice) AS p ON p.prompt_id = t.prompt_id
WHERE t.model_id IN models AND s.seed IN seeds
  AND t.source = from_source AND t.layer_group = of_layers AND t.role <> 'special'
