-- One row per (candidate, family, prompt): final similarity, area and emergence of the baseline and the candidate, seeds
-- averaged within a concept first, then the family's concepts ($named: those that the prompt names). Area: of curves that
-- rise, for which high is early. Emergence: restricted (never = the last step), on the axis; noise levels are cut to those
-- that both models reach. NULL where none is known.
WITH level AS (
    SELECT model_id, step, max(step) OVER (PARTITION BY model_id) AS last,
           CASE $axis WHEN 'log_snr' THEN axis_log_snr WHEN 'timestep' THEN timestep
               WHEN 'progress' THEN step / greatest(max(step) OVER (PARTITION BY model_id), 1) ELSE step END AS x
    FROM step WHERE model_id = $baseline OR model_id IN $candidates
),
placed AS (
    SELECT *, lag(x, 1, x) OVER (PARTITION BY model_id ORDER BY step) AS before FROM level
),
ending AS (  -- joined before `placed`, so that the step is a key
    SELECT DISTINCT model_id, last FROM level
),
reach AS (
    SELECT model_id, min(x) AS low, max(x) AS high FROM level GROUP BY model_id
),
pair AS (
    SELECT b.model_id AS candidate, greatest(a.low, b.low) AS low, least(a.high, b.high) AS high
    FROM reach AS a CROSS JOIN reach AS b WHERE a.model_id = $baseline AND b.model_id IN $candidates
),
chosen AS (
    SELECT t.model_id, c.family, t.prompt_id, t.concept_id, t.final, t.rise, t.auc,
           CASE WHEN $axis IN ('log_snr', 'timestep')
               THEN l.before + coalesce(t.crossing, 1) * (l.x - l.before) ELSE l.x END AS x
    FROM trajectory AS t JOIN counted_pair($categories, $slice, $concepts, $named) USING (prompt_id, concept_id)
    JOIN concept AS c USING (concept_id)
    JOIN ending AS e ON e.model_id = t.model_id
    LEFT JOIN placed AS l ON l.model_id = t.model_id AND t.outcome IS NOT NULL
        AND l.step = coalesce(t.emergence_step, e.last)
    WHERE t.seed IN $seeds
),
needed AS (  -- a model within the noise levels of a pair: most pairs share theirs, and are not computed twice
    SELECT $baseline AS model_id, low, high FROM pair UNION SELECT candidate, low, high FROM pair
),
unit AS (
    SELECT t.model_id, n.low, n.high, t.family, t.prompt_id, t.concept_id, avg(t.final) AS final,
           avg(t.auc) FILTER (t.rise > 0) AS auc,
           avg(CASE WHEN $axis IN ('log_snr', 'timestep') THEN least(greatest(t.x, n.low), n.high) ELSE t.x END)
               FILTER (t.x IS NOT NULL) AS emergence
    FROM chosen AS t JOIN needed AS n USING (model_id)
    GROUP BY ALL
),
side AS (
    SELECT model_id, low, high, family, prompt_id, round(avg(final), 8) AS final, round(avg(auc), 8) AS auc,
           round(avg(emergence), 6) AS emergence  -- rounded: the order of a sum makes no tie a difference
    FROM unit GROUP BY ALL
)
SELECT b.model_id, a.family, a.prompt_id, a.final AS final_baseline, b.final AS final_candidate,
       a.emergence AS emergence_baseline, b.emergence AS emergence_candidate,
       a.auc AS auc_baseline, b.auc AS auc_candidate
FROM pair AS q JOIN side AS b ON b.model_id = q.candidate AND b.low = q.low AND b.high = q.high
JOIN side AS a ON a.model_id = $baseline AND a.low = q.low AND a.high = q.high AND a.family = b.family
    AND a.prompt_id = b.prompt_id
ORDER BY b.model_id, a.family, a.prompt_id
