-- One row per (concept, prompt) of a range of concepts whose text names the concept, sorted.
SELECT concept_id, prompt_id FROM mention
WHERE concept_id BETWEEN $first AND $last ORDER BY concept_id, prompt_id;
