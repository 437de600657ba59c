-- Takes a tag from a prompt.
DELETE FROM tag WHERE prompt_key = $prompt_key AND tag = $tag
