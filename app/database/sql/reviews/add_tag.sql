-- Gives a prompt a tag; one that it has stays.
INSERT INTO tag (prompt_key, tag, written_at) VALUES ($prompt_key, $tag, $written_at)
ON CONFLICT (prompt_key, tag) DO NOTHING
