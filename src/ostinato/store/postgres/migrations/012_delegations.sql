-- One live task for each piece of work that is given away or proposed: two that are the same are one.

ALTER TABLE tasks ADD COLUMN delegation TEXT COLLATE "C";
CREATE UNIQUE INDEX task_of_delegation ON tasks (delegation)
    WHERE delegation IS NOT NULL AND state != 'done' AND state != 'cancelled' AND state != 'failed';
