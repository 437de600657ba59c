-- One row per prompt.
SELECT prompt_id, category FROM prompt ORDER BY prompt_id
