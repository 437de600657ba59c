-- One row: how many prompts the search and the categories leave.
SELECT count(*)::INTEGER AS prompts FROM prompt
WHERE category IN $categories
  AND ($slice IS NULL OR prompt_id IN (SELECT unnest($slice::INTEGER[])))
  AND contains(lower(text), lower($search))
