-- level($models, $axis): per step of a model where it is on the axis (x: log_snr, timestep, progress or step), where the step before
-- it is (the first: itself), and the model's last step.
CREATE TEMP MACRO level(models, axis) AS TABLE
WITH placed AS (
    SELECT model_id, step, max(step) OVER (PARTITION BY model_id) AS last,
           CASE axis WHEN 'log_snr' THEN axis_log_snr WHEN 'timestep' THEN timestep
               WHEN 'progress' THEN step / greatest(max(step) OVER (PARTITION BY model_id), 1) ELSE step END AS x
    FROM step WHERE model_id IN models
)
SELECT *, lag(x, 1, x) OVER (PARTITION BY model_id ORDER BY step) AS before FROM placed
