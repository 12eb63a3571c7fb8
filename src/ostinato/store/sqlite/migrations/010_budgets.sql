-- Accounts hold tokens too, and what people have granted; those of tasks keep their limits for the tasks below them.

ALTER TABLE accounts ADD COLUMN reserved_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN spent_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN granted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN granted_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN most INTEGER;
ALTER TABLE accounts ADD COLUMN most_tokens INTEGER;
ALTER TABLE accounts ADD COLUMN warned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN question INTEGER;
