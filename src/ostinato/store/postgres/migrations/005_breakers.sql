-- Circuit breakers that are not simply closed.

CREATE TABLE breakers (
    name TEXT COLLATE "C" PRIMARY KEY,
    state TEXT COLLATE "C" NOT NULL,
    failures BIGINT NOT NULL,
    since_at BIGINT NOT NULL,
    until_at BIGINT NOT NULL,
    opened BIGINT NOT NULL,
    probe TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL
);
