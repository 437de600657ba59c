-- Saves a slice; one of that name is replaced.
INSERT OR REPLACE INTO slice (name, written_at, filters) VALUES ($name, $written_at, $filters)
