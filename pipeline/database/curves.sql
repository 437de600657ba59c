-- One row per trajectory of a model within a range of concepts, sorted as stored.
SELECT concept_id, prompt_id, seed, similarity, rise, spearman, auc, emergence_step
FROM trajectory
WHERE model_id = $model AND concept_id BETWEEN $first AND $last
ORDER BY concept_id, prompt_id, seed;
