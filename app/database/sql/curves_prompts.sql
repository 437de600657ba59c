-- One row per (model, concept, step): mean similarity over prompts, where each prompt has one curve: of all its seeds
-- together ($whole), as publish has averaged them, or of one seed. So no point is grouped by its prompt: at 50 million
-- similarities that took more than a gigabyte of memory.
WITH counted AS MATERIALIZED (
    SELECT * FROM counted_pair($categories, $slice, $concepts, $named)
),
curve AS (
    SELECT t.model_id, t.concept_id, t.seeds, t.similarity, t.final
    FROM rollup_prompt AS t JOIN counted USING (prompt_id, concept_id)
    WHERE $whole AND t.model_id IN $models AND t.concept_id IN $concepts
    UNION ALL
    SELECT t.model_id, t.concept_id, 1, t.similarity, t.final
    FROM trajectory AS t JOIN counted USING (prompt_id, concept_id)
    WHERE NOT $whole AND t.model_id IN $models AND t.concept_id IN $concepts AND t.seed IN $seeds
),
last AS (
    SELECT model_id, concept_id, avg(final) AS final, stddev_samp(final) AS final_sd FROM curve GROUP BY ALL
),
point AS (
    SELECT model_id, concept_id, seeds, unnest(similarity) AS value,
           generate_subscripts(similarity, 1) - 1 AS step, final::DOUBLE AS final
    FROM curve
),
moment AS (
    SELECT model_id, concept_id, step, count(*) AS n, sum(seeds) AS samples, avg(value) AS mean,
           stddev_samp(value) AS sd, sum(value * final) AS product
    FROM point GROUP BY ALL
)
-- corr() beside the other two moments takes half as long again.
SELECT model_id, concept_id, step::INTEGER AS step, n::INTEGER AS prompts, samples::INTEGER AS samples, mean, sd,
       CASE WHEN sd > 0 AND final_sd > 0
           THEN (product - n * mean * final) / ((n - 1) * sd * final_sd) END AS r_final
FROM moment JOIN last USING (model_id, concept_id)
ORDER BY model_id, concept_id, step
