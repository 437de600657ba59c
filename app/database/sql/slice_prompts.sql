-- One row per prompt that a slice leaves. The measure is of the whole prompt, emergence that of the concepts that it names
-- (restricted mean step), 'score:NAME' a score that another program computed, averaged over the models shown;
-- direction is 1 (lowest first) or -1, top 0 = as many as there are. The limits of x and y are a region of the map of images: prompts of which
-- an image of the models and seeds shown lies there.
WITH measured AS (
    SELECT prompt_id, avg(CASE $measure
        WHEN 'final' THEN final WHEN 'rise' THEN rise WHEN 'auc' THEN auc
        WHEN 'spearman' THEN spearman
    END) AS value, max(final) - min(final) AS spread
    FROM rollup_prompt WHERE concept_id = 0 AND model_id IN $models GROUP BY prompt_id
),
emerging AS (
    SELECT prompt_id, avg(emergence_step) AS emergence
    FROM rollup_prompt JOIN mention USING (prompt_id, concept_id)
    WHERE $measure = 'emergence' AND model_id IN $models GROUP BY prompt_id
),
rated AS (
    SELECT prompt_id, avg(value) AS value FROM scored_sample(replace($measure, 'score:', ''))
    WHERE starts_with($measure, 'score:') AND model_id IN $models GROUP BY prompt_id
),
mapped AS (
    SELECT DISTINCT prompt_id FROM path
    WHERE model_id IN $models AND seed IN $seeds AND coalesce($x_low, $x_high, $y_low, $y_high) IS NOT NULL
      AND ($x_low IS NULL OR x[-1] >= $x_low) AND ($x_high IS NULL OR x[-1] <= $x_high)
      AND ($y_low IS NULL OR y[-1] >= $y_low) AND ($y_high IS NULL OR y[-1] <= $y_high)
),
chosen AS (
    SELECT p.prompt_id,
           CASE $measure WHEN 'spread' THEN m.spread WHEN 'emergence' THEN e.emergence
               ELSE coalesce(r.value, m.value) END AS value
    FROM prompt AS p LEFT JOIN measured AS m USING (prompt_id) LEFT JOIN emerging AS e USING (prompt_id)
    LEFT JOIN rated AS r USING (prompt_id)
    WHERE p.category IN $categories
      AND ($tagged IS NULL OR list_contains($tagged::VARCHAR[], p.prompt_key)) AND contains(lower(p.text), lower($text))
      AND ($fewest IS NULL OR p.words >= $fewest) AND ($most IS NULL OR p.words <= $most)
      AND (len($roles) = 0 OR len(list_filter($roles::VARCHAR[], lambda r:
          coalesce(json_array_length(p.roles, '$.' || r), 0) > 0)) = len($roles))
      AND (coalesce($x_low, $x_high, $y_low, $y_high) IS NULL OR p.prompt_id IN (SELECT prompt_id FROM mapped))
)
SELECT prompt_id FROM chosen
WHERE $measure = '' OR (value IS NOT NULL AND ($low IS NULL OR value >= $low) AND ($high IS NULL OR value <= $high))
QUALIFY $measure = '' OR $top = 0 OR row_number() OVER (ORDER BY $direction * value, prompt_id) <= $top
ORDER BY prompt_id
