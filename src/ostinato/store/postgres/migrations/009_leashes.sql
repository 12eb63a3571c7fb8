-- What people have allowed for good, which files hold text from strangers, and when a question is asked once more.

CREATE TABLE permissions (
    id BIGINT PRIMARY KEY,
    agent TEXT COLLATE "C" NOT NULL,
    added_at BIGINT NOT NULL,
    body TEXT COLLATE "C" NOT NULL,
    revoked_at BIGINT,
    revoked_by TEXT COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX permission_of_agent ON permissions (agent) WHERE revoked_at IS NULL;

CREATE TABLE tainted_files (
    agent TEXT COLLATE "C" NOT NULL,
    path TEXT COLLATE "C" NOT NULL,
    task BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (agent, path)
);

ALTER TABLE questions ADD COLUMN bound TEXT COLLATE "C";
ALTER TABLE questions ADD COLUMN ask_again_at BIGINT;
CREATE INDEX question_again ON questions (ask_again_at) WHERE state = 'pending' AND ask_again_at IS NOT NULL;
