-- Results that answer equal tasks, and the tasks that they have answered.

CREATE TABLE results (
    task BIGINT PRIMARY KEY,
    key TEXT COLLATE "C" NOT NULL,
    made_at BIGINT NOT NULL,
    until_at BIGINT NOT NULL,
    is_kept BIGINT NOT NULL
);

CREATE INDEX result_of_key ON results (key, made_at);
CREATE INDEX result_until ON results (until_at);

CREATE TABLE hits (
    task BIGINT PRIMARY KEY,
    first BIGINT NOT NULL,
    at BIGINT NOT NULL,
    usd_micros BIGINT NOT NULL
);

CREATE INDEX hit_at ON hits (at);
