-- One row per (model, concept): when its trajectories emerge; seeds averaged within a prompt first.
-- mean, sd and n (prompts that emerge) are over prompts; median and quartiles over samples; share of all its samples.
WITH chosen_prompt AS MATERIALIZED (
    SELECT prompt_id FROM prompt
    WHERE category IN $categories
      AND ($slice IS NULL OR prompt_id IN (SELECT unnest($slice::INTEGER[])))
),
counted AS (  -- the pairs that count
    SELECT prompt_id, concept_id FROM chosen_prompt CROSS JOIN concept
    WHERE concept_id IN $concepts AND (NOT $named OR concept_id = 0)
    UNION ALL
    SELECT prompt_id, concept_id FROM chosen_prompt JOIN mention USING (prompt_id)
    WHERE concept_id IN $concepts AND $named
),
chosen AS (
    SELECT t.model_id, t.concept_id, t.prompt_id, t.emergence_step
    FROM trajectory AS t JOIN counted USING (prompt_id, concept_id)
    WHERE t.model_id IN $models AND t.concept_id IN $concepts AND t.seed IN $seeds
),
sampled AS (
    SELECT model_id, concept_id, count(*) AS samples, count(emergence_step) AS emerged,
           median(emergence_step) AS median,
           quantile_cont(emergence_step, 0.25) AS q1, quantile_cont(emergence_step, 0.75) AS q3
    FROM chosen GROUP BY ALL
),
unit AS (
    SELECT model_id, concept_id, prompt_id, avg(emergence_step) AS value FROM chosen GROUP BY ALL
),
prompted AS (
    SELECT model_id, concept_id, count(*) AS prompts, count(value) AS n, avg(value) AS mean, stddev_samp(value) AS sd
    FROM unit GROUP BY ALL
)
SELECT model_id, concept_id, c.name AS concept, c.family,
       prompts::INTEGER AS prompts, n::INTEGER AS n, mean, sd,
       samples::INTEGER AS samples, emerged / samples AS emerged_share, median, q1, q3
FROM sampled JOIN prompted USING (model_id, concept_id) JOIN concept AS c USING (concept_id)
ORDER BY model_id, concept_id
