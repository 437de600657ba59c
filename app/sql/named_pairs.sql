-- One row: 1 where any prompt within the filters has the name of one of the concepts in its text, else 0. It stops at the
-- first: all pairs of 25,000 prompts and 10 concepts took 0.5 s.
WITH said AS (
    SELECT ' ' || regexp_replace(lower(text), '[^\p{L}\p{N}]+', ' ', 'g') || ' ' AS words
    FROM prompt
    WHERE category IN $categories
      AND ($slice IS NULL OR prompt_id IN (SELECT unnest($slice::INTEGER[])))
),
wanted AS (
    SELECT ' ' || trim(regexp_replace(lower(name), '[^\p{L}\p{N}]+', ' ', 'g')) || ' ' AS words
    FROM concept WHERE concept_id IN $concepts
)
SELECT count(*)::INTEGER AS pairs
FROM (SELECT 1 FROM said AS s JOIN wanted AS w ON contains(s.words, w.words) LIMIT 1)
