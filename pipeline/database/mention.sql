-- Fills `mention`. Runs of as many words as some concept's name has are looked up among the names: time grows with the
-- words of the prompts, not with prompts times concepts.
INSERT INTO mention
WITH said AS (
    SELECT prompt_id, string_split(trim(regexp_replace(lower(text), '[^\p{L}\p{N}]+', ' ', 'g')), ' ') AS words
    FROM prompt
),
wanted AS (
    SELECT concept_id, trim(regexp_replace(lower(name), '[^\p{L}\p{N}]+', ' ', 'g')) AS name
    FROM concept WHERE concept_id > 0
),
length AS (
    SELECT DISTINCT len(string_split(name, ' ')) AS n FROM wanted
),
run AS (
    SELECT prompt_id, unnest(list_transform(range(1, len(words) - n + 2), lambda i:
        array_to_string(words[i:i + n - 1], ' '))) AS name
    FROM said CROSS JOIN length WHERE n <= len(words)
)
SELECT DISTINCT prompt_id, concept_id FROM run JOIN wanted USING (name) WHERE name <> ''
ORDER BY concept_id, prompt_id;
