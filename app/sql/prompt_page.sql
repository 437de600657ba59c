-- One row per prompt of one page of the table: scores of the baseline and the candidate, their difference, emergence.
-- direction is 1 (ascending) or -1; search is matched anywhere in the text, without case.
WITH score AS (
    SELECT prompt_id, model_id, avg(clip_score) AS score, count(clip_score) AS done,
           count(*) FILTER (WHERE status = 'failed') AS failed
    FROM sample WHERE model_id IN $models AND seed IN $seeds GROUP BY ALL
),
emergence AS (
    SELECT prompt_id, median(emergence_step) AS emergence
    FROM trajectory
    WHERE model_id IN $models AND concept_id IN $concepts AND seed IN $seeds GROUP BY ALL
),
chosen AS (
    SELECT p.prompt_id, p.prompt_key, p.text, p.category, p.words,
           avg(s.score) AS score, sum(s.done)::INTEGER AS samples, coalesce(sum(s.failed), 0)::INTEGER AS failed,
           avg(s.score) FILTER (WHERE s.model_id = $baseline) AS baseline,
           avg(s.score) FILTER (WHERE s.model_id = $candidate) AS candidate,
           stddev_pop(s.score) AS spread
    FROM prompt AS p LEFT JOIN score AS s USING (prompt_id)
    WHERE p.category IN $categories
      AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[])))
      AND contains(lower(p.text), lower($search))
    GROUP BY ALL
)
SELECT c.prompt_id, c.prompt_key, c.text, c.category, c.words, c.samples, c.failed,
       c.score, c.baseline, c.candidate, c.candidate - c.baseline AS difference, e.emergence
FROM chosen AS c LEFT JOIN emergence AS e USING (prompt_id)
ORDER BY
    $direction * CASE $sort
        WHEN 'score' THEN c.score
        WHEN 'difference' THEN c.candidate - c.baseline
        WHEN 'gap' THEN abs(c.candidate - c.baseline)
        WHEN 'emergence' THEN e.emergence
        WHEN 'words' THEN c.words
        WHEN 'failed' THEN c.failed
        ELSE c.prompt_id
    END NULLS LAST,
    c.prompt_id
LIMIT $size OFFSET $start
