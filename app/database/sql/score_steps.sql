-- One row per (metric, model, step): the mean of a score per step that another program computed, over prompts, seeds averaged
-- within a prompt first.
WITH point AS (
    SELECT metric.name AS metric, s.model_id, s.prompt_id, unnest(s.steps) AS step, unnest(s.step_values) AS value
    FROM score AS s JOIN metric USING (metric_id) JOIN scoped_prompt($categories, $slice) AS p USING (prompt_id)
    WHERE s.steps IS NOT NULL AND s.model_id IN $models AND s.seed IN $seeds
),
unit AS (
    SELECT metric, model_id, prompt_id, step, avg(value) AS value FROM point GROUP BY ALL
)
SELECT metric, model_id, step::INTEGER AS step, count(*)::INTEGER AS prompts, avg(value) AS mean, stddev_samp(value) AS sd
FROM unit GROUP BY ALL ORDER BY metric, model_id, step
