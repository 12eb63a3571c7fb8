-- What servers and skills said when a person let them in, and what they say now.

CREATE TABLE pins (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    text TEXT NOT NULL,
    accepted_at INTEGER NOT NULL,
    accepted_by TEXT NOT NULL DEFAULT '',
    seen_digest TEXT NOT NULL,
    seen_text TEXT NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
