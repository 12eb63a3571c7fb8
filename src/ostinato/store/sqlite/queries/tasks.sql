-- Tasks: rows, lists and changes of state.

-- name: task_columns
-- Columns in the order of rows.kept_of; a long specification is fetched from its own table.
tasks.id, kind, state, title, agent, session, pool, project, type, priority, not_before_at, created_at, updated_at,
finished_at, attempts, failures, losses, token, node, journal, unfinished, parent, depth, key, wait, reason,
dismissed, result, tokens, usd_micros, steps, ready_at, due_at, held, awaited, seen, endings, rank,
coalesce(spec, (SELECT d.spec FROM task_documents AS d WHERE d.task = tasks.id))

-- name: task_filter
-- The parts of a TaskFilter that every list applies; an empty part is NULL or ''.
tasks.id < :before AND tasks.id > :after
AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
AND (:kinds IS NULL OR kind IN (SELECT value FROM json_each(:kinds)))
AND (:agent IS NULL OR agent = :agent)
AND (:project IS NULL OR project = :project)
AND (:session IS NULL OR session = :session)
AND (:dead = 0 OR (state = 'failed' AND dismissed = 0))
AND (:text = '' OR instr(lower(title), lower(:text)) > 0)

-- name: task
-- One task.
SELECT {task_columns} FROM tasks WHERE id = :id

-- name: tasks_by_id
-- These tasks.
SELECT {task_columns} FROM tasks WHERE id IN (SELECT value FROM json_each(:ids))

-- name: task_state
-- Only where a task stands, and its result.
SELECT state, result FROM tasks WHERE id = :id

-- name: task_states
-- The same of several.
SELECT id, state, result FROM tasks WHERE id IN (SELECT value FROM json_each(:ids))

-- name: task_by_key
-- The task that an idempotency key belongs to, and the digest of what it was added with.
SELECT id, body FROM tasks WHERE key = :key

-- name: live_delegation
-- The one unfinished task that does this work.
SELECT id FROM tasks INDEXED BY task_of_delegation
WHERE delegation = :delegation AND state != 'done' AND state != 'cancelled' AND state != 'failed'

-- name: tasks_keyed
-- Tasks whose keys lie between these two.
SELECT {task_columns} FROM tasks WHERE key >= :prefix AND key < :behind ORDER BY id LIMIT :limit

-- name: edit_task
-- What a draft says.
UPDATE tasks SET title = :title, spec = :spec, delegation = :delegation, updated_at = :now WHERE id = :id

-- name: drop_task_document
-- A long specification that is replaced.
DELETE FROM task_documents WHERE task = :task

-- name: tasks
-- A page of tasks, newest first.
SELECT {task_columns} FROM tasks WHERE {task_filter} ORDER BY id DESC LIMIT :limit

-- name: tasks_of_agent
-- The same along the index of agents.
SELECT {task_columns} FROM tasks INDEXED BY task_of_agent
WHERE agent = :agent AND {task_filter} ORDER BY id DESC LIMIT :limit

-- name: agent_record
-- What became of an agent's last goals of a type, among its last tasks: done, failed, cost and time for each that is done.
SELECT sum(CASE WHEN state = 'done' THEN 1 ELSE 0 END), sum(CASE WHEN state = 'failed' THEN 1 ELSE 0 END),
    CAST(round(1.0 * sum(usd_micros) / nullif(sum(CASE WHEN state = 'done' THEN 1 ELSE 0 END), 0)) AS BIGINT),
    CAST(round(1.0 * sum(finished_at - (SELECT min(a.started_at) FROM attempts AS a WHERE a.task = last_ones.id))
        / nullif(sum(CASE WHEN state = 'done' THEN 1 ELSE 0 END), 0)) AS BIGINT)
FROM (
    SELECT id, state, usd_micros, finished_at FROM (
        SELECT id, kind, type, state, usd_micros, finished_at FROM tasks INDEXED BY task_of_agent
        WHERE agent = :agent ORDER BY id DESC LIMIT :reach
    ) AS latest WHERE kind = 'goal' AND type = :type AND state IN ('done', 'failed') ORDER BY id DESC LIMIT :most
) AS last_ones

-- name: tasks_of_kind
-- The same for one kind, along the index of kinds.
SELECT {task_columns} FROM tasks INDEXED BY task_of_kind
WHERE kind = :kind AND {task_filter} ORDER BY id DESC LIMIT :limit

-- name: tasks_of_project
-- The same along the index of projects.
SELECT {task_columns} FROM tasks INDEXED BY task_of_project
WHERE project != '' AND project = :project AND {task_filter} ORDER BY id DESC LIMIT :limit

-- name: newest_task
-- The id that was given out last.
SELECT max(id) FROM tasks

-- name: tasks_of_session
-- The same along the index of sessions.
SELECT {task_columns} FROM tasks INDEXED BY task_of_session
WHERE session != '' AND session = :session AND {task_filter} ORDER BY id DESC LIMIT :limit

-- name: tasks_of_parent
-- The same along the index of parents.
SELECT {task_columns} FROM tasks INDEXED BY task_of_parent
WHERE parent = :parent AND {task_filter} ORDER BY id DESC LIMIT :limit

-- name: unfinished_children
-- What still works for a task, among other children.
SELECT {task_columns} FROM tasks WHERE parent = :parent AND state IN ({unfinished}) ORDER BY id

-- name: tasks_set_aside
-- The same for one of the less crowded states, along their index.
SELECT {task_columns} FROM tasks INDEXED BY task_set_aside
WHERE state != 'ready' AND state != 'running' AND state != 'done' AND state = :state AND {task_filter} ORDER BY id DESC LIMIT :limit

-- name: tasks_running
-- The same for what runs, along its index: never many.
SELECT {task_columns} FROM tasks INDEXED BY task_running
WHERE state = 'running' AND {task_filter} ORDER BY id DESC LIMIT :limit

-- name: tasks_ready
-- The same for what is ready, where that is not much: along the indexes of what can be claimed and what is delayed.
SELECT {task_columns} FROM tasks WHERE id IN (
    SELECT id FROM tasks INDEXED BY task_claimable WHERE state = 'ready' AND due_at IS NULL
    UNION ALL
    SELECT id FROM tasks INDEXED BY task_due WHERE due_at IS NOT NULL AND state = 'ready'
) AND {task_filter} ORDER BY id DESC LIMIT :limit

-- name: tasks_done
-- The same for what is done of one kind, along its index.
SELECT {task_columns} FROM tasks INDEXED BY task_done
WHERE state = 'done' AND kind = :kind AND {task_filter} ORDER BY id DESC LIMIT :limit

-- name: tasks_dead
-- Dead letters, along the same index.
SELECT {task_columns} FROM tasks INDEXED BY task_set_aside
WHERE state != 'ready' AND state != 'running' AND state != 'done' AND state = 'failed' AND {task_filter} ORDER BY id DESC LIMIT :limit

-- name: dead_groups
-- Dead letters that failed alike, the latest group first.
SELECT fingerprint, count(*), min(finished_at), max(finished_at), max(id) FROM tasks INDEXED BY task_dead
WHERE fingerprint IS NOT NULL AND fingerprint > '' GROUP BY fingerprint ORDER BY max(finished_at) DESC, max(id) DESC LIMIT :limit

-- name: dead_of_group
-- A page of one group, newest first.
SELECT {task_columns} FROM tasks INDEXED BY task_dead
WHERE fingerprint IS NOT NULL AND fingerprint = :fingerprint AND id < :before ORDER BY id DESC LIMIT :limit

-- name: dead_behind
-- Dead letters behind an id that had failed by then, oldest first.
SELECT {task_columns} FROM tasks INDEXED BY task_set_aside
WHERE state != 'ready' AND state != 'running' AND state != 'done' AND state = 'failed'
    AND dismissed = 0 AND id > :after AND finished_at <= :until ORDER BY id LIMIT :limit

-- name: dead_of_group_behind
-- The same of one group.
SELECT {task_columns} FROM tasks INDEXED BY task_dead
WHERE fingerprint IS NOT NULL AND fingerprint = :fingerprint AND id > :after AND finished_at <= :until
ORDER BY id LIMIT :limit

-- name: nameless_dead
-- Dead letters without a fingerprint of their own.
SELECT {task_columns} FROM tasks INDEXED BY task_dead
WHERE fingerprint IS NOT NULL AND fingerprint = '' ORDER BY id LIMIT :limit

-- name: name_failure
-- How it failed.
UPDATE tasks SET fingerprint = :fingerprint WHERE id = :id

-- name: session_tasks
-- What ran in a session, newest first.
SELECT {task_columns} FROM tasks INDEXED BY task_of_session
WHERE session != '' AND session = :session AND id < :before ORDER BY id DESC LIMIT :limit

-- name: unfinished_turn
-- The one turn of a session that still wants something.
SELECT id FROM tasks INDEXED BY task_turn_of_session
WHERE kind = 'turn' AND session != '' AND state != 'done' AND state != 'cancelled' AND state != 'failed'
    AND session = :session

-- name: unfinished_in_session
-- Those of the last tasks of a session that still want something; a turn that waits may be far behind, so it has its own index.
SELECT {task_columns} FROM tasks WHERE id IN (
    SELECT id FROM tasks INDEXED BY task_turn_of_session
    WHERE kind = 'turn' AND session != '' AND state != 'done' AND state != 'cancelled' AND state != 'failed'
        AND session = :session
    UNION ALL
    SELECT id FROM (
        SELECT id, kind, state FROM tasks INDEXED BY task_of_session
        WHERE session != '' AND session = :session ORDER BY id DESC LIMIT 20
    ) WHERE kind != 'turn' AND state IN ({unfinished})
) ORDER BY id

-- name: dependencies
-- What a task waits for, or waited for.
SELECT {task_columns} FROM tasks WHERE id IN (SELECT after FROM dependencies WHERE task = :task) ORDER BY id

-- name: dependants
-- What waits, or waited, for a task.
SELECT {task_columns} FROM tasks WHERE id IN (SELECT task FROM dependencies WHERE after = :task) ORDER BY id

-- name: waiting_dependants
-- What must be told of the end of a task, each with what it waits for.
SELECT {task_columns}, d.condition FROM dependencies AS d JOIN tasks ON tasks.id = d.task
WHERE d.after = :after AND d.met = 0 AND state IN ({unfinished}) ORDER BY tasks.id

-- name: edges
-- What a task waits for, or waited for: the other task, how it stands, and whether that has been met.
SELECT d.after, d.condition, d.met, t.state, t.result FROM dependencies AS d JOIN tasks AS t ON t.id = d.after
WHERE d.task = :task ORDER BY d.after

-- name: missing_edges
-- The first of those that a task still waits for.
SELECT d.after, d.condition, t.state FROM dependencies AS d JOIN tasks AS t ON t.id = d.after
WHERE d.task = :task AND d.after >= :first AND d.met = 0 ORDER BY d.after LIMIT :limit

-- name: unfinished_dependencies
-- What a task waits for and that may still be done.
SELECT t.id FROM dependencies AS d JOIN tasks AS t ON t.id = d.after
WHERE d.task = :task AND t.state IN ({unfinished}) ORDER BY t.id

-- name: add_dependency
-- One task waits for another.
INSERT INTO dependencies (task, after, condition, met) VALUES (:task, :after, :condition, :met)

-- name: meet_dependency
-- What one task waited for in another has come.
UPDATE dependencies SET met = 1 WHERE task = :task AND after = :after

-- name: await_task
-- Something waits for it from now on.
UPDATE tasks SET awaited = 1 WHERE id = :id

-- name: add_task
-- A new task.
INSERT INTO tasks (
    id, kind, state, title, agent, session, pool, project, type, priority, not_before_at, created_at, updated_at,
    ready_at, due_at, attempts, failures, losses, token, journal, steps, unfinished, held, awaited, parent, depth, key, body,
    reason, dismissed, seen, endings, tokens, usd_micros, spec, delegation, strand, rank
) VALUES (
    :id, :kind, :state, :title, :agent, :session, :pool, :project, :type, :priority, :not_before_at, :now, :now,
    :ready_at, :due_at, 0, 0, 0, 0, 1, 0, :unfinished, :held, 0, :parent, :depth, :key, :body,
    :reason, 0, 0, 0, 0, 0, :spec, :delegation, :strand, :rank
)

-- name: add_task_document
-- A long specification.
INSERT INTO task_documents (task, spec) VALUES (:task, :spec)

-- name: move_task
-- A task in its new state, with all that a change of state may change.
UPDATE tasks SET
    state = :state, updated_at = :now, finished_at = :finished_at, ready_at = :ready_at, due_at = :due_at,
    failures = :failures, losses = :losses, token = :token, node = :node, journal = :journal, steps = :steps,
    unfinished = :unfinished, held = :held, wait = :wait, reason = :reason, dismissed = :dismissed,
    endings = :endings, result = :result, rank = :rank, fingerprint = :fingerprint
WHERE id = :id

-- name: end_task
-- A task that was running and is done.
UPDATE tasks SET
    state = 'done', updated_at = :now, finished_at = :now, losses = :losses, node = NULL, reason = :reason,
    result = :result
WHERE id = :id

-- name: change_task
-- What people may change about an unfinished task.
UPDATE tasks SET
    priority = :priority, agent = :agent, pool = :pool, not_before_at = :not_before_at, project = :project,
    strand = :strand, rank = :rank, due_at = :due_at, ready_at = :ready_at, updated_at = :now
WHERE id = :id

-- name: explain_task
-- Another reason for the state it is in.
UPDATE tasks SET reason = :reason, updated_at = :now WHERE id = :id

-- name: await_instead
-- What a task waits for now in the place of what it waited for before.
UPDATE tasks SET wait = :wait, reason = :reason, updated_at = :now WHERE id = :id

-- name: drop_hold
-- Nothing but its dependencies keeps it blocked.
UPDATE tasks SET held = 0, reason = :reason, updated_at = :now WHERE id = :id

-- name: count_dependency
-- One dependency less is missing.
UPDATE tasks SET unfinished = :unfinished, reason = :reason WHERE id = :id

-- name: spend_on_task
-- Tokens and money of one call.
UPDATE tasks SET tokens = tokens + :tokens, usd_micros = usd_micros + :usd_micros WHERE id = :id

-- name: any_ended
-- One of these tasks that has ended.
SELECT id FROM tasks
WHERE id IN (SELECT value FROM json_each(:ids)) AND state IN (SELECT value FROM json_each(:ended)) LIMIT 1

-- name: setbacks
-- What has failed in a task so far.
SELECT body FROM setbacks WHERE task = :task

-- name: put_setbacks
-- The same, as it stands now.
INSERT INTO setbacks (task, body) VALUES (:task, :body)
ON CONFLICT (task) DO UPDATE SET body = excluded.body
