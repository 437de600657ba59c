-- One row per prompt asked for: its text. $ids is a list of prompt_id.
SELECT prompt_id, prompt_key, text, category FROM prompt
WHERE prompt_id IN (SELECT unnest($ids::INTEGER[])) ORDER BY prompt_id
