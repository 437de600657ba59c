-- One row per prompt within the filters, in the study's order.
SELECT prompt_id, prompt_key, text, category, roles, words, source FROM scoped_prompt($categories, $slice)
ORDER BY prompt_id
