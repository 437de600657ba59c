-- One row per (model, step): its place on the noise schedule; progress runs from 0 to 1.
SELECT s.model_id, s.step, s.timestep, s.alpha, s.sigma, s.axis_log_snr AS log_snr, s.call,
       s.step / greatest(max(s.step) OVER (PARTITION BY s.model_id), 1) AS progress
FROM step AS s
WHERE s.model_id IN $models
ORDER BY s.model_id, s.step
