-- Which agents' tasks wait in a pool of their own, and from which pools each node takes.

CREATE TABLE placements (
    agent TEXT PRIMARY KEY,
    pool TEXT NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE nodes ADD COLUMN pools TEXT NOT NULL DEFAULT '["*"]';
