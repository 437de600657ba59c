-- Leaves out of a copy of a snapshot the curves of concepts that a prompt does not name. The variable unnamed_prompts: how many of the first
-- prompts keep theirs.
DELETE FROM trajectory AS t
WHERE concept_id > 0 AND prompt_id > getvariable('unnamed_prompts')
  AND NOT EXISTS (FROM mention AS m WHERE m.prompt_id = t.prompt_id AND m.concept_id = t.concept_id);
DELETE FROM rollup_prompt AS t
WHERE concept_id > 0 AND prompt_id > getvariable('unnamed_prompts')
  AND NOT EXISTS (FROM mention AS m WHERE m.prompt_id = t.prompt_id AND m.concept_id = t.concept_id);
