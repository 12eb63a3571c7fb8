-- A task's place among those that wait: its priority, and since when it waits (15 minutes for each level).

ALTER TABLE tasks ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;
UPDATE tasks SET rank = created_at - priority * CAST(900000000 AS INTEGER)
WHERE state != 'done' AND state != 'cancelled' AND state != 'failed';

DROP INDEX task_claimable;
CREATE INDEX task_claimable ON tasks (pool, agent, kind, strand, rank, id) WHERE state = 'ready' AND due_at IS NULL;
