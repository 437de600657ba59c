-- One row per (model, concept, step): mean similarity over prompts, from the trajectories; seeds averaged first.
WITH point AS (
    SELECT t.model_id, t.concept_id, t.prompt_id,
           unnest(t.similarity) AS value, generate_subscripts(t.similarity, 1) - 1 AS step, t.final
    FROM trajectory AS t JOIN counted_pair($categories, $slice, $concepts, $named) USING (prompt_id, concept_id)
    WHERE t.model_id IN $models AND t.concept_id IN $concepts AND t.seed IN $seeds
),
unit AS (
    SELECT model_id, concept_id, prompt_id, step, avg(value) AS value, avg(final) AS final, count(*) AS samples
    FROM point GROUP BY ALL
)
SELECT model_id, concept_id, step::INTEGER AS step,
       count(*)::INTEGER AS prompts, sum(samples)::INTEGER AS samples,
       avg(value) AS mean, stddev_samp(value) AS sd,
       CASE WHEN stddev_pop(value) > 0 AND stddev_pop(final) > 0 THEN corr(value, final) END AS r_final
FROM unit GROUP BY ALL ORDER BY model_id, concept_id, step
