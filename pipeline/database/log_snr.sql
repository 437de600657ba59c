-- One row per model: the log-SNR of its steps, in order, as on axes.
SELECT model_id, list(axis_log_snr ORDER BY step) AS log_snr FROM step GROUP BY model_id;
