-- Sessions and messages.

-- name: session_columns
-- Columns in the order of rows.session_of.
key, agent, kind, cursor, created_at, active_at,
EXISTS (SELECT 1 FROM flags WHERE scope = 'session:' || sessions.key AND name = 'paused')

-- name: sessions_that_exist
-- Those of these keys that are a session's.
SELECT key FROM sessions WHERE key IN (SELECT value FROM json_each(:keys))

-- name: session
-- One session.
SELECT {session_columns} FROM sessions WHERE key = :key

-- name: sessions
-- A page of sessions by key.
SELECT {session_columns} FROM sessions WHERE key > :after ORDER BY key LIMIT :limit

-- name: sessions_of_agent
-- A page of an agent's sessions by key.
SELECT {session_columns} FROM sessions WHERE agent = :agent AND key > :after ORDER BY key LIMIT :limit

-- name: add_session
-- A session begins, with nothing read.
INSERT INTO sessions (key, agent, kind, cursor, created_at, active_at) VALUES (:key, :agent, :kind, 0, :now, :now)

-- name: touch_session
-- Something happened in it.
UPDATE sessions SET active_at = :now WHERE key = :key

-- name: give_session
-- Its task has another agent now.
UPDATE sessions SET agent = :agent WHERE key = :key

-- name: advance_cursor
-- Messages up to here have been read; never back.
UPDATE sessions SET cursor = :to, active_at = :now WHERE key = :key AND cursor < :to

-- name: message_columns
-- Columns in the order of rows.message_of.
id, session, at, body

-- name: messages
-- Messages of a session behind an id, oldest first.
SELECT {message_columns} FROM messages WHERE session = :session AND id > :after ORDER BY id LIMIT :limit

-- name: messages_by_id
-- These messages.
SELECT {message_columns} FROM messages WHERE id IN (SELECT value FROM json_each(:ids))

-- name: message_by_client_id
-- The message that a client has sent before.
SELECT {message_columns} FROM messages
WHERE session = :session AND client_id IS NOT NULL AND client_id = :client_id

-- name: add_message
-- A message in an inbox.
INSERT INTO messages (id, session, at, client_id, body) VALUES (:id, :session, :at, :client_id, :body)
