-- One row per concept.
SELECT concept_id, family FROM concept
