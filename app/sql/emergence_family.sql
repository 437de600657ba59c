-- One row per (model, family): when the family's concepts emerge; concepts and seeds averaged within a prompt first.
WITH said AS MATERIALIZED (  -- the words of each text, once: within the join below they were found anew for each concept
    SELECT prompt_id, ' ' || regexp_replace(lower(text), '[^\p{L}\p{N}]+', ' ', 'g') || ' ' AS words
    FROM prompt
    WHERE category IN $categories
      AND ($slice IS NULL OR prompt_id IN (SELECT unnest($slice::INTEGER[])))
),
wanted AS MATERIALIZED (
    SELECT concept_id, family, ' ' || trim(regexp_replace(lower(name), '[^\p{L}\p{N}]+', ' ', 'g')) || ' ' AS words
    FROM concept WHERE concept_id IN $concepts
),
mention AS (
    SELECT s.prompt_id, w.concept_id, w.family, contains(s.words, w.words) AS named
    FROM said AS s CROSS JOIN wanted AS w
),
chosen AS (
    SELECT t.model_id, m.family, t.prompt_id, t.emergence_step
    FROM trajectory AS t JOIN mention AS m USING (prompt_id, concept_id)
    WHERE t.model_id IN $models AND t.concept_id IN $concepts AND t.seed IN $seeds AND (m.named OR NOT $named)
),
sampled AS (
    SELECT model_id, family, count(*) AS samples, count(emergence_step) AS emerged,
           median(emergence_step) AS median,
           quantile_cont(emergence_step, 0.25) AS q1, quantile_cont(emergence_step, 0.75) AS q3
    FROM chosen GROUP BY ALL
),
unit AS (
    SELECT model_id, family, prompt_id, avg(emergence_step) AS value FROM chosen GROUP BY ALL
),
prompted AS (
    SELECT model_id, family, count(*) AS prompts, count(value) AS n, avg(value) AS mean, stddev_samp(value) AS sd
    FROM unit GROUP BY ALL
)
SELECT model_id, family, prompts::INTEGER AS prompts, n::INTEGER AS n, mean, sd,
       samples::INTEGER AS samples, emerged / samples AS emerged_share, median, q1, q3
FROM sampled JOIN prompted USING (model_id, family)
ORDER BY model_id, family
