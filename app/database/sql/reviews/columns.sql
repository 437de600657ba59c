-- One row per column of a table.
SELECT name FROM pragma_table_info($table)
