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
CREATE TABLE IF NOT EXISTS tag (
    prompt_key TEXT NOT NULL,             -- prompt.prompt_key: stable across snapshots
    tag INTEGER NOT NULL CHECK (tag BETWEEN 1 AND 9),
    written_at TEXT NOT NULL,             -- UTC, ISO 8601
    PRIMARY KEY (prompt_key, tag)
);
CREATE TABLE IF NOT EXISTS decision (     -- what a review said when it was saved, accepted or rejected: never changed
    decision_id INTEGER PRIMARY KEY,
    review_id TEXT NOT NULL,
    kind TEXT NOT NULL,                   -- saved, accept, reject
    author TEXT NOT NULL,
    made_at TEXT NOT NULL,                -- UTC, ISO 8601
    snapshot INTEGER NOT NULL,
    content_hash TEXT NOT NULL,
    scorer TEXT NOT NULL,                 -- '' = the study's only or first one
    filters TEXT NOT NULL,                -- query string of the filters
    numbers TEXT NOT NULL                 -- JSON: one object per criterion
);
CREATE TABLE IF NOT EXISTS look (         -- at growing data, of a gate that runs until it is decided
    gate TEXT NOT NULL,                   -- sha256 of its criteria
    number INTEGER NOT NULL,              -- 1 = the first look
    looked_at TEXT NOT NULL,              -- UTC, ISO 8601
    prompts INTEGER NOT NULL,             -- that there were
    most INTEGER NOT NULL,                -- prompts at the last look of the plan
    shape TEXT NOT NULL,                  -- of the spending function
    snapshot INTEGER NOT NULL,
    content_hash TEXT NOT NULL,
    verdict TEXT NOT NULL,
    PRIMARY KEY (gate, number)
);
