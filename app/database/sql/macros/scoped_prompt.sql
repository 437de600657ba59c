-- scoped_prompt($categories, $slice): the rows of prompt within the filters; $slice is a list of prompt_id, or NULL.
CREATE TEMP MACRO scoped_prompt(categories, slice) AS TABLE
SELECT * FROM prompt
WHERE category IN categories AND (slice IS NULL OR prompt_id IN (SELECT unnest(slice::INTEGER[])))
