-- A row is a trajectory, in the order (model, concept, prompt, seed). A rise within the noise of the seeds is no emergence:
-- the noise is the pooled standard deviation of the final value over the seeds of a prompt, per (model, concept).
INSERT INTO trajectory BY NAME
WITH prompt_spread AS (
    SELECT model_id, concept_id, prompt_id, count(*) - 1 AS freedom, var_samp("final") AS variance
    FROM staged GROUP BY ALL
), noise AS (
    SELECT model_id, concept_id, sqrt(sum(freedom * variance) / nullif(sum(freedom), 0)) AS noise
    FROM prompt_spread WHERE freedom > 0 GROUP BY ALL
)
SELECT staged.* REPLACE (
    CASE WHEN rise > coalesce(noise, 0) THEN emergence_step END AS emergence_step
)
FROM staged LEFT JOIN noise USING (model_id, concept_id)
ORDER BY model_id, concept_id, prompt_id, seed;
