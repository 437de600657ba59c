-- One row per prompt of one page of the table: the chosen score ('' = CLIP) of the baseline and the candidate, their difference, restricted mean
-- emergence (in steps) of the concepts that it names.
-- direction is 1 (ascending) or -1; each term of search is matched anywhere in the text, without case.
WITH tried AS (
    SELECT prompt_id, model_id, count(clip_score) AS done, count(*) FILTER (WHERE status = 'failed') AS failed
    FROM sample WHERE model_id IN $models AND seed IN $seeds GROUP BY ALL
),
rated AS (
    SELECT prompt_id, model_id, avg(value) AS score FROM scored_sample($metric)
    WHERE model_id IN $models AND (seed IS NULL OR seed IN $seeds) GROUP BY ALL
),
summed AS (FROM tried LEFT JOIN rated USING (prompt_id, model_id)),
emergence AS (
    SELECT prompt_id, avg(CASE outcome WHEN 'never' THEN len(similarity) - 1 ELSE emergence_step END) AS emergence
    FROM trajectory JOIN mention USING (prompt_id, concept_id)
    WHERE model_id IN $models AND concept_id IN $concepts AND seed IN $seeds GROUP BY ALL
),
chosen AS (
    SELECT p.prompt_id, p.prompt_key, p.text, p.category, p.words,
           avg(s.score) AS score, sum(s.done)::INTEGER AS samples, coalesce(sum(s.failed), 0)::INTEGER AS failed,
           avg(s.score) FILTER (WHERE s.model_id = $baseline) AS baseline,
           avg(s.score) FILTER (WHERE s.model_id = $candidate) AS candidate,
           stddev_pop(s.score) AS spread
    FROM scoped_prompt($categories, $slice) AS p LEFT JOIN summed AS s USING (prompt_id)
    WHERE len(list_filter($search::VARCHAR[], lambda term: NOT contains(lower(p.text), lower(term)))) = 0
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
