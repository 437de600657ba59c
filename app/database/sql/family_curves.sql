-- One row per (model, family, step): mean similarity over prompts; the family's concepts that a prompt names, and its
-- seeds, are averaged within the prompt first. $whole: of all seeds together, as publish has averaged them.
WITH chosen_prompt AS MATERIALIZED (
    SELECT prompt_id FROM scoped_prompt($categories, $slice)
),
named AS (
    SELECT prompt_id, concept_id, family
    FROM chosen_prompt JOIN mention USING (prompt_id) JOIN concept USING (concept_id)
    WHERE concept_id IN $concepts
),
curve AS (
    SELECT t.model_id, n.family, t.prompt_id, t.similarity
    FROM rollup_prompt AS t JOIN named AS n USING (prompt_id, concept_id) WHERE $whole AND t.model_id IN $models
    UNION ALL
    SELECT t.model_id, n.family, t.prompt_id, t.similarity
    FROM trajectory AS t JOIN named AS n USING (prompt_id, concept_id)
    WHERE NOT $whole AND t.model_id IN $models AND t.seed IN $seeds
),
listed AS (  -- a list per prompt: a row per prompt and step is 20 million rows for 25,000 prompts, and does not fit into memory
    SELECT model_id, family, prompt_id, count(*) AS curves, list(similarity) AS each FROM curve GROUP BY ALL
),
unit AS (
    SELECT model_id, family, curves, each[1]::DOUBLE[] AS total FROM listed WHERE curves = 1
    UNION ALL
    SELECT model_id, family, curves,
           list_reduce(each::DOUBLE[][], lambda a, b: list_transform(list_zip(a, b), lambda pair: pair[1] + pair[2]))
    FROM listed WHERE curves > 1
),
point AS (
    SELECT model_id, family, unnest(total) / curves AS value, generate_subscripts(total, 1) - 1 AS step FROM unit
)
SELECT model_id, family, step::INTEGER AS step, count(*)::INTEGER AS prompts, avg(value) AS mean, stddev_samp(value) AS sd
FROM point GROUP BY ALL ORDER BY model_id, family, step
