-- The final images that a copy of a snapshot encodes anew: those of prompts after the first kept_prompts.
SELECT sample_id, image FROM sample WHERE image IS NOT NULL AND prompt_id > getvariable('kept_prompts') ORDER BY sample_id;
