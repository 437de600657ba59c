-- One row: what was studied.
SELECT * FROM study
