-- information_value($models, $categories, $slice, $seeds): per sample and word what it tells of the image, the word without case and
-- punctuation, with its role.
CREATE TEMP MACRO information_value(models, categories, slice, seeds) AS TABLE
SELECT i.model_id, i.prompt_id, s.seed, i.word_index, lower(regexp_replace(i.word, '^[^\pL\pN]+|[^\pL\pN]+$', '', 'g')) AS word,
       CASE WHEN i.role = '' THEN 'other' ELSE i.role END AS role,
       i.steps, i.density, i.nats, i.signed_nats, i.effect, i.change
FROM information AS i JOIN sample AS s USING (sample_id)
JOIN scoped_prompt(categories, slice) AS p ON p.prompt_id = i.prompt_id
WHERE i.model_id IN models AND s.seed IN seeds
