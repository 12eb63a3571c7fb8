-- Which agents' tasks wait in a pool of their own, and from which pools each node takes.

CREATE TABLE placements (
    agent TEXT COLLATE "C" PRIMARY KEY,
    pool TEXT COLLATE "C" NOT NULL
);

ALTER TABLE nodes ADD COLUMN pools TEXT COLLATE "C" NOT NULL DEFAULT '["*"]';
