-- Sorts one scorer's staged trajectories of a model into `trajectory`. A concept emerges only in a sample in which its
-- rise is above the seed noise: the pooled sd over seeds of the final value, taken as 0 where there is one seed.
INSERT INTO trajectory
WITH by_prompt AS (
    SELECT concept_id, prompt_id, count(*) - 1 AS freedom, var_samp(final::DOUBLE) AS variance
    FROM staged
    WHERE scorer = $scorer
    GROUP BY ALL
    HAVING count(*) > 1
),
noise AS (
    SELECT concept_id, sqrt(sum(freedom * variance) / sum(freedom)) AS noise
    FROM by_prompt
    GROUP BY concept_id
)
SELECT
    model_id, concept_id, prompt_id, seed, sample_id, similarity, final, rise, spearman, auc,
    CASE WHEN rise > coalesce(noise, 0) THEN half_step END AS emergence_step
FROM staged
LEFT JOIN noise USING (concept_id)
WHERE scorer = $scorer
ORDER BY concept_id, prompt_id, seed;
