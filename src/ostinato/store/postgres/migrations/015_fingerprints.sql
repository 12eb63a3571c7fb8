-- Which dead letters failed alike; the next node to start names those that there are.

ALTER TABLE tasks ADD COLUMN fingerprint TEXT COLLATE "C";
UPDATE tasks SET fingerprint = '' WHERE state = 'failed' AND dismissed = 0;
CREATE INDEX task_dead ON tasks (fingerprint, id, finished_at) WHERE fingerprint IS NOT NULL;
