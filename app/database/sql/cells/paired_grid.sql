-- What paired_grid_seeds.sql asks at the same log-SNR, of whole categories: sums of cells. Those of two models with the same
-- noise levels are stored one way round.
WITH pair AS (
    SELECT model_b AS model_id, concept_id, prompts, mean, sd, win_rate FROM cell_pair
    WHERE model_a = $baseline AND model_b IN $candidates AND concept_id IN $concepts AND category IN $categories
      AND named = ($named AND concept_id > 0)
    UNION ALL
    SELECT model_a, concept_id, prompts, list_transform(mean, lambda gap: -gap), sd,
           list_transform(win_rate, lambda wins: 1 - wins)
    FROM cell_pair
    WHERE model_b = $baseline AND model_a IN $candidates AND concept_id IN $concepts AND category IN $categories
      AND named = ($named AND concept_id > 0)
      AND model_a NOT IN (SELECT model_b FROM cell_pair WHERE model_a = $baseline)
),
point AS (
    SELECT model_id, concept_id, prompts AS n, generate_subscripts(mean, 1) - 1 AS step,
           unnest(mean)::DOUBLE AS mean, unnest(sd)::DOUBLE AS sd, unnest(win_rate)::DOUBLE AS win_rate
    FROM pair
),
centre AS (
    SELECT model_id, concept_id, step, sum(n) AS prompts, sum(n * mean) / sum(n) AS mean,
           sum(n * win_rate) / sum(n) AS win_rate
    FROM point WHERE mean IS NOT NULL GROUP BY ALL
),
total AS (
    SELECT model_id, concept_id, step, sum((n - 1) * p.sd ** 2 + n * (p.mean - c.mean) ** 2) AS square
    FROM point AS p JOIN centre AS c USING (model_id, concept_id, step) GROUP BY ALL
)
SELECT model_id, concept_id, step::INTEGER AS step, prompts::INTEGER AS prompts, mean,
       CASE WHEN prompts > 1 THEN sqrt(square / (prompts - 1)) END AS sd, win_rate
FROM centre JOIN total USING (model_id, concept_id, step)
ORDER BY model_id, concept_id, step
