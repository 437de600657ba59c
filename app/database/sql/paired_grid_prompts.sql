-- One row per (candidate, concept, step of the baseline): moments of the paired difference to the baseline, where each prompt
-- has one curve: of all its seeds together ($whole), as publish has averaged them, or of one seed. Nothing is grouped by
-- prompt. The candidate's curve is read as in paired_grid_seeds.sql.
WITH matched AS (FROM matched_steps($baseline, $candidates, $axis)),
counted AS (FROM counted_pair($categories, $slice, $concepts, $named)),
side AS (
    SELECT t.model_id, t.concept_id, t.prompt_id, t.similarity
    FROM rollup_prompt AS t JOIN counted USING (prompt_id, concept_id)
    WHERE $whole AND (t.model_id = $baseline OR t.model_id IN $candidates)
    UNION ALL
    SELECT t.model_id, t.concept_id, t.prompt_id, t.similarity
    FROM trajectory AS t JOIN counted USING (prompt_id, concept_id)
    WHERE NOT $whole AND (t.model_id = $baseline OR t.model_id IN $candidates) AND t.seed IN $seeds
),
pair AS (
    SELECT b.model_id, a.concept_id, m.steps,
           CASE WHEN m.plain THEN a.similarity[:len(m.steps)]
               ELSE list_transform(m.steps, lambda i: a.similarity[i + 1]) END AS first,
           CASE WHEN m.plain THEN b.similarity[:len(m.steps)]
               ELSE list_transform(range(1, len(m.steps) + 1), lambda k:
               b.similarity[m.below[k] + 1] * (1 - m.weight[k])
               + b.similarity[least(m.below[k] + 2, len(b.similarity))] * m.weight[k]) END AS second
    FROM side AS a JOIN side AS b USING (concept_id, prompt_id) JOIN matched AS m ON m.model_id = b.model_id
    WHERE a.model_id = $baseline AND b.model_id IN $candidates
),
point AS (
    SELECT model_id, concept_id, unnest(steps) AS step, unnest(second) - unnest(first) AS difference FROM pair
)
SELECT model_id, concept_id, step::INTEGER AS step, count(*)::INTEGER AS prompts,
       avg(difference) AS mean, stddev_samp(difference) AS sd, (1 + avg(sign(difference))) / 2 AS win_rate
FROM point GROUP BY ALL ORDER BY model_id, concept_id, step
