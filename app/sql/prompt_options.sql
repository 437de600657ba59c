-- One row per prompt to choose from, in the study's order; the first 300 that the filters leave.
SELECT prompt_id, text, category FROM prompt WHERE category IN $categories ORDER BY prompt_id LIMIT 300
