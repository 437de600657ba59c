-- One row per (model, family, step): mean similarity over prompts; the family's concepts that a prompt names, and its
-- seeds, are averaged within the prompt first. $whole: of all seeds together, as publish has averaged them.
WITH chosen_prompt AS MATERIALIZED (
    SELECT prompt_id FROM scoped_prompt($categories, $slice)
),
kind AS (  -- a family is the lowest of its concepts until the end: as a key, a text takes longer than a number
    SELECT concept_id, min(concept_id) OVER (PARTITION BY family) AS family_id FROM concept
),
named AS (
    SELECT prompt_id, concept_id, family_id
    FROM chosen_prompt JOIN mention USING (prompt_id) JOIN kind USING (concept_id)
    WHERE concept_id IN $concepts
),
curve AS (
    SELECT t.model_id, n.family_id, t.prompt_id, t.similarity
    FROM rollup_prompt AS t JOIN named AS n USING (prompt_id, concept_id) WHERE $whole AND t.model_id IN $models
    UNION ALL
    SELECT t.model_id, n.family_id, t.prompt_id, t.similarity
    FROM trajectory AS t JOIN named AS n USING (prompt_id, concept_id)
    WHERE NOT $whole AND t.model_id IN $models AND t.seed IN $seeds
),
listed AS (  -- a list per prompt: a row per prompt and step is 20 million rows for 25,000 prompts, and does not fit into memory
    SELECT model_id, family_id, count(*) AS curves, list(similarity) AS each FROM curve GROUP BY model_id, family_id, prompt_id
),
several AS (
    SELECT model_id, family_id, curves,
           list_reduce(each::DOUBLE[][], lambda a, b: list_transform(list_zip(a, b), lambda pair: pair[1] + pair[2])) AS total
    FROM listed WHERE curves > 2
),
point AS (  -- one and two curves without a function per value, which took half of the time
    SELECT model_id, family_id, unnest(each[1])::DOUBLE AS value, generate_subscripts(each[1], 1) - 1 AS step
    FROM listed WHERE curves = 1
    UNION ALL
    SELECT model_id, family_id, (unnest(each[1])::DOUBLE + unnest(each[2])) / 2, generate_subscripts(each[1], 1) - 1
    FROM listed WHERE curves = 2
    UNION ALL
    SELECT model_id, family_id, unnest(total) / curves, generate_subscripts(total, 1) - 1 FROM several
),
moment AS (
    SELECT model_id, family_id, step, count(*) AS prompts, avg(value) AS mean, stddev_samp(value) AS sd FROM point GROUP BY ALL
)
SELECT m.model_id, c.family, m.step::INTEGER AS step, m.prompts::INTEGER AS prompts, m.mean, m.sd
FROM moment AS m JOIN concept AS c ON c.concept_id = m.family_id
ORDER BY m.model_id, c.family, m.step
