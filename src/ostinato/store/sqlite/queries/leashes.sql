-- Standing permissions, and files that hold text from strangers.

-- name: permission_columns
-- Columns in the order of rows.permission_of.
id, added_at, revoked_at, revoked_by, body

-- name: permissions
-- Every permission that there is or was, oldest first.
SELECT {permission_columns} FROM permissions ORDER BY id

-- name: permissions_of
-- Those that hold for an agent.
SELECT {permission_columns} FROM permissions INDEXED BY permission_of_agent
WHERE agent = :agent AND revoked_at IS NULL ORDER BY id

-- name: add_permission
-- A new one.
INSERT INTO permissions (id, agent, added_at, body) VALUES (:id, :agent, :now, :body)

-- name: revoke_permission
-- It answers nothing any more.
UPDATE permissions SET revoked_at = :now, revoked_by = :actor WHERE id = :id AND revoked_at IS NULL

-- name: tainted_files
-- Paths in an agent's workspace that hold text from strangers.
SELECT path FROM tainted_files WHERE agent = :agent ORDER BY path LIMIT :limit

-- name: tainted_by
-- The task that has written such a file last.
SELECT task FROM tainted_files WHERE agent = :agent AND path = :name

-- name: taint_file
-- One more.
INSERT INTO tainted_files (agent, path, task, at) VALUES (:agent, :name, :task, :now)
ON CONFLICT (agent, path) DO UPDATE SET task = excluded.task, at = excluded.at

-- name: clear_taint
-- A person has looked at it.
DELETE FROM tainted_files WHERE agent = :agent AND path = :name
