-- One row: 1 where any prompt within the filters names one of the concepts, else 0. It stops at the first.
SELECT count(*)::INTEGER AS pairs FROM (
    SELECT 1 FROM mention JOIN prompt USING (prompt_id)
    WHERE concept_id IN $concepts AND category IN $categories
      AND ($slice IS NULL OR prompt_id IN (SELECT unnest($slice::INTEGER[])))
    LIMIT 1)
