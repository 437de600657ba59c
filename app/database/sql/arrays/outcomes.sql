-- One row per (concept, prompt) of a model and a seed: what its curve comes to. outcome: 0 start, 1 emerges, 2 never, -1 not known.
SELECT concept_id, prompt_id, final, rise, auc, emergence_step::FLOAT AS emergence_step, crossing,
       CASE outcome WHEN 'start' THEN 0 WHEN 'emerges' THEN 1 WHEN 'never' THEN 2 ELSE -1 END::TINYINT AS outcome
FROM trajectory WHERE model_id = $model AND seed = $seed
