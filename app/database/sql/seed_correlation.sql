-- One row per (model, concept, step) with a prompt of two seeds or more: the correlation of the similarity with the final one
-- over the seeds within a prompt (prompt means removed), and how many degrees of freedom it has.
WITH counted AS (FROM counted_pair($categories, $slice, $concepts, $named)),
point AS (
    SELECT t.model_id, t.concept_id, t.prompt_id, unnest(t.similarity)::DOUBLE AS value,
           generate_subscripts(t.similarity, 1) - 1 AS step, t.final::DOUBLE AS final
    FROM trajectory AS t JOIN counted USING (prompt_id, concept_id)
    WHERE t.model_id IN $models AND t.concept_id IN $concepts AND t.seed IN $seeds
      AND len($seeds) > 1  -- one seed has no correlation, and the reading of every curve took a second
),
unit AS (
    SELECT model_id, concept_id, prompt_id, step, count(*) AS seeds, count(*) * var_pop(value) AS square,
           count(*) * var_pop(final) AS final_square, count(*) * covar_pop(value, final) AS product
    FROM point GROUP BY ALL
),
total AS (
    SELECT model_id, concept_id, step, sum(seeds - 1) AS freedom, sum(square) AS square,
           sum(final_square) AS final_square, sum(product) AS product
    FROM unit GROUP BY ALL
)
SELECT model_id, concept_id, step::INTEGER AS step, freedom::INTEGER AS freedom,
       CASE WHEN sqrt(square * final_square) > 1e-12 THEN product / sqrt(square * final_square) END AS r
FROM total WHERE freedom > 0 ORDER BY model_id, concept_id, step
