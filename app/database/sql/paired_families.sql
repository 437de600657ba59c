-- One row per (candidate, family, prompt): final similarity, area and emergence of the baseline and the candidate, seeds
-- averaged within a concept first, then the family's concepts ($named: those that the prompt names). Area: of curves that
-- rise, for which high is early. Emergence: restricted (never = the last step), on the axis; noise levels are cut to those
-- that both models reach. NULL where none is known. lowest, highest: of the difference of emergence that the distance between
-- steps leaves open, where the models' steps are at other noise levels; else the difference itself.
WITH levels AS MATERIALIZED (
    FROM level(list_append($candidates::INTEGER[], $baseline::INTEGER), $axis)
),
ending AS (  -- joined before `levels`, so that the step is a key
    SELECT DISTINCT model_id, last FROM levels
),
reach AS (
    SELECT model_id, min(x) AS low, max(x) AS high FROM levels GROUP BY model_id
),
pair AS (
    SELECT b.model_id AS candidate, greatest(a.low, b.low) AS low, least(a.high, b.high) AS high
    FROM reach AS a CROSS JOIN reach AS b WHERE a.model_id = $baseline AND b.model_id IN $candidates
),
timetable AS (
    SELECT model_id, list(x ORDER BY step) AS steps FROM levels GROUP BY model_id
),
span AS (  -- what pairs are cut to, by number: most pairs share theirs, and are not computed twice
    SELECT low, high, row_number() OVER () AS span_id FROM (SELECT DISTINCT low, high FROM pair)
),
spanned AS (
    SELECT candidate, span_id, low, high FROM pair JOIN span USING (low, high)
),
alike AS (
    SELECT b.model_id AS candidate, $axis NOT IN ('log_snr', 'timestep') OR a.steps = b.steps AS same
    FROM timetable AS a CROSS JOIN timetable AS b WHERE a.model_id = $baseline AND b.model_id IN $candidates
),
needed AS (  -- a model within a span
    SELECT $baseline AS model_id, span_id, low, high FROM spanned UNION SELECT candidate, span_id, low, high FROM spanned
),
kind AS (  -- a family is the lowest of its concepts until the end: texts as keys took half as long again
    SELECT concept_id, min(concept_id) OVER (PARTITION BY family) AS family_id FROM concept
),
chosen AS (
    SELECT t.model_id, k.family_id, t.prompt_id, t.concept_id, t.final, t.rise, t.auc,
           CASE WHEN $axis IN ('log_snr', 'timestep')
               THEN l.before + coalesce(t.crossing, 1) * (l.x - l.before) ELSE l.x END AS x,
           CASE WHEN t.emergence_step IS NULL THEN l.x ELSE l.before END AS before, l.x AS at
    FROM trajectory AS t JOIN counted_pair($categories, $slice, $concepts, $named) USING (prompt_id, concept_id)
    JOIN kind AS k USING (concept_id)
    JOIN ending AS e ON e.model_id = t.model_id
    LEFT JOIN levels AS l ON l.model_id = t.model_id AND t.outcome IS NOT NULL
        AND l.step = coalesce(t.emergence_step, e.last)
    WHERE t.seed IN $seeds AND (t.model_id = $baseline OR t.model_id IN $candidates)
),
measured AS (
    SELECT t.model_id, n.span_id, t.family_id, t.prompt_id, t.concept_id, t.final,
           CASE WHEN t.rise > 0 THEN t.auc END AS auc,
           CASE WHEN $axis IN ('log_snr', 'timestep') AND t.x IS NOT NULL THEN least(greatest(t.x, n.low), n.high) ELSE t.x END AS x,
           CASE WHEN t.x IS NOT NULL THEN least(greatest(least(t.before, t.at), n.low), n.high) END AS lowest,
           CASE WHEN t.x IS NOT NULL THEN least(greatest(t.before, t.at, n.low), n.high) END AS highest
    FROM chosen AS t JOIN needed AS n USING (model_id)
),
unit AS (  -- one seed is its own mean
    SELECT model_id, span_id, family_id, prompt_id, final::DOUBLE AS final, auc::DOUBLE AS auc, x::DOUBLE AS emergence,
           lowest::DOUBLE AS lowest, highest::DOUBLE AS highest
    FROM measured WHERE len($seeds) = 1
    UNION ALL
    SELECT model_id, span_id, family_id, prompt_id, avg(final), avg(auc), avg(x), avg(lowest), avg(highest)
    FROM measured WHERE len($seeds) > 1 GROUP BY model_id, span_id, family_id, prompt_id, concept_id
),
side AS (
    SELECT model_id, span_id, family_id, prompt_id, round(avg(final), 8) AS final, round(avg(auc), 8) AS auc,
           round(avg(emergence), 6) AS emergence,  -- rounded: the order of a sum makes no tie a difference
           round(avg(lowest), 6) AS lowest, round(avg(highest), 6) AS highest
    FROM unit GROUP BY ALL
)
SELECT b.model_id, c.family, a.prompt_id, a.final AS final_baseline, b.final AS final_candidate,
       a.emergence AS emergence_baseline, b.emergence AS emergence_candidate,
       a.auc AS auc_baseline, b.auc AS auc_candidate,
       CASE WHEN same THEN b.emergence - a.emergence ELSE b.lowest - a.highest END AS lowest,
       CASE WHEN same THEN b.emergence - a.emergence ELSE b.highest - a.lowest END AS highest
FROM spanned AS s JOIN side AS b ON b.model_id = s.candidate AND b.span_id = s.span_id
JOIN side AS a ON a.model_id = $baseline AND a.span_id = s.span_id AND a.family_id = b.family_id AND a.prompt_id = b.prompt_id
JOIN alike ON alike.candidate = s.candidate
JOIN concept AS c ON c.concept_id = a.family_id
ORDER BY b.model_id, c.family, a.prompt_id
