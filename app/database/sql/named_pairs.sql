-- One row: 1 where any prompt within the filters names one of the concepts, else 0. It stops at the first.
SELECT count(*)::INTEGER AS pairs FROM (
    SELECT 1 FROM mention JOIN scoped_prompt($categories, $slice) USING (prompt_id)
    WHERE concept_id IN $concepts
    LIMIT 1)
