-- Leaves out of a copy of a snapshot what is large and not needed to read its numbers. The variable kept_prompts: how many of
-- the first prompts keep their frames and maps.
DELETE FROM frame
WHERE sample_id IN (SELECT sample_id FROM sample WHERE prompt_id > getvariable('kept_prompts'));
DELETE FROM explanation
WHERE sample_id IN (SELECT sample_id FROM sample WHERE prompt_id > getvariable('kept_prompts'));
