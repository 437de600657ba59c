-- One row per (model, band, step): log10 power of x0 in a band of spatial frequencies (cycles per pixel); seeds are
-- averaged within a prompt first. change is against the step before. An image without any power in a band (log10 of 0) is left out.
WITH point AS (
    SELECT b.model_id, b.prompt_id, b.band, b.low, b.high, i AS step, b.power[i + 1] AS value,
           b.power[i + 1] - b.power[i] AS change
    FROM spectrum AS b JOIN sample AS s USING (sample_id)
    JOIN scoped_prompt($categories, $slice) AS p ON p.prompt_id = b.prompt_id
    CROSS JOIN unnest(range(len(b.power))) AS r(i)
    WHERE b.model_id IN $models AND s.seed IN $seeds
),
unit AS (
    SELECT model_id, prompt_id, band, low, high, step, avg(value) AS value,
           avg(change) FILTER (WHERE isfinite(change)) AS change
    FROM point WHERE isfinite(value) GROUP BY ALL
)
SELECT model_id, band, low, high, step::INTEGER AS step, count(*)::INTEGER AS prompts,
       avg(value) AS mean, stddev_samp(value) AS sd, avg(change) AS change, stddev_samp(change) AS change_sd
FROM unit GROUP BY ALL ORDER BY model_id, band, step
