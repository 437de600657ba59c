-- Forgets a slice.
DELETE FROM slice WHERE name = $name
