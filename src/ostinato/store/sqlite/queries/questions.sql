-- Questions.

-- name: question_columns
-- Columns in the order of rows.question_of.
id, state, created_at, decided_at, decided_by, answer, arguments, bound, body

-- name: question_filter
-- The parts of a QuestionFilter that every list applies.
id < :before
AND (:state IS NULL OR state = :state)
AND (:kind IS NULL OR kind = :kind)
AND (:agent IS NULL OR agent = :agent)

-- name: question_state
-- Where a question stands.
SELECT state FROM questions WHERE id = :id

-- name: waiting_for_question
-- What waits for one question, however many tasks that are.
SELECT {task_columns} FROM tasks INDEXED BY task_set_aside
WHERE state = 'waiting' AND state != 'ready' AND state != 'running' AND state != 'done' AND wait LIKE :text ORDER BY id

-- name: question
-- One question.
SELECT {question_columns} FROM questions WHERE id = :id

-- name: questions
-- A page of questions, newest first.
SELECT {question_columns} FROM questions WHERE {question_filter} ORDER BY id DESC LIMIT :limit

-- name: questions_pending
-- The same for what waits for a person, along its index.
SELECT {question_columns} FROM questions INDEXED BY question_pending
WHERE state = 'pending' AND {question_filter} ORDER BY id DESC LIMIT :limit

-- name: questions_of_task
-- The same for one task.
SELECT {question_columns} FROM questions INDEXED BY question_of_task
WHERE task = :task AND {question_filter} ORDER BY id DESC LIMIT :limit

-- name: question_of_call
-- What a task has asked about one call and nobody has answered.
SELECT {question_columns} FROM questions
WHERE state = 'pending' AND call_id != '' AND task = :task AND call_id = :call_id

-- name: add_question
-- A question is asked.
INSERT INTO questions (
    id, kind, state, agent, task, session, call_id, stored, created_at, expires_at, ask_again_at, decided_by, answer,
    body
) VALUES (
    :id, :kind, 'pending', :agent, :task, :session, :call_id, :stored, :now, :expires_at, :ask_again_at, '', '',
    :body
)

-- name: settle_question
-- A question is settled.
UPDATE questions SET state = :state, decided_at = :now, decided_by = :by, answer = :answer, arguments = :arguments,
    bound = :bound
WHERE id = :id AND state = 'pending'

-- name: withdraw_questions
-- What an ended task has asked; actions that the runtime itself performs are no longer the task's.
UPDATE questions SET state = 'withdrawn', decided_at = :now, decided_by = 'runtime'
WHERE task = :task AND state = 'pending' AND stored = 0 RETURNING id, agent, session

-- name: withdraw_question
-- A stored action of a task that begins anew.
UPDATE questions SET state = 'withdrawn', decided_at = :now, decided_by = 'runtime' WHERE id = :id AND state = 'pending'

-- name: asking_tasks
-- Tasks whose end withdraws a question.
SELECT DISTINCT task FROM questions INDEXED BY question_pending WHERE state = 'pending' AND stored = 0

-- name: expired_questions
-- Questions that nobody has answered in time.
SELECT id FROM questions INDEXED BY question_expires
WHERE state = 'pending' AND expires_at IS NOT NULL AND expires_at <= :now ORDER BY expires_at LIMIT :limit

-- name: remind_question
-- It was asked again.
UPDATE questions SET reminded_at = :now, ask_again_at = :ask_again_at WHERE id = :id

-- name: questions_to_repeat
-- Questions that are to be asked once more.
SELECT {question_columns} FROM questions INDEXED BY question_again
WHERE state = 'pending' AND ask_again_at IS NOT NULL AND ask_again_at <= :now ORDER BY ask_again_at LIMIT :limit

-- name: any_settled
-- One of these questions that is settled.
SELECT id FROM questions WHERE id IN (SELECT value FROM json_each(:ids)) AND state != 'pending' LIMIT 1
