-- One row per (candidate, concept, step): moments of the paired difference to the baseline, where each prompt has one
-- curve: of all its seeds together ($whole), as publish has averaged them, or of one seed. Nothing is grouped by prompt.
-- Models with other numbers of steps are matched by relative progress; step is then the baseline's.
WITH chosen AS MATERIALIZED (
    SELECT prompt_id FROM prompt
    WHERE category IN $categories
      AND ($slice IS NULL OR prompt_id IN (SELECT unnest($slice::INTEGER[])))
),
side AS (
    SELECT t.model_id, t.concept_id, t.prompt_id, t.similarity, len(t.similarity) AS steps
    FROM rollup_prompt AS t JOIN chosen USING (prompt_id)
    WHERE $whole AND (t.model_id = $baseline OR t.model_id IN $candidates) AND t.concept_id IN $concepts
    UNION ALL
    SELECT t.model_id, t.concept_id, t.prompt_id, t.similarity, len(t.similarity) AS steps
    FROM trajectory AS t JOIN chosen USING (prompt_id)
    WHERE NOT $whole AND (t.model_id = $baseline OR t.model_id IN $candidates) AND t.concept_id IN $concepts
      AND t.seed IN $seeds
),
pair AS (
    SELECT b.model_id, a.concept_id, a.similarity AS first,
           CASE WHEN a.steps = b.steps THEN b.similarity ELSE list_transform(range(a.steps), lambda i:
               b.similarity[1 + round(i * (b.steps - 1) / greatest(a.steps - 1, 1))::BIGINT]) END AS second
    FROM side AS a JOIN side AS b USING (concept_id, prompt_id)
    WHERE a.model_id = $baseline AND b.model_id IN $candidates
),
point AS (
    SELECT model_id, concept_id, generate_subscripts(first, 1) - 1 AS step,
           unnest(second) - unnest(first) AS difference
    FROM pair
)
SELECT model_id, concept_id, step::INTEGER AS step, count(*)::INTEGER AS prompts,
       avg(difference) AS mean, stddev_samp(difference) AS sd, (1 + avg(sign(difference))) / 2 AS win_rate
FROM point GROUP BY ALL ORDER BY model_id, concept_id, step
