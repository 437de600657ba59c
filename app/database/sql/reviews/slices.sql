-- The saved slices of a study, by name.
SELECT name, filters FROM slice ORDER BY name COLLATE NOCASE
