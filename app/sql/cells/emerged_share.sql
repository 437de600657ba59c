-- What emerged_share.sql asks, of whole categories: sums of cells.
WITH point AS (
    SELECT model_id, family, prompts AS n, generate_subscripts(share, 1) - 1 AS step, unnest(share) AS share,
           unnest(share_sd) AS sd
    FROM cell_family
    WHERE model_id IN $models AND family IN (SELECT family FROM concept WHERE concept_id IN $concepts)
      AND category IN $categories AND named = $named
),
centre AS (
    SELECT model_id, family, step, sum(n) AS prompts, sum(n * share) / sum(n) AS mean FROM point GROUP BY ALL
),
total AS (
    SELECT model_id, family, step, sum((n - 1) * sd ** 2 + n * (share - mean) ** 2) AS square
    FROM point JOIN centre USING (model_id, family, step) GROUP BY ALL
)
SELECT model_id, family, step::INTEGER AS step, prompts::INTEGER AS prompts, mean,
       CASE WHEN prompts > 1 THEN sqrt(square / (prompts - 1)) END AS sd
FROM centre JOIN total USING (model_id, family, step)
ORDER BY model_id, family, step
