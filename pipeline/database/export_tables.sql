-- One row per table of the snapshot, in the order of the schema.
SELECT table_name FROM duckdb_tables() WHERE NOT temporary AND NOT internal ORDER BY table_oid;
