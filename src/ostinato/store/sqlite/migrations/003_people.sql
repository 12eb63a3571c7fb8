-- Who may decide: each person's tokens, as digests. Revoked ones stay, so that the record can name them.

CREATE TABLE tokens (
    id INTEGER PRIMARY KEY,
    person TEXT NOT NULL,
    role INTEGER NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    added_at INTEGER NOT NULL,
    added_by TEXT NOT NULL,
    revoked_at INTEGER,
    revoked_by TEXT NOT NULL DEFAULT ''
) STRICT;
