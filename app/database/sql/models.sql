-- One row per model, in the study's order. Of the checkpoints of a training run with three or more of them: shade, the place
-- in the run (0 = the first, 1 = the last), and run_number, the number of the run, from 0.
SELECT *,
       CASE WHEN run IS NOT NULL AND count(*) OVER (PARTITION BY run) > 2
           THEN (row_number() OVER (PARTITION BY run ORDER BY training_step) - 1)
               / (count(*) OVER (PARTITION BY run) - 1)::DOUBLE END AS shade,
       CASE WHEN run IS NOT NULL THEN dense_rank() OVER (ORDER BY run NULLS LAST) - 1 END AS run_number
FROM model ORDER BY model_id
