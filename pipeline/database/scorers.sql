-- One row: how many scorers the study has.
SELECT 1 + count(*) FROM duckdb_schemas()
WHERE database_name = current_database() AND regexp_matches(schema_name, '^scorer_[0-9]$');
