-- One row per concept, by names that last over snapshots: a hash of the phrasings by which its similarity is measured.
SELECT family, name AS concept, md5(phrasings::VARCHAR) AS phrasings FROM concept WHERE concept_id > 0 ORDER BY concept_id
