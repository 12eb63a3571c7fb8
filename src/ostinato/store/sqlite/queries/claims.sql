-- Claims, attempts and journals.

-- name: next_queue
-- The head of the first queue behind this one: four seeks, however many rows a queue holds. One comparison of
-- (pool, agent, kind, strand) as a row would walk through the whole queue first.
SELECT * FROM (
    SELECT pool, agent, kind, strand, rank, id, session, priority FROM tasks INDEXED BY task_claimable
    WHERE state = 'ready' AND due_at IS NULL AND pool = :pool AND agent = :agent AND kind = :kind AND strand > :strand
    ORDER BY strand, rank, id LIMIT 1
)
UNION ALL SELECT * FROM (
    SELECT pool, agent, kind, strand, rank, id, session, priority FROM tasks INDEXED BY task_claimable
    WHERE state = 'ready' AND due_at IS NULL AND pool = :pool AND agent = :agent AND kind > :kind
    ORDER BY kind, strand, rank, id LIMIT 1
)
UNION ALL SELECT * FROM (
    SELECT pool, agent, kind, strand, rank, id, session, priority FROM tasks INDEXED BY task_claimable
    WHERE state = 'ready' AND due_at IS NULL AND pool = :pool AND agent > :agent
    ORDER BY agent, kind, strand, rank, id LIMIT 1
)
UNION ALL SELECT * FROM (
    SELECT pool, agent, kind, strand, rank, id, session, priority FROM tasks INDEXED BY task_claimable
    WHERE state = 'ready' AND due_at IS NULL AND pool > :pool
    ORDER BY pool, agent, kind, strand, rank, id LIMIT 1
)
LIMIT 1

-- name: queue_page
-- The next rows of a queue, in order.
SELECT rank, id, session, priority FROM tasks INDEXED BY task_claimable
WHERE state = 'ready' AND due_at IS NULL AND pool = :pool AND agent = :agent AND kind = :kind AND strand = :strand
    AND (rank, id) > (:rank, :id)
ORDER BY rank, id LIMIT :limit

-- name: queue_page_whole
-- The same with all of each task: where none of them is at hand, this costs less than to ask for them afterwards.
SELECT {task_columns} FROM tasks INDEXED BY task_claimable
WHERE state = 'ready' AND due_at IS NULL AND pool = :pool AND agent = :agent AND kind = :kind AND strand = :strand
    AND (rank, id) > (:rank, :id)
ORDER BY rank, tasks.id LIMIT :limit

-- name: running
-- What runs: the limits of agents, kinds and sessions are counted from these.
SELECT pool, agent, kind, strand, session FROM tasks INDEXED BY task_running WHERE state = 'running'

-- name: last_begun
-- The number of the last beginning that a rate has counted.
SELECT seq FROM begun WHERE scope = :scope ORDER BY seq DESC LIMIT 1

-- name: begun
-- When the last tasks of a scope began that has a rate.
SELECT at FROM begun WHERE scope = :scope ORDER BY seq

-- name: add_begun
-- One more beginning.
INSERT INTO begun (scope, seq, at) VALUES (:scope, :seq, :now)

-- name: forget_begun
-- Those that no rate asks for any more.
DELETE FROM begun WHERE scope = :scope AND seq <= :seq

-- name: prune_begun
-- Beginnings longer ago than any rate reaches.
DELETE FROM begun WHERE at < :until

-- name: strands_in_use
-- What decides about the strands of tasks that may still be claimed.
SELECT DISTINCT project, priority FROM tasks WHERE state != 'done' AND state != 'cancelled'

-- name: change_aging
-- Another worth of waiting: what waits, or may wait again, gets its new place.
UPDATE tasks SET rank = rank + priority * :less
WHERE priority != 0 AND state != 'done' AND state != 'cancelled' AND state != 'failed'

-- name: move_to_strand
-- Tasks of a project and priority wait there from now on.
UPDATE tasks SET strand = :strand
WHERE project = :project AND priority = :priority AND strand != :strand AND state != 'done' AND state != 'cancelled'

-- name: claim_task
-- Takes one task, if it can still be claimed.
UPDATE tasks SET
    state = 'running', token = :token, attempts = attempts + 1, node = :node, seen = :seen, updated_at = :now,
    reason = ''
WHERE id = :task AND state = 'ready' AND due_at IS NULL

-- name: first_due
-- The earliest time at which a delayed task or a wait comes due.
SELECT due_at FROM tasks WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1

-- name: release_delayed
-- Delayed tasks whose time has come become claimable.
UPDATE tasks SET due_at = NULL WHERE id IN (
    SELECT id FROM tasks INDEXED BY task_due
    WHERE due_at IS NOT NULL AND due_at <= :now AND state = 'ready' ORDER BY due_at LIMIT :limit
) RETURNING {task_columns}

-- name: due_waits
-- Waits whose end has come.
SELECT {task_columns} FROM tasks INDEXED BY task_due
WHERE due_at IS NOT NULL AND due_at <= :now AND state = 'waiting' ORDER BY due_at LIMIT :limit

-- name: due_last
-- What is due last, behind a time.
SELECT {task_columns} FROM tasks INDEXED BY task_due
WHERE due_at IS NOT NULL AND due_at > :after ORDER BY due_at DESC LIMIT :limit

-- name: attempt_columns
-- Columns in the order of rows.attempt_of.
task, token, node, started_at, ended_at, outcome, error, ready_at

-- name: attempts
-- Every try of a task, in order.
SELECT {attempt_columns} FROM attempts WHERE task = :task ORDER BY token

-- name: add_attempt
-- A try begins.
INSERT INTO attempts (task, token, node, started_at, outcome, error, ready_at)
VALUES (:task, :token, :node, :now, '', '', :ready_at)

-- name: end_attempt
-- A try ends.
UPDATE attempts SET ended_at = :now, outcome = :outcome, error = :error
WHERE task = :task AND token = :token AND ended_at IS NULL

-- name: step_columns
-- Columns in the order of rows.step_of.
task, journal, seq, at, attempt, entry

-- name: steps
-- One generation of a journal, in order.
SELECT {step_columns} FROM steps WHERE task = :task AND journal = :journal ORDER BY seq

-- name: add_step
-- One entry of a journal.
INSERT INTO steps (task, journal, seq, at, attempt, entry) VALUES (:task, :journal, :seq, :at, :attempt, :entry)

-- name: count_steps
-- How far the journal has come.
UPDATE tasks SET steps = :steps, updated_at = :now WHERE id = :id
