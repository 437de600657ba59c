-- One row per (model, family, step): share of trajectories that have emerged by this step; prompts are the unit.
WITH mention AS (
    SELECT p.prompt_id, c.concept_id, c.family,
           contains(' ' || regexp_replace(lower(p.text), '[^\p{L}\p{N}]+', ' ', 'g') || ' ',
                    ' ' || trim(regexp_replace(lower(c.name), '[^\p{L}\p{N}]+', ' ', 'g')) || ' ') AS named
    FROM prompt AS p CROSS JOIN concept AS c
    WHERE p.category IN $categories
      AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[]))) AND c.concept_id IN $concepts
),
chosen AS (
    SELECT t.model_id, m.family, t.prompt_id, t.emergence_step
    FROM trajectory AS t JOIN mention AS m USING (prompt_id, concept_id)
    WHERE t.model_id IN $models AND t.seed IN $seeds AND (m.named OR NOT $named)
),
unit AS (
    SELECT c.model_id, c.family, c.prompt_id, s.step,
           avg(CASE WHEN c.emergence_step <= s.step THEN 1.0 ELSE 0.0 END) AS share
    FROM chosen AS c JOIN step AS s USING (model_id) GROUP BY ALL
)
SELECT model_id, family, step, count(*)::INTEGER AS prompts, avg(share) AS mean, stddev_samp(share) AS sd
FROM unit GROUP BY ALL ORDER BY model_id, family, step
