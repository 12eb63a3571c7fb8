-- What servers and skills said when a person let them in, and what they say now.

CREATE TABLE pins (
    name TEXT COLLATE "C" PRIMARY KEY,
    digest TEXT COLLATE "C" NOT NULL,
    text TEXT COLLATE "C" NOT NULL,
    accepted_at BIGINT NOT NULL,
    accepted_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    seen_digest TEXT COLLATE "C" NOT NULL,
    seen_text TEXT COLLATE "C" NOT NULL,
    seen_at BIGINT NOT NULL
);
