-- For a file that anybody may have written: no functions with side effects in its schema, checks of every page, no memory map.
PRAGMA trusted_schema = OFF;
PRAGMA cell_size_check = ON;
PRAGMA mmap_size = 0;
PRAGMA foreign_keys = ON
