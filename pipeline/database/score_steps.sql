-- Adds to `score` the rows of the view `added` (model_id, prompt_id, seed, step, value) whose sample is done, its steps in a list.
INSERT INTO score
SELECT $metric_id, sample_id, model_id, prompt_id, seed, arg_max(value, added.step), list(added.step ORDER BY added.step),
       list(value ORDER BY added.step)
FROM added JOIN sample USING (model_id, prompt_id, seed)
WHERE status = 'done' GROUP BY sample_id, model_id, prompt_id, seed ORDER BY sample_id;
