-- Claims, attempts and journals.

-- name: next_queue
-- The head of the first queue behind this one: three seeks, however many rows a queue holds. One comparison of
-- (pool, agent, kind) as a row would walk through the whole queue first.
SELECT * FROM (
    SELECT pool, agent, kind, priority, id, session FROM tasks INDEXED BY task_claimable
    WHERE state = 'ready' AND due_at IS NULL AND pool = :pool AND agent = :agent AND kind > :kind
    ORDER BY kind, priority DESC, id LIMIT 1
)
UNION ALL SELECT * FROM (
    SELECT pool, agent, kind, priority, id, session FROM tasks INDEXED BY task_claimable
    WHERE state = 'ready' AND due_at IS NULL AND pool = :pool AND agent > :agent
    ORDER BY agent, kind, priority DESC, id LIMIT 1
)
UNION ALL SELECT * FROM (
    SELECT pool, agent, kind, priority, id, session FROM tasks INDEXED BY task_claimable
    WHERE state = 'ready' AND due_at IS NULL AND pool > :pool
    ORDER BY pool, agent, kind, priority DESC, id LIMIT 1
)
LIMIT 1

-- name: queue_page
-- The next rows of a queue: of the same priority behind the last one, then of lower ones.
SELECT priority, id, session FROM (
    SELECT * FROM (
        SELECT priority, id, session FROM tasks INDEXED BY task_claimable
        WHERE state = 'ready' AND due_at IS NULL AND pool = :pool AND agent = :agent AND kind = :kind
            AND priority = :priority AND id > :id
        ORDER BY id LIMIT :limit
    )
    UNION ALL
    SELECT * FROM (
        SELECT priority, id, session FROM tasks INDEXED BY task_claimable
        WHERE state = 'ready' AND due_at IS NULL AND pool = :pool AND agent = :agent AND kind = :kind
            AND priority < :priority
        ORDER BY priority DESC, id LIMIT :limit
    )
) ORDER BY priority DESC, id LIMIT :limit

-- name: running
-- What runs: the limits of agents, kinds and sessions are counted from these.
SELECT pool, agent, kind, session FROM tasks INDEXED BY task_running WHERE state = 'running'

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
