-- One row: how many (prompt, concept) pairs within the filters have the concept's name in the prompt's text.
SELECT count(*)::INTEGER AS pairs
FROM prompt AS p CROSS JOIN concept AS c
WHERE p.category IN $categories
  AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[]))) AND c.concept_id IN $concepts
  AND contains(' ' || regexp_replace(lower(p.text), '[^\p{L}\p{N}]+', ' ', 'g') || ' ',
               ' ' || trim(regexp_replace(lower(c.name), '[^\p{L}\p{N}]+', ' ', 'g')) || ' ')
