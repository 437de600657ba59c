-- What emergence_family.sql asks, of whole categories: sums of cells. Quantiles over samples lie between the two steps that hold
-- the samples on either side.
WITH cell AS (
    SELECT * FROM cell_family
    WHERE model_id IN $models AND family IN (SELECT family FROM concept WHERE concept_id IN $concepts)
      AND category IN $categories AND named = $named
),
centre AS (
    SELECT model_id, family, sum(prompts) AS prompts, sum(samples) AS samples, sum(n) AS emerging,
           sum(n * mean) / sum(n) AS mean
    FROM cell GROUP BY ALL
),
spread AS (
    SELECT model_id, family,
           sum((c.n - 1) * coalesce(c.sd, 0) ** 2 + c.n * (c.mean - t.mean) ** 2) FILTER (WHERE c.n > 0) AS square
    FROM cell AS c JOIN centre AS t USING (model_id, family) GROUP BY ALL
),
histogram AS (
    SELECT model_id, family, step, sum(samples) AS samples
    FROM (SELECT model_id, family, unnest(steps) AS samples, generate_subscripts(steps, 1) - 1 AS step FROM cell)
    GROUP BY ALL
),
ranked AS (
    SELECT model_id, family, step, sum(samples) OVER (PARTITION BY model_id, family ORDER BY step) AS rank,
           sum(samples) OVER (PARTITION BY model_id, family) AS emerged
    FROM histogram
),
place AS (
    SELECT model_id, family, q, q * (emerged - 1) AS place,
           min(step) FILTER (WHERE rank > floor(q * (emerged - 1))) AS below,
           min(step) FILTER (WHERE rank > ceil(q * (emerged - 1))) AS above
    FROM ranked CROSS JOIN (SELECT unnest([0.25, 0.5, 0.75]) AS q) WHERE emerged > 0
    GROUP BY model_id, family, q, emerged
),
quantile AS (
    SELECT model_id, family, q, below + (place - floor(place)) * (above - below) AS value FROM place
),
quartile AS (
    SELECT model_id, family, max(value) FILTER (WHERE q = 0.25) AS q1, max(value) FILTER (WHERE q = 0.5) AS median,
           max(value) FILTER (WHERE q = 0.75) AS q3
    FROM quantile GROUP BY ALL
),
reached AS (
    SELECT model_id, family, sum(samples) AS emerged FROM histogram GROUP BY ALL
)
SELECT model_id, family, prompts::INTEGER AS prompts, emerging::INTEGER AS n, mean,
       CASE WHEN emerging > 1 THEN sqrt(square / (emerging - 1)) END AS sd,
       samples::INTEGER AS samples, emerged / samples AS emerged_share, median, q1, q3
FROM centre JOIN spread USING (model_id, family) JOIN reached USING (model_id, family)
LEFT JOIN quartile USING (model_id, family)
ORDER BY model_id, family
