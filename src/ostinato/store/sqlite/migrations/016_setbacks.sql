-- What has failed in a task so far: one document for each task that has known failure.

CREATE TABLE setbacks (
    task INTEGER PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;
