-- One row: how many prompts the search and the categories leave.
SELECT count(*)::INTEGER AS prompts FROM prompt
WHERE category IN $categories AND contains(lower(text), lower($search))
