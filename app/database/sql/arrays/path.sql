-- One row: the file of the database.
SELECT path FROM duckdb_databases() WHERE database_name = current_database()
