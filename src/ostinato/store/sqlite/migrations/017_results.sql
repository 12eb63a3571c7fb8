-- Results that answer equal tasks, and the tasks that they have answered.

CREATE TABLE results (
    task INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    made_at INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    is_kept INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX result_of_key ON results (key, made_at);
CREATE INDEX result_until ON results (until_at);

CREATE TABLE hits (
    task INTEGER PRIMARY KEY,
    first INTEGER NOT NULL,
    at INTEGER NOT NULL,
    usd_micros INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX hit_at ON hits (at);
