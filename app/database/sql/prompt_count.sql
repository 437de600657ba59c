-- One row: how many prompts the search and the categories leave.
SELECT count(*)::INTEGER AS prompts FROM scoped_prompt($categories, $slice)
WHERE len(list_filter($search::VARCHAR[], lambda term: NOT contains(lower(text), lower(term)))) = 0
