-- Adds to `score` the rows of the view `added` (model_id, prompt_id, seed, value) whose sample is done.
INSERT INTO score
SELECT $metric_id, sample_id, model_id, prompt_id, seed, value, NULL, NULL
FROM added JOIN sample USING (model_id, prompt_id, seed)
WHERE status = 'done' ORDER BY sample_id;
