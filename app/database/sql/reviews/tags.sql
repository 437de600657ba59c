-- One row per tag of a prompt.
SELECT prompt_key, tag FROM tag ORDER BY prompt_key, tag
