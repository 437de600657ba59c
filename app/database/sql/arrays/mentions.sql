-- One row per pair of a prompt and a concept that its text names.
SELECT prompt_id, concept_id FROM mention
