-- Forgetting. The newest row of a table whose ids the store gives out always stays, so that no id is given out twice.

-- name: prunable_tasks
-- Tasks that ended long ago and that no unfinished task refers to; dead letters stay until somebody deals with them.
SELECT id, session, agent, kind, state FROM tasks INDEXED BY task_settled
WHERE finished_at IS NOT NULL AND (state != 'failed' OR dismissed = 1) AND finished_at < :until
    AND id < (SELECT max(id) FROM tasks)
    AND NOT EXISTS (
        SELECT 1 FROM dependencies AS d JOIN tasks AS later ON later.id = d.task
        WHERE d.after = tasks.id AND later.state IN ({unfinished})
    )
    AND NOT EXISTS (SELECT 1 FROM tasks AS child WHERE child.parent = tasks.id AND child.state IN ({unfinished}))
    AND NOT EXISTS (
        SELECT 1 FROM questions AS q WHERE q.task = tasks.id AND q.state = 'pending'
    )
ORDER BY finished_at LIMIT :limit

-- name: forget_question_of
-- What it asked, and that its result answers that.
DELETE FROM results WHERE task = :task

-- name: prune_results
-- Answers that count no more, and questions that nobody has answered for long.
DELETE FROM results WHERE task IN (SELECT task FROM results WHERE until_at < :until ORDER BY until_at LIMIT :limit)

-- name: prune_hits
-- Answers long ago.
DELETE FROM hits WHERE task IN (SELECT task FROM hits WHERE at < :until ORDER BY at LIMIT :limit)

-- name: forget_task
-- The task itself.
DELETE FROM tasks WHERE id = :task

-- name: forget_document
-- Its long specification.
DELETE FROM task_documents WHERE task = :task

-- name: forget_setbacks
-- What failed in it.
DELETE FROM setbacks WHERE task = :task

-- name: forget_flags
-- That it was stopped.
DELETE FROM flags WHERE scope = 'task:' || CAST(:task AS TEXT)

-- name: forget_steps
-- Its journals.
DELETE FROM steps WHERE task = :task

-- name: inputs_of
-- What the turns of these tasks read: the entries of that kind, which name the files of their prompts.
SELECT task, entry FROM steps
WHERE task IN (SELECT value FROM json_each(:ids)) AND substr(entry, 2, 14) = '"type":"input"'

-- name: forget_blob_use
-- That a task names it.
DELETE FROM blob_uses WHERE digest = :digest AND task = :task AND message = 0

-- name: forget_attempts
-- Its tries.
DELETE FROM attempts WHERE task = :task

-- name: forget_questions
-- What it asked.
DELETE FROM questions WHERE task = :task AND id < (SELECT max(id) FROM questions)

-- name: forget_dependencies
-- What it waited for, and what waited for it.
DELETE FROM dependencies WHERE task = :task OR after = :task

-- name: forget_messages
-- The inbox of a session, if it has no task left.
DELETE FROM messages WHERE session = :session AND id < (SELECT max(id) FROM messages)
    AND NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.session != '' AND t.session = messages.session)

-- name: forget_session
-- A session, if it has no task left.
DELETE FROM sessions WHERE key = :session
    AND NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.session != '' AND t.session = sessions.key)

-- name: messages_from
-- The first message with this id or a later one, and when it came.
SELECT id, at FROM messages WHERE id >= :id ORDER BY id LIMIT 1

-- name: events_from
-- The first event with this id or a later one, and when it happened.
SELECT id, at FROM events WHERE id >= :id ORDER BY id LIMIT 1

-- name: prune_messages
-- Messages read long ago in sessions where nothing unfinished may still look at them.
DELETE FROM messages WHERE id IN (
    SELECT m.id FROM messages AS m JOIN sessions AS s ON s.key = m.session
    WHERE m.id >= :begin AND m.id < :end AND m.at < :until AND (m.id <= s.cursor OR s.key = 'operator:inbox') AND s.kind NOT IN ('task', 'isolated', 'child')
        AND m.id < (SELECT max(id) FROM messages)
        AND NOT EXISTS (
            SELECT 1 FROM tasks AS t WHERE t.session != '' AND t.session = m.session AND t.state IN ({unfinished})
        )
    ORDER BY m.id LIMIT :limit
)

-- name: prune_events
-- The oldest events.
DELETE FROM events WHERE id IN (
    SELECT id FROM events WHERE id >= :begin AND id < :end AND at < :until ORDER BY id LIMIT :limit
) AND id < (SELECT max(id) FROM events)

-- name: prune_skips
-- Runs of skips that ended long ago.
DELETE FROM skips WHERE id IN (SELECT id FROM skips WHERE to_at < :until ORDER BY to_at LIMIT :limit)
    AND id < (SELECT max(id) FROM skips)

-- name: prune_fires
-- Times that fired long ago.
DELETE FROM fires WHERE (schedule, nominal_at) IN (
    SELECT schedule, nominal_at FROM fires WHERE nominal_at < :until ORDER BY nominal_at LIMIT :limit
)

-- name: prune_charges
-- Old ledger rows.
DELETE FROM charges WHERE id IN (SELECT id FROM charges WHERE at < :until ORDER BY at LIMIT :limit)

-- name: prune_accounts
-- Days long past; `until` is a day.
DELETE FROM accounts WHERE (scope, day) IN (SELECT scope, day FROM accounts WHERE day < :until LIMIT :limit)

-- name: prune_nodes
-- Nodes that ended long ago.
DELETE FROM nodes WHERE id IN (SELECT id FROM nodes WHERE ended_at < :until ORDER BY id LIMIT :limit)
    AND id < (SELECT max(id) FROM nodes)

-- name: old_blobs
-- Blobs that nobody has stored or used anew for long.
SELECT digest FROM blobs WHERE used_at < :until ORDER BY used_at LIMIT :limit

-- name: forget_blob_uses
-- Uses by tasks and messages that are gone.
DELETE FROM blob_uses WHERE digest = :digest
    AND (task = 0 OR NOT EXISTS (SELECT 1 FROM tasks WHERE id = blob_uses.task))
    AND (message = 0 OR NOT EXISTS (SELECT 1 FROM messages WHERE id = blob_uses.message))

-- name: forget_blob
-- The bytes.
DELETE FROM blobs WHERE digest = :digest
