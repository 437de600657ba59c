-- One row: the schema that the snapshot was published with.
SELECT schema_version FROM study
