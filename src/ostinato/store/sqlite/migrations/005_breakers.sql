-- Circuit breakers that are not simply closed.

CREATE TABLE breakers (
    name TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    failures INTEGER NOT NULL,
    since_at INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    opened INTEGER NOT NULL,
    probe TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;
