-- One row per prompt to choose from, in the study's order; the first 300 that the filters leave.
SELECT prompt_id, text, category FROM prompt WHERE category IN $categories
  AND ($slice IS NULL OR prompt_id IN (SELECT unnest($slice::INTEGER[]))) ORDER BY prompt_id LIMIT 300
