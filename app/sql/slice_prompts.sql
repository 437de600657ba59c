-- One row per prompt that a slice leaves. The measure is of the whole prompt, averaged over the models shown;
-- direction is 1 (lowest first) or -1, most 0 = as many as there are.
WITH measured AS (
    SELECT prompt_id, avg(CASE $measure
        WHEN 'final' THEN final WHEN 'rise' THEN rise WHEN 'auc' THEN auc
        WHEN 'spearman' THEN spearman WHEN 'emergence' THEN emergence_step
    END) AS value, max(final) - min(final) AS spread
    FROM rollup_prompt WHERE concept_id = 0 AND model_id IN $models GROUP BY prompt_id
),
chosen AS (
    SELECT p.prompt_id, CASE WHEN $measure = 'spread' THEN m.spread ELSE m.value END AS value
    FROM prompt AS p LEFT JOIN measured AS m USING (prompt_id)
    WHERE p.category IN $categories AND contains(lower(p.text), lower($text))
      AND ($fewest IS NULL OR p.words >= $fewest) AND ($most IS NULL OR p.words <= $most)
      AND (len($roles) = 0 OR len(list_filter($roles::VARCHAR[], lambda r:
          coalesce(json_array_length(p.roles, '$.' || r), 0) > 0)) = len($roles))
)
SELECT prompt_id FROM chosen
WHERE $measure = '' OR (value IS NOT NULL AND ($low IS NULL OR value >= $low) AND ($high IS NULL OR value <= $high))
QUALIFY $measure = '' OR $top = 0 OR row_number() OVER (ORDER BY $direction * value, prompt_id) <= $top
ORDER BY prompt_id
