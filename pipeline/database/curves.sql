-- One row per trajectory of a model within a range of concepts, sorted as stored.
SELECT concept_id, prompt_id, seed, similarity, rise, spearman, auc, outcome,
       CASE outcome WHEN 'never' THEN len(similarity) - 1 ELSE emergence_step END AS emergence_step  -- restricted
FROM trajectory
WHERE model_id = $model AND concept_id BETWEEN $first AND $last
ORDER BY concept_id, prompt_id, seed;
