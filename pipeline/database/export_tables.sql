-- One row per table of the snapshot, in the order of the schema: where it is, and its name in an export, which for a further
-- scorer's own tables begins with the schema.
SELECT
    schema_name || '.' || table_name AS place,
    CASE schema_name WHEN 'main' THEN table_name ELSE schema_name || '_' || table_name END AS name
FROM duckdb_tables() WHERE NOT temporary AND NOT internal ORDER BY table_oid;
