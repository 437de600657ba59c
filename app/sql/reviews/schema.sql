-- The reviews of a study, in a small SQLite database beside its snapshots: written by people, kept when a new snapshot comes.
CREATE TABLE IF NOT EXISTS review (
    review_id TEXT PRIMARY KEY,
    created_at TEXT NOT NULL,             -- UTC, ISO 8601
    author TEXT NOT NULL,
    question TEXT NOT NULL,
    baseline TEXT NOT NULL,               -- model.name: stable across snapshots
    candidate TEXT NOT NULL,
    filters TEXT NOT NULL,                -- query string of the filters
    snapshot INTEGER NOT NULL,            -- on which it was opened
    content_hash TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS criterion (
    review_id TEXT NOT NULL REFERENCES review ON DELETE CASCADE,
    place INTEGER NOT NULL,
    measure TEXT NOT NULL,
    direction TEXT NOT NULL CHECK (direction IN ('higher', 'lower')),  -- which is better
    margin REAL NOT NULL,                 -- how much worse is tolerated; negative: how much better is asked
    PRIMARY KEY (review_id, place)
);
CREATE TABLE IF NOT EXISTS note (
    note_id INTEGER PRIMARY KEY,
    review_id TEXT NOT NULL REFERENCES review ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('note', 'accept', 'reject')),
    author TEXT NOT NULL,
    written_at TEXT NOT NULL,             -- UTC, ISO 8601
    text TEXT NOT NULL,
    snapshot INTEGER NOT NULL,            -- that its author saw
    content_hash TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS slice (
    name TEXT PRIMARY KEY,
    written_at TEXT NOT NULL,             -- UTC, ISO 8601
    filters TEXT NOT NULL                 -- JSON: filter's key -> value
);
