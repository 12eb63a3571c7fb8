-- Who may decide: each person's tokens, as digests. Revoked ones stay, so that the record can name them.

CREATE TABLE tokens (
    id BIGINT PRIMARY KEY,
    person TEXT COLLATE "C" NOT NULL,
    role BIGINT NOT NULL,
    digest TEXT COLLATE "C" NOT NULL UNIQUE,
    added_at BIGINT NOT NULL,
    added_by TEXT COLLATE "C" NOT NULL,
    revoked_at BIGINT,
    revoked_by TEXT COLLATE "C" NOT NULL DEFAULT ''
);
