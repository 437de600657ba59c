-- One row per (model, band, step): mean log10 power over prompts; seeds averaged within a prompt.
WITH point AS (
    SELECT f.model_id, f.prompt_id, f.band, f.low, f.high,
           unnest(f.power) AS value, generate_subscripts(f.power, 1) - 1 AS step
    FROM spectrum AS f JOIN sample AS s USING (sample_id) JOIN prompt AS p ON p.prompt_id = f.prompt_id
    WHERE f.model_id IN $models AND s.seed IN $seeds AND p.category IN $categories
      AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[])))
),
unit AS (
    SELECT model_id, band, low, high, step, prompt_id, avg(value) AS value FROM point
    WHERE isfinite(value) GROUP BY ALL
)
SELECT model_id, band, low, high, step::INTEGER AS step, count(*)::INTEGER AS prompts,
       avg(value)::DOUBLE AS mean, stddev_samp(value)::DOUBLE AS sd
FROM unit GROUP BY ALL ORDER BY model_id, band, step
