-- One row per (candidate, concept, step of the baseline): moments of the paired difference to the baseline over shared prompts
-- and seeds. The candidate's curve is read where it is as far on the axis (log_snr, step or progress), by linear
-- interpolation; no row where it has no such place.
WITH matched AS (FROM matched_steps($baseline, $candidates, $axis)),
counted AS (FROM counted_pair($categories, $slice, $concepts, $named)),
side AS (
    SELECT t.model_id, t.concept_id, t.prompt_id, t.seed, t.similarity
    FROM trajectory AS t JOIN counted USING (prompt_id, concept_id)
    WHERE (t.model_id = $baseline OR t.model_id IN $candidates) AND t.seed IN $seeds
),
point AS (
    SELECT b.model_id, a.concept_id, a.prompt_id, unnest(m.steps) AS step,
           unnest(list_transform(m.steps, lambda i: a.similarity[i + 1])) AS first,
           unnest(list_transform(range(1, len(m.steps) + 1), lambda k:
               b.similarity[m.below[k] + 1] * (1 - m.weight[k])
               + b.similarity[least(m.below[k] + 2, len(b.similarity))] * m.weight[k])) AS second
    FROM side AS a JOIN side AS b USING (concept_id, prompt_id, seed) JOIN matched AS m ON m.model_id = b.model_id
    WHERE a.model_id = $baseline AND b.model_id IN $candidates
),
unit AS (
    SELECT model_id, concept_id, prompt_id, step, avg(second - first) AS difference FROM point GROUP BY ALL
)
SELECT model_id, concept_id, step::INTEGER AS step, count(*)::INTEGER AS prompts,
       avg(difference) AS mean, stddev_samp(difference) AS sd,
       avg(CASE WHEN difference > 0 THEN 1.0 WHEN difference = 0 THEN 0.5 ELSE 0.0 END) AS win_rate
FROM unit GROUP BY ALL ORDER BY model_id, concept_id, step
