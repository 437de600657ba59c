-- One row: the version of the schema that a snapshot was built with.
SELECT schema_version FROM study;
