-- Adds to `score` the rows of the view `added` (model_id, prompt_id, value) of which any sample is done.
INSERT INTO score
SELECT $metric_id, NULL, model_id, prompt_id, NULL, value, NULL, NULL
FROM added SEMI JOIN (SELECT model_id, prompt_id FROM sample WHERE status = 'done') USING (model_id, prompt_id)
ORDER BY model_id, prompt_id;
