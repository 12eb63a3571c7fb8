-- What people have decided, changed and stopped: never changed again, each row bound to the one before it.

CREATE TABLE audit (
    incarnation BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    body TEXT COLLATE "C" NOT NULL,
    previous TEXT COLLATE "C" NOT NULL,
    digest TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (incarnation, seq)
);
