-- What a dependency waits for, and whether it has been met: a task that fails, is replayed and is done ends twice.

ALTER TABLE dependencies ADD COLUMN condition TEXT COLLATE "C" NOT NULL DEFAULT 'success';
ALTER TABLE dependencies ADD COLUMN met BIGINT NOT NULL DEFAULT 0;
UPDATE dependencies SET met = 1 WHERE after IN (SELECT id FROM tasks WHERE state = 'done');
