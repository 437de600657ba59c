-- A row is a prompt under a model by a score that another program computed: its value, seeds averaged.
SELECT metric.title, metric.lower_is_better, metric.source, metric.preprocessing, model.label, avg(score.value)
FROM score JOIN metric USING (metric_id) JOIN model USING (model_id)
GROUP BY metric_id, metric.title, metric.lower_is_better, metric.source, metric.preprocessing, model_id, model.label, prompt_id
ORDER BY metric_id, model_id, prompt_id;
