-- Opens a snapshot in an instance that is closed again.
ATTACH $path AS snapshot (READ_ONLY)
