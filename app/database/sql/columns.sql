-- One row per column of the snapshot's tables; a further scorer's have the same columns.
SELECT c.table_name, c.column_name, c.data_type, t.estimated_size::BIGINT AS rows
FROM duckdb_columns() AS c JOIN duckdb_tables() AS t USING (schema_name, table_name)
WHERE c.schema_name = 'main' AND NOT c.internal
ORDER BY c.table_name, c.column_index
