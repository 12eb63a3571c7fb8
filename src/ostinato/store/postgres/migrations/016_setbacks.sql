-- What has failed in a task so far: one document for each task that has known failure.

CREATE TABLE setbacks (
    task BIGINT PRIMARY KEY,
    body TEXT COLLATE "C" NOT NULL
);
