-- Limits of projects and priorities part the queues into strands; rates count when tasks began.

ALTER TABLE tasks ADD COLUMN strand TEXT COLLATE "C" NOT NULL DEFAULT '';
DROP INDEX task_claimable;
CREATE INDEX task_claimable ON tasks (pool, agent, kind, strand, priority DESC, id)
    WHERE state = 'ready' AND due_at IS NULL;

CREATE TABLE begun (
    scope TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (scope, seq)
);
