-- counted_pair($categories, $slice, $concepts, $named): the pairs of prompt and concept that count. With $named, those
-- whose prompt names the concept, else all of them, and the whole prompt (concept_id 0).
CREATE TEMP MACRO counted_pair(categories, slice, concepts, named) AS TABLE
WITH chosen_prompt AS MATERIALIZED (
    SELECT prompt_id FROM scoped_prompt(categories, slice)
)
SELECT prompt_id, concept_id FROM chosen_prompt CROSS JOIN concept
WHERE concept_id IN concepts AND (NOT named OR concept_id = 0)
UNION ALL
SELECT prompt_id, concept_id FROM chosen_prompt JOIN mention USING (prompt_id)
WHERE concept_id IN concepts AND named
