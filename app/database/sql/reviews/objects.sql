-- One row per table, index, view or trigger of the file; rootpage is 0 for what is no plain table.
SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master
