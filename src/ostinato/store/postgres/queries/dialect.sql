-- What PostgreSQL says in other words than SQLite. A query here takes the place of the one of the same name there; all
-- others are shared. Columns and parameters are the same; indexes are chosen by the planner.

-- name: next_queue
-- The head of the first queue behind this one; PostgreSQL seeks for a comparison of rows.
SELECT pool, agent, kind, strand, rank, id, session, priority FROM tasks
WHERE state = 'ready' AND due_at IS NULL AND (pool, agent, kind, strand) > (:pool, :agent, :kind, :strand)
ORDER BY pool, agent, kind, strand, rank, id LIMIT 1

-- name: queue_page
-- The next rows of a queue, in order.
SELECT rank, id, session, priority FROM tasks
WHERE state = 'ready' AND due_at IS NULL AND pool = :pool AND agent = :agent AND kind = :kind AND strand = :strand
    AND (rank, id) > (:rank, :id)
ORDER BY rank, id LIMIT :limit

-- name: queue_page_whole
-- The same with all of each task.
SELECT {task_columns} FROM tasks
WHERE state = 'ready' AND due_at IS NULL AND pool = :pool AND agent = :agent AND kind = :kind AND strand = :strand
    AND (rank, id) > (:rank, :id)
ORDER BY rank, tasks.id LIMIT :limit

-- name: event_filter
-- The parts of an EventFilter that every list applies.
id > :after AND at >= :since_at AND at < :until_at
AND (:agent IS NULL OR agent = :agent)
AND (:session IS NULL OR session = :session)
AND (:names IS NULL OR name IN (SELECT json_array_elements_text(:names::json)))

-- name: task_filter
-- The parts of a TaskFilter that every list applies; an empty part is NULL or ''.
tasks.id < :before AND tasks.id > :after
AND (:states IS NULL OR state IN (SELECT json_array_elements_text(:states::json)))
AND (:kinds IS NULL OR kind IN (SELECT json_array_elements_text(:kinds::json)))
AND (:agent IS NULL OR agent = :agent)
AND (:project IS NULL OR project = :project)
AND (:session IS NULL OR session = :session)
AND (:dead = 0 OR (state = 'failed' AND dismissed = 0))
AND (:text = '' OR strpos(lower(title), lower(:text)) > 0)

-- name: tasks_of_agent
-- The same along the index of agents. Here and below: what is asked for in full goes by a comparison of rows, whose
-- order only that index has, as the planner thinks that what is many is everywhere, and would walk all newer tasks that
-- are something else; what is looked for within some ids (`after`) goes by these.
(SELECT {task_columns} FROM tasks
WHERE :after = 0 AND (agent, id) < (:agent, :before) AND (agent, id) > (:agent, 0) AND {task_filter}
ORDER BY agent DESC, id DESC LIMIT :limit)
UNION ALL
(SELECT {task_columns} FROM tasks WHERE :after > 0 AND agent = :agent AND {task_filter} ORDER BY id DESC LIMIT :limit)

-- name: tasks_of_kind
-- The same for one kind.
(SELECT {task_columns} FROM tasks
WHERE :after = 0 AND (kind, id) < (:kind, :before) AND (kind, id) > (:kind, 0) AND {task_filter}
ORDER BY kind DESC, id DESC LIMIT :limit)
UNION ALL
(SELECT {task_columns} FROM tasks WHERE :after > 0 AND kind = :kind AND {task_filter} ORDER BY id DESC LIMIT :limit)

-- name: tasks_of_project
-- The same for one project.
(SELECT {task_columns} FROM tasks
WHERE :after = 0 AND project != '' AND (project, id) < (:project, :before) AND (project, id) > (:project, 0) AND {task_filter}
ORDER BY project DESC, id DESC LIMIT :limit)
UNION ALL
(SELECT {task_columns} FROM tasks WHERE :after > 0 AND project != '' AND project = :project AND {task_filter} ORDER BY id DESC LIMIT :limit)

-- name: tasks_of_session
-- The same for one session.
(SELECT {task_columns} FROM tasks
WHERE :after = 0 AND session != '' AND (session, id) < (:session, :before) AND (session, id) > (:session, 0) AND {task_filter}
ORDER BY session DESC, id DESC LIMIT :limit)
UNION ALL
(SELECT {task_columns} FROM tasks WHERE :after > 0 AND session != '' AND session = :session AND {task_filter} ORDER BY id DESC LIMIT :limit)

-- name: tasks_set_aside
-- The same for one of the less crowded states.
(SELECT {task_columns} FROM tasks
WHERE :after = 0 AND state != 'ready' AND state != 'running' AND state != 'done' AND (state, id) < (:state, :before) AND (state, id) > (:state, 0) AND {task_filter}
ORDER BY state DESC, id DESC LIMIT :limit)
UNION ALL
(SELECT {task_columns} FROM tasks WHERE :after > 0 AND state != 'ready' AND state != 'running' AND state != 'done' AND state = :state AND {task_filter} ORDER BY id DESC LIMIT :limit)

-- name: tasks_done
-- The same for what is done of one kind.
(SELECT {task_columns} FROM tasks
WHERE :after = 0 AND state = 'done' AND (kind, id) < (:kind, :before) AND (kind, id) > (:kind, 0) AND {task_filter}
ORDER BY kind DESC, id DESC LIMIT :limit)
UNION ALL
(SELECT {task_columns} FROM tasks WHERE :after > 0 AND state = 'done' AND kind = :kind AND {task_filter} ORDER BY id DESC LIMIT :limit)

-- name: tasks_dead
-- Dead letters.
(SELECT {task_columns} FROM tasks
WHERE :after = 0 AND state != 'ready' AND state != 'running' AND state != 'done' AND (state, id) < ('failed', :before) AND (state, id) > ('failed', 0) AND {task_filter}
ORDER BY state DESC, id DESC LIMIT :limit)
UNION ALL
(SELECT {task_columns} FROM tasks WHERE :after > 0 AND state != 'ready' AND state != 'running' AND state != 'done' AND state = 'failed' AND {task_filter} ORDER BY id DESC LIMIT :limit)

-- name: messages_by_id
-- These messages.
SELECT {message_columns} FROM messages
WHERE id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json) AS each_id (value)))

-- name: tasks_by_id
-- These tasks.
SELECT {task_columns} FROM tasks WHERE id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json) AS each_id (value)))

-- name: task_states
-- The same of several.
SELECT id, state, result FROM tasks
WHERE id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json) AS each_id (value)))

-- name: inputs_of
-- What the turns of these tasks read: the entries of that kind, which name the files of their prompts.
SELECT task, entry FROM steps
WHERE task = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json) AS each_id (value)))
    AND substr(entry, 2, 14) = '"type":"input"'

-- name: sessions_that_exist
-- Those of these keys that are a session's.
SELECT key FROM sessions WHERE key = ANY (ARRAY(SELECT json_array_elements_text(:keys::json) COLLATE "C"))

-- name: any_settled
-- One of these questions that is settled.
SELECT id FROM questions
WHERE id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json) AS each_id (value))) AND state != 'pending'
LIMIT 1

-- name: any_ended
-- One of these tasks that has ended.
SELECT id FROM tasks
WHERE id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json) AS each_id (value)))
    AND state IN (SELECT json_array_elements_text(:ended::json))
LIMIT 1

-- name: unfinished_in_session
-- Those of the last tasks of a session that still want something; a turn that waits may be far behind, so it has its own index.
SELECT {task_columns} FROM tasks WHERE id IN (
    SELECT id FROM tasks
    WHERE kind = 'turn' AND session != '' AND state != 'done' AND state != 'cancelled' AND state != 'failed'
        AND session = :session
    UNION ALL
    SELECT id FROM (
        SELECT id, kind, state FROM tasks WHERE session != '' AND session = :session ORDER BY id DESC LIMIT 20
    ) AS last_ones WHERE kind != 'turn' AND state IN ({unfinished})
) ORDER BY id

-- name: add_to_tally
-- Tasks of an agent in a state: more or fewer.
INSERT INTO tallies (agent, goal, state, count) VALUES (:agent, :goal, :state, :change)
ON CONFLICT (agent, goal, state) DO UPDATE SET count = tallies.count + excluded.count

-- name: add_to_total
-- A number of the whole fleet: more or fewer.
INSERT INTO totals (name, count) VALUES (:name, :change)
ON CONFLICT (name) DO UPDATE SET count = totals.count + excluded.count

-- name: book_account
-- More of what is set aside, or less where it is below zero, and more of what is spent. Less than nothing is never set aside.
INSERT INTO accounts (scope, day, reserved, spent, reserved_tokens, spent_tokens)
VALUES (:scope, :day, greatest(0, :reserved), :spent, greatest(0, :reserved_tokens), :spent_tokens)
ON CONFLICT (scope, day) DO UPDATE SET
    reserved = greatest(0, accounts.reserved + :reserved), spent = accounts.spent + excluded.spent,
    reserved_tokens = greatest(0, accounts.reserved_tokens + :reserved_tokens),
    spent_tokens = accounts.spent_tokens + excluded.spent_tokens

-- name: accounts_of_tasks
-- Which of these tasks have a budget of their own.
SELECT scope FROM accounts WHERE scope = ANY (ARRAY(SELECT json_array_elements_text(:keys::json) COLLATE "C")) AND day = :day

-- name: release_reserved
-- Gives back what an earlier day had set aside.
UPDATE accounts SET reserved = greatest(0, reserved - :amount),
    reserved_tokens = greatest(0, reserved_tokens - :tokens)
WHERE scope = :scope AND day = :day

-- name: spending_by_day
-- Costs of each day, UTC.
SELECT to_char(to_timestamp(at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, {sums} FROM charges
WHERE at >= :since_at AND at < :until_at GROUP BY day

-- name: skips_by_day
-- The same for each day; a run counts for the day of its last wake.
SELECT to_char(to_timestamp(to_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, sum(count) FROM skips
WHERE to_at >= :since_at AND to_at < :until_at GROUP BY day

-- name: running_elsewhere
-- What other nodes run.
SELECT {task_columns} FROM tasks WHERE state = 'running' AND node IS DISTINCT FROM :node ORDER BY id

-- name: lapsed_nodes
-- Nodes whose lease is over, and such as have ended and yet hold a task: stopped while they claimed, and come back.
SELECT id FROM nodes WHERE ended_at IS NULL AND (lease_until <= :lease_now OR boot != :boot)
UNION
SELECT node FROM tasks JOIN nodes ON nodes.id = tasks.node WHERE tasks.state = 'running' AND nodes.ended_at IS NOT NULL
ORDER BY 1

-- name: use_blob
-- Who names it.
INSERT INTO blob_uses (digest, task, message) VALUES (:digest, :task, :message) ON CONFLICT DO NOTHING

-- name: add_blob
-- New bytes.
INSERT INTO blobs (digest, used_at, data) VALUES (:digest, :now, :data::bytea)

-- name: node_is_open
-- Whether a node has not ended and its lease runs; one whose lease is over claims nothing.
SELECT 1 FROM nodes WHERE id = :node AND ended_at IS NULL

-- name: lease_now
-- The database's clock, in microseconds: the same for every node.
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint

-- name: database_size
-- Bytes of the whole database.
SELECT pg_database_size(current_database())

-- name: begin_writing
-- Whoever writes holds this row until its commit: one writer at a time in the whole fleet.
SELECT commits FROM ostinato_store FOR UPDATE

-- name: count_commit
-- Something is changed: what others remember is worth nothing any more. It is signed by whose commit it is, and gives the
-- other nodes a hint, with whom it comes from.
WITH signed AS (
    INSERT INTO settings (name, value) VALUES ('postgres.commit.' || lpad(:number::bigint::text, 19, '0'), :writer)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
)
UPDATE ostinato_store SET commits = :number RETURNING pg_notify('ostinato', :writer)

-- name: signer_of_commit
-- Who has made the commit of this number.
SELECT value FROM settings WHERE name = 'postgres.commit.' || lpad(:number::bigint::text, 19, '0')

-- name: forget_signatures
-- Those of commits long ago.
DELETE FROM settings
WHERE name >= 'postgres.commit.' AND name < 'postgres.commit.' || lpad(:before::bigint::text, 19, '0')

-- name: events_behind
-- What has happened since.
SELECT {event_columns} FROM events WHERE id > :after ORDER BY id LIMIT :limit

-- name: sessions
-- A page of sessions by key.
SELECT {session_columns} FROM sessions WHERE key > :after::text ORDER BY key LIMIT :limit

-- name: sessions_of_agent
-- A page of an agent's sessions by key.
SELECT {session_columns} FROM sessions WHERE agent = :agent AND key > :after::text ORDER BY key LIMIT :limit
