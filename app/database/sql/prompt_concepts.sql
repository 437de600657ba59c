-- One row per concept for one prompt: whether the text names it, and how much it rises on average, and its restricted mean
-- emergence in steps.
SELECT c.concept_id, c.name, c.family, avg(t.rise) AS rise, avg(CASE t.outcome WHEN 'never' THEN len(t.similarity) - 1 ELSE t.emergence_step END) AS emergence,
       contains(' ' || regexp_replace(lower(p.text), '[^\p{L}\p{N}]+', ' ', 'g') || ' ',
                ' ' || trim(regexp_replace(lower(c.name), '[^\p{L}\p{N}]+', ' ', 'g')) || ' ') AS named
FROM trajectory AS t JOIN concept AS c USING (concept_id) JOIN prompt AS p USING (prompt_id)
WHERE t.prompt_id = $prompt AND t.model_id IN $models AND t.concept_id IN $concepts AND t.seed IN $seeds
GROUP BY ALL ORDER BY named DESC, rise DESC
