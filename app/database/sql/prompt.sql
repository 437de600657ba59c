-- One row: the prompt with this key; none when the study has no such prompt.
SELECT prompt_id, prompt_key, text, source, category, roles, words FROM prompt WHERE prompt_key = $key
