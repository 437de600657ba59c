-- One row: how many scorers the study has.
SELECT 1 + count(*) AS scorers FROM duckdb_schemas()
WHERE database_name = current_database() AND regexp_full_match(schema_name, 'scorer_[2-9]');
