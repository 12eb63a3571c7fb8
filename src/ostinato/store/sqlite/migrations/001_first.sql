-- The tables of the first release.
-- An empty text stands for "none" in agent, session and project, so that indexes and comparisons stay plain.
-- Conditions of indexes compare state by state: a list in IN is built anew for each row, at four times the cost.
-- A task is claimable while state is 'ready' and due_at is empty; due_at is when time alone moves it on.

CREATE TABLE tasks (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    title TEXT NOT NULL,
    agent TEXT NOT NULL,
    session TEXT NOT NULL,
    pool TEXT NOT NULL,
    project TEXT NOT NULL,
    type TEXT NOT NULL,
    priority INTEGER NOT NULL,
    not_before_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER,
    ready_at INTEGER NOT NULL,
    due_at INTEGER,
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    token INTEGER NOT NULL,
    node INTEGER,
    journal INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    unfinished INTEGER NOT NULL,
    held INTEGER NOT NULL,
    awaited INTEGER NOT NULL,
    parent INTEGER,
    depth INTEGER NOT NULL,
    key TEXT,
    body TEXT,
    wait TEXT,
    reason TEXT NOT NULL,
    dismissed INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    endings INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    usd_micros INTEGER NOT NULL,
    result TEXT,
    spec TEXT
) STRICT;

CREATE INDEX task_claimable ON tasks (pool, agent, kind, priority DESC, id) WHERE state = 'ready' AND due_at IS NULL;
CREATE INDEX task_due ON tasks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX task_running ON tasks (node) WHERE state = 'running';
CREATE UNIQUE INDEX task_running_in_session ON tasks (session) WHERE state = 'running' AND session != '';
CREATE UNIQUE INDEX task_turn_of_session ON tasks (session)
    WHERE kind = 'turn' AND session != '' AND state != 'done' AND state != 'cancelled' AND state != 'failed';
CREATE INDEX task_of_session ON tasks (session, id) WHERE session != '';
CREATE INDEX task_of_agent ON tasks (agent, id);
CREATE INDEX task_of_parent ON tasks (parent, id) WHERE parent IS NOT NULL;
CREATE UNIQUE INDEX task_key ON tasks (key) WHERE key IS NOT NULL;
CREATE INDEX task_set_aside ON tasks (state, id) WHERE state != 'ready' AND state != 'running' AND state != 'done';
CREATE INDEX task_settled ON tasks (finished_at)
    WHERE finished_at IS NOT NULL AND (state != 'failed' OR dismissed = 1);

-- Specifications that are too long to be written again with each change of their task.
CREATE TABLE task_documents (
    task INTEGER PRIMARY KEY,
    spec TEXT NOT NULL
) STRICT;

CREATE TABLE dependencies (
    task INTEGER NOT NULL,
    after INTEGER NOT NULL,
    PRIMARY KEY (task, after)
) STRICT, WITHOUT ROWID;

CREATE INDEX dependency_after ON dependencies (after);

CREATE TABLE attempts (
    task INTEGER NOT NULL,
    token INTEGER NOT NULL,
    node INTEGER,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    outcome TEXT NOT NULL,
    error TEXT NOT NULL,
    ready_at INTEGER NOT NULL,
    PRIMARY KEY (task, token)
) STRICT, WITHOUT ROWID;

CREATE TABLE steps (
    id INTEGER PRIMARY KEY,
    task INTEGER NOT NULL,
    journal INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    entry TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX step_of_task ON steps (task, journal, seq);

CREATE TABLE sessions (
    key TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    kind TEXT NOT NULL,
    cursor INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    active_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX session_of_agent ON sessions (agent, key);

CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    session TEXT NOT NULL,
    at INTEGER NOT NULL,
    client_id TEXT,
    body TEXT NOT NULL
) STRICT;

CREATE INDEX message_of_session ON messages (session, id);
CREATE UNIQUE INDEX message_client_id ON messages (session, client_id) WHERE client_id IS NOT NULL;

CREATE TABLE questions (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    agent TEXT NOT NULL,
    task INTEGER NOT NULL,
    session TEXT NOT NULL,
    call_id TEXT NOT NULL,
    stored INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    decided_at INTEGER,
    decided_by TEXT NOT NULL,
    reminded_at INTEGER,
    answer TEXT NOT NULL,
    arguments TEXT,
    body TEXT NOT NULL
) STRICT;

CREATE INDEX question_pending ON questions (id) WHERE state = 'pending';
CREATE INDEX question_of_task ON questions (task, id);
CREATE UNIQUE INDEX question_of_call ON questions (task, call_id) WHERE state = 'pending' AND call_id != '';
CREATE INDEX question_expires ON questions (expires_at) WHERE state = 'pending' AND expires_at IS NOT NULL;

CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    name TEXT NOT NULL,
    task INTEGER,
    agent TEXT,
    session TEXT,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    data TEXT
) STRICT;

-- One event in 64 marks its time: enough to find where a span begins, for a sixty-fourth of the cost.
CREATE INDEX event_mark ON events (at) WHERE id % 64 = 0;
CREATE INDEX event_of_agent ON events (agent, id) WHERE agent IS NOT NULL;
CREATE INDEX event_of_task ON events (task, id) WHERE task IS NOT NULL;

CREATE TABLE tallies (
    agent TEXT NOT NULL,
    goal INTEGER NOT NULL,
    state TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (agent, goal, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE totals (
    name TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE charges (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    task INTEGER NOT NULL,
    agent TEXT NOT NULL,
    session TEXT NOT NULL,
    "trigger" TEXT NOT NULL,
    call INTEGER NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    status INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    usd_micros INTEGER,
    duration_ms REAL NOT NULL,
    error TEXT NOT NULL
) STRICT;

CREATE INDEX charge_at ON charges (at);
CREATE INDEX charge_of_task ON charges (task, id);

CREATE TABLE accounts (
    scope TEXT NOT NULL,
    day INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    PRIMARY KEY (scope, day)
) STRICT, WITHOUT ROWID;

CREATE TABLE schedules (
    name TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    rule TEXT NOT NULL,
    text TEXT NOT NULL,
    session TEXT NOT NULL,
    model TEXT,
    source TEXT NOT NULL,
    last_at INTEGER,
    next_at INTEGER,
    skips_in_row INTEGER NOT NULL,
    skip_run INTEGER
) STRICT;

CREATE INDEX schedule_next ON schedules (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX schedule_of_agent ON schedules (agent, name);

CREATE TABLE skips (
    id INTEGER PRIMARY KEY,
    agent TEXT NOT NULL,
    heartbeat TEXT NOT NULL,
    reason TEXT NOT NULL,
    from_at INTEGER NOT NULL,
    to_at INTEGER NOT NULL,
    count INTEGER NOT NULL
) STRICT;

CREATE INDEX skip_of_agent ON skips (agent, to_at);
CREATE INDEX skip_to ON skips (to_at);

CREATE TABLE nodes (
    id INTEGER PRIMARY KEY,
    pid INTEGER NOT NULL,
    host TEXT NOT NULL,
    version TEXT NOT NULL,
    boot TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    clean INTEGER NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT;

CREATE INDEX node_open ON nodes (id) WHERE ended_at IS NULL;

CREATE TABLE flags (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE blobs (
    digest TEXT PRIMARY KEY,
    used_at INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;

CREATE INDEX blob_used ON blobs (used_at);

-- Which task (or, with task 0, which message) names a blob.
CREATE TABLE blob_uses (
    digest TEXT NOT NULL,
    task INTEGER NOT NULL,
    message INTEGER NOT NULL,
    PRIMARY KEY (digest, task, message)
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
