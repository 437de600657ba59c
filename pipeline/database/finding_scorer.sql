-- One row: the scorer whose tables are searched first.
SELECT scorer FROM study;
