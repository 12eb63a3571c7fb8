-- What people have allowed for good, which files hold text from strangers, and when a question is asked once more.

CREATE TABLE permissions (
    id INTEGER PRIMARY KEY,
    agent TEXT NOT NULL,
    added_at INTEGER NOT NULL,
    body TEXT NOT NULL,
    revoked_at INTEGER,
    revoked_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX permission_of_agent ON permissions (agent) WHERE revoked_at IS NULL;

CREATE TABLE tainted_files (
    agent TEXT NOT NULL,
    path TEXT NOT NULL,
    task INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (agent, path)
) STRICT;

ALTER TABLE questions ADD COLUMN bound TEXT;
ALTER TABLE questions ADD COLUMN ask_again_at INTEGER;
CREATE INDEX question_again ON questions (ask_again_at) WHERE state = 'pending' AND ask_again_at IS NOT NULL;
