"""Published snapshots, opened read-only; runs in progress; the reviews' file."""
