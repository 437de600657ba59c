-- One row: how many (prompt, concept) pairs within the filters have the concept's name in the prompt's text.
WITH said AS MATERIALIZED (  -- the words of each text, once: within the join below they were found anew for each concept
    SELECT prompt_id, ' ' || regexp_replace(lower(text), '[^\p{L}\p{N}]+', ' ', 'g') || ' ' AS words
    FROM prompt
    WHERE category IN $categories
      AND ($slice IS NULL OR prompt_id IN (SELECT unnest($slice::INTEGER[])))
),
wanted AS MATERIALIZED (
    SELECT ' ' || trim(regexp_replace(lower(name), '[^\p{L}\p{N}]+', ' ', 'g')) || ' ' AS words
    FROM concept WHERE concept_id IN $concepts
)
SELECT count(*)::INTEGER AS pairs FROM said AS s CROSS JOIN wanted AS w WHERE contains(s.words, w.words)
