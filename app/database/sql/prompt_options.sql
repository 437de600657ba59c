-- One row per prompt to choose from, in the study's order; the first 300 that the filters leave.
SELECT prompt_id, text, category FROM scoped_prompt($categories, $slice) ORDER BY prompt_id LIMIT 300
