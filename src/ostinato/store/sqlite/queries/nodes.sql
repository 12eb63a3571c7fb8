-- Nodes, flags, blobs, settings, and what else has a name.

-- name: node_columns
-- Columns in the order of rows.node_of.
id, pid, host, version, started_at, ended_at, clean, pools

-- name: nodes
-- The last nodes, newest first.
SELECT {node_columns} FROM nodes ORDER BY id DESC LIMIT :limit

-- name: open_nodes
-- Nodes that have not ended, and the boot in which they began.
SELECT id, boot FROM nodes WHERE ended_at IS NULL ORDER BY id

-- name: lapsed_nodes
-- Nodes whose lease is over.
SELECT id FROM nodes WHERE ended_at IS NULL AND (lease_until <= :lease_now OR boot != :boot) ORDER BY id

-- name: add_node
-- A node starts.
INSERT INTO nodes (id, pid, host, version, boot, started_at, clean, lease_until, pools)
VALUES (:id, :pid, :host, :version, :boot, :now, 0, :lease_until, :pools)

-- name: renew_node
-- Its lease is longer, if it still has one.
UPDATE nodes SET lease_until = :lease_until WHERE id = :id AND ended_at IS NULL AND lease_until > :lease_now

-- name: end_node
-- It runs no more.
UPDATE nodes SET ended_at = :now, clean = :clean WHERE id = :id AND ended_at IS NULL

-- name: running_on
-- What a node runs.
SELECT {task_columns} FROM tasks INDEXED BY task_running WHERE state = 'running' AND node = :node ORDER BY id

-- name: running_elsewhere
-- What other nodes run.
SELECT {task_columns} FROM tasks INDEXED BY task_running WHERE state = 'running' AND node IS NOT :node ORDER BY id

-- name: served_pools
-- What the nodes take from that have not ended.
SELECT pools FROM nodes WHERE ended_at IS NULL

-- name: next_pool
-- The next pool in which something can be claimed.
SELECT pool FROM tasks INDEXED BY task_claimable
WHERE state = 'ready' AND due_at IS NULL AND pool > :pool ORDER BY pool LIMIT 1

-- name: placements
-- Agents that are not in the default pool.
SELECT agent, pool FROM placements ORDER BY agent

-- name: place_agent
-- Where an agent's tasks wait.
INSERT INTO placements (agent, pool) VALUES (:agent, :pool)
ON CONFLICT (agent) DO UPDATE SET pool = excluded.pool

-- name: unplace_agent
-- They wait where everybody's do.
DELETE FROM placements WHERE agent = :agent

-- name: move_to_pool
-- Those that are there already follow.
UPDATE tasks SET pool = :pool WHERE agent = :agent AND pool != :pool AND state IN ({unfinished})

-- name: flags
-- Every flag that is set.
SELECT scope, name, at, actor, reason FROM flags ORDER BY scope, name

-- name: set_flag
-- A scope is paused, halted or draining.
INSERT INTO flags (scope, name, at, actor, reason) VALUES (:scope, :name, :now, :actor, :reason)
ON CONFLICT (scope, name) DO UPDATE SET at = excluded.at, actor = excluded.actor, reason = excluded.reason

-- name: clear_flag
-- It no longer is.
DELETE FROM flags WHERE scope = :scope AND name = :name

-- name: blob
-- The bytes of a digest.
SELECT data FROM blobs WHERE digest = :digest

-- name: blob_used_at
-- When a blob was last noted as used.
SELECT used_at FROM blobs WHERE digest = :digest

-- name: add_blob
-- New bytes.
INSERT INTO blobs (digest, used_at, data) VALUES (:digest, :now, :data)

-- name: touch_blob
-- It is used still.
UPDATE blobs SET used_at = :now WHERE digest = :digest

-- name: use_blob
-- Who names it.
INSERT OR IGNORE INTO blob_uses (digest, task, message) VALUES (:digest, :task, :message)

-- name: blob_use
-- Anybody who names it.
SELECT 1 FROM blob_uses WHERE digest = :digest LIMIT 1

-- name: setting
-- The value of a setting.
SELECT value FROM settings WHERE name = :name

-- name: settings_like
-- Settings whose names lie between these two.
SELECT name, value FROM settings WHERE name >= :prefix AND name < :behind ORDER BY name

-- name: set_setting
-- Its new value.
INSERT INTO settings (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: next_due
-- The earliest delayed task or end of a wait, question's expiry or reminder, and schedule.
SELECT 'tasks', min(due_at) FROM tasks WHERE due_at IS NOT NULL
UNION ALL
SELECT 'questions', min(expires_at) FROM questions WHERE state = 'pending' AND expires_at IS NOT NULL
UNION ALL
SELECT 'questions', min(ask_again_at) FROM questions WHERE state = 'pending' AND ask_again_at IS NOT NULL
UNION ALL
SELECT 'schedules', min(next_at) FROM schedules WHERE next_at IS NOT NULL

-- name: row_estimates
-- Rows of each large table, from the span of their ids, which are given out without gaps and pruned from the front.
SELECT 'tasks', coalesce(sum(count), 0) FROM totals WHERE name LIKE 'tasks.%'
UNION ALL SELECT 'events', coalesce((SELECT max(id) FROM events) - (SELECT min(id) FROM events) + 1, 0)
UNION ALL SELECT 'steps', coalesce((SELECT max(id) FROM steps) - (SELECT min(id) FROM steps) + 1, 0)
UNION ALL SELECT 'messages', coalesce((SELECT max(id) FROM messages) - (SELECT min(id) FROM messages) + 1, 0)
UNION ALL SELECT 'charges', coalesce((SELECT max(id) FROM charges) - (SELECT min(id) FROM charges) + 1, 0)
UNION ALL SELECT 'audit', (SELECT count(*) FROM audit)
