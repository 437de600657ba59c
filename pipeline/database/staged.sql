-- One scorer's staged trajectories of a model within a range of concepts, sorted as they are stored.
SELECT model_id, concept_id, prompt_id, seed, sample_id, similarity, final, rise, spearman, auc
FROM staged
WHERE scorer = $scorer AND concept_id BETWEEN $first AND $last
ORDER BY concept_id, prompt_id, seed;
