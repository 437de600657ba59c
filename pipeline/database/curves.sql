-- One row per trajectory of a model within a range of concepts, sorted as stored. outcome: 0 start, 1 emerges, 2 never, -1 unknown.
SELECT concept_id, prompt_id, seed, similarity, rise, spearman, auc,
       CASE t.outcome WHEN 'start' THEN 0 WHEN 'emerges' THEN 1 WHEN 'never' THEN 2 ELSE -1 END::TINYINT AS outcome,
       CASE t.outcome WHEN 'never' THEN len(similarity) - 1 ELSE emergence_step END AS emergence_step  -- restricted
FROM trajectory AS t
WHERE model_id = $model AND concept_id BETWEEN $first AND $last
ORDER BY concept_id, prompt_id, seed;
