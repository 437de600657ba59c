-- One row per (candidate, concept, step): moments of the paired difference to the baseline over shared prompts and seeds.
-- Models with other numbers of steps are matched by relative progress; step is then the baseline's.
WITH side AS (
    SELECT t.model_id, t.concept_id, t.prompt_id, t.seed, t.similarity, len(t.similarity) AS steps
    FROM trajectory AS t JOIN prompt AS p USING (prompt_id)
    WHERE (t.model_id = $baseline OR t.model_id IN $candidates) AND t.concept_id IN $concepts
      AND p.category IN $categories
        AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[]))) AND t.seed IN $seeds
),
matched AS (
    SELECT b.model_id AS model_id, a.concept_id, a.prompt_id,
           unnest(range(a.steps)) AS step,
           unnest(list_transform(range(a.steps), lambda i:
               b.similarity[1 + round(i * (b.steps - 1) / greatest(a.steps - 1, 1))::BIGINT] - a.similarity[i + 1]))
               AS difference
    FROM side AS a JOIN side AS b USING (concept_id, prompt_id, seed)
    WHERE a.model_id = $baseline AND b.model_id IN $candidates
),
unit AS (
    SELECT model_id, concept_id, prompt_id, step, avg(difference) AS difference FROM matched GROUP BY ALL
)
SELECT model_id, concept_id, step::INTEGER AS step, count(*)::INTEGER AS prompts,
       avg(difference) AS mean, stddev_samp(difference) AS sd,
       avg(CASE WHEN difference > 0 THEN 1.0 WHEN difference = 0 THEN 0.5 ELSE 0.0 END) AS win_rate
FROM unit GROUP BY ALL ORDER BY model_id, concept_id, step
