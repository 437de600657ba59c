-- One row per concept.
SELECT concept_id, name, family FROM concept
