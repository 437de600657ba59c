-- What seed_correlation.sql asks, of whole categories: sums of cells.
WITH point AS (
    SELECT model_id, concept_id, samples - prompts AS freedom, generate_subscripts(mean, 1) - 1 AS step,
           unnest(seed_square) AS square, unnest(seed_product) AS product, seed_square[-1] AS final_square
    FROM cell_curve
    WHERE model_id IN $models AND concept_id IN $concepts AND category IN $categories
      AND named = ($named AND concept_id > 0)
),
total AS (
    SELECT model_id, concept_id, step, sum(freedom) AS freedom, sum(square) AS square, sum(product) AS product,
           sum(final_square) AS final_square
    FROM point GROUP BY ALL
)
SELECT model_id, concept_id, step::INTEGER AS step, freedom::INTEGER AS freedom,
       CASE WHEN sqrt(square * final_square) > 1e-12 THEN product / sqrt(square * final_square) END AS r
FROM total WHERE freedom > 0 ORDER BY model_id, concept_id, step
