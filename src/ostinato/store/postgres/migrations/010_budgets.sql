-- Accounts hold tokens too, and what people have granted; those of tasks keep their limits for the tasks below them.

ALTER TABLE accounts ADD COLUMN reserved_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN spent_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN granted BIGINT NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN granted_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN most BIGINT;
ALTER TABLE accounts ADD COLUMN most_tokens BIGINT;
ALTER TABLE accounts ADD COLUMN warned BIGINT NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN question BIGINT;
