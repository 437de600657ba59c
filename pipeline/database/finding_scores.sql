-- A row is a prompt under a model: its CLIP score, seeds averaged, and how many of its samples are done and failed.
SELECT model.label, avg(clip_score), count(*) FILTER (status = 'done'), count(*) FILTER (status <> 'done')
FROM sample JOIN model USING (model_id)
GROUP BY model_id, model.label, prompt_id
ORDER BY model_id, prompt_id;
