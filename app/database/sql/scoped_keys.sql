-- One row per prompt within the filters, in the study's order: its key and text.
SELECT prompt_key, text FROM scoped_prompt($categories, $slice) ORDER BY prompt_id
