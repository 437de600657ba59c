-- One row per prompt asked for: its text.
SELECT prompt_id, prompt_key, text, category FROM prompt WHERE prompt_id IN $prompts ORDER BY prompt_id
