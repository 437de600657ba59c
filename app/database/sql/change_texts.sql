-- One row per prompt asked for by its key: its text.
SELECT prompt_key, text FROM prompt WHERE prompt_key IN $keys ORDER BY prompt_id
