-- One row per prompt of one page of the table: the chosen score ('' = CLIP) of the baseline and the candidate, their difference, restricted mean
-- emergence (in steps) of the concepts that it names; of the prompts of the page alone, unless they are sorted by it.
-- direction is 1 (ascending) or -1; each term of search is matched anywhere in the text, without case.
WITH tried AS (
    SELECT prompt_id, count(clip_score) AS done, count(*) FILTER (WHERE status = 'failed') AS failed
    FROM sample WHERE model_id IN $models AND seed IN $seeds GROUP BY ALL
),
rated AS (
    SELECT prompt_id, model_id, avg(value) AS score FROM scored_sample($metric)
    WHERE model_id IN $models AND (seed IS NULL OR seed IN $seeds) GROUP BY ALL
),
scored AS (
    SELECT prompt_id, avg(score) AS score, any_value(score) FILTER (WHERE model_id = $baseline) AS baseline,
           any_value(score) FILTER (WHERE model_id = $candidate) AS candidate
    FROM rated GROUP BY ALL
),
chosen AS (
    SELECT p.prompt_id, p.words, s.score, s.baseline, s.candidate,
           t.done::INTEGER AS samples, coalesce(t.failed, 0)::INTEGER AS failed
    FROM scoped_prompt($categories, $slice) AS p LEFT JOIN tried AS t USING (prompt_id) LEFT JOIN scored AS s USING (prompt_id)
    WHERE len(list_filter($search::VARCHAR[], lambda term: NOT contains(lower(p.text), lower(term)))) = 0
),
placed AS (
    SELECT *, row_number() OVER (ORDER BY
        $direction * CASE $sort
            WHEN 'score' THEN score
            WHEN 'difference' THEN candidate - baseline
            WHEN 'gap' THEN abs(candidate - baseline)
            WHEN 'words' THEN words
            WHEN 'failed' THEN failed
            WHEN 'emergence' THEN NULL
            ELSE prompt_id
        END NULLS LAST,
        prompt_id) AS place
    FROM chosen
),
page AS MATERIALIZED (
    FROM placed WHERE $sort = 'emergence' OR place BETWEEN $start + 1 AND $start + $size
),
emergence AS (
    SELECT prompt_id, avg(CASE outcome WHEN 'never' THEN last_step ELSE emergence_step END) AS emergence
    FROM trajectory JOIN mention USING (prompt_id, concept_id)
    JOIN (SELECT model_id, max(step) AS last_step FROM step GROUP BY ALL) USING (model_id)
    WHERE model_id IN $models AND concept_id IN $concepts AND seed IN $seeds AND prompt_id IN (SELECT prompt_id FROM page) GROUP BY ALL
)
SELECT c.prompt_id, p.prompt_key, p.text, p.category, p.words, c.samples, c.failed,
       c.score, c.baseline, c.candidate, c.candidate - c.baseline AS difference, e.emergence
FROM page AS c JOIN prompt AS p USING (prompt_id) LEFT JOIN emergence AS e USING (prompt_id)
ORDER BY CASE WHEN $sort = 'emergence' THEN $direction * e.emergence END NULLS LAST, c.place
LIMIT $size OFFSET CASE WHEN $sort = 'emergence' THEN $start ELSE 0 END
