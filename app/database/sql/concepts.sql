-- One row per concept of the bank, the whole prompt (concept_id 0) first.
SELECT concept_id, name, family FROM concept ORDER BY concept_id
