-- What curves.sql asks, of whole categories: sums of cells.
WITH point AS (
    SELECT model_id, concept_id, prompts AS n, samples, generate_subscripts(mean, 1) - 1 AS step,
           unnest(mean)::DOUBLE AS mean, unnest(sd)::DOUBLE AS sd, unnest(covariance)::DOUBLE AS covariance,
           mean[-1]::DOUBLE AS final, sd[-1]::DOUBLE AS final_sd
    FROM cell_curve
    WHERE model_id IN $models AND concept_id IN $concepts AND category IN $categories
      AND named = ($named AND concept_id > 0)
),
centre AS (
    SELECT model_id, concept_id, step, sum(n) AS prompts, sum(samples) AS samples,
           sum(n * mean) / sum(n) AS mean, sum(n * final) / sum(n) AS final
    FROM point GROUP BY ALL
),
total AS (
    SELECT model_id, concept_id, step, any_value(c.prompts) AS prompts, any_value(c.samples) AS samples,
           any_value(c.mean) AS mean,
           sum((n - 1) * sd ** 2 + n * (p.mean - c.mean) ** 2) AS square,
           sum((n - 1) * final_sd ** 2 + n * (p.final - c.final) ** 2) AS final_square,
           sum((n - 1) * covariance + n * (p.mean - c.mean) * (p.final - c.final)) AS product
    FROM point AS p JOIN centre AS c USING (model_id, concept_id, step) GROUP BY ALL
)
SELECT model_id, concept_id, step::INTEGER AS step, prompts::INTEGER AS prompts, samples::INTEGER AS samples, mean,
       CASE WHEN prompts > 1 THEN sqrt(square / (prompts - 1)) END AS sd,
       CASE WHEN sqrt(square * final_square) > 1e-12 THEN product / sqrt(square * final_square) END AS r_final
FROM total ORDER BY model_id, concept_id, step
