-- Money.

-- name: charge_columns
-- Columns in the order of the fields of a Charge.
task, agent, session, "trigger", call, provider, model, status, input_tokens, cached_tokens, output_tokens, usd_micros,
duration_ms, error

-- name: recall
-- The task that has answered a question last, and whose result still counts. One that was found while a clock was far
-- ahead is as old as nobody knows.
SELECT {task_columns} FROM tasks WHERE id = (
    SELECT task FROM results WHERE key = :key AND made_at > :since AND made_at <= :ahead AND until_at > :now AND is_kept = 1
    ORDER BY made_at DESC, task DESC LIMIT 1
) AND state = 'done'

-- name: add_result
-- What a task asks; how long it may take to find out is a month.
INSERT INTO results (task, key, made_at, until_at, is_kept) VALUES (:task, :key, :now, :now + 2678400000000, 0)

-- name: keep_result
-- From now on its result answers that.
UPDATE results SET made_at = :now, until_at = :until, is_kept = 1 WHERE task = :task

-- name: add_hit
-- A task was answered from another's result.
INSERT INTO hits (task, first, at, usd_micros) VALUES (:task, :first, :now, :usd_micros)

-- name: hits
-- How many were, and what they would have cost.
SELECT count(*), CAST(coalesce(sum(usd_micros), 0) AS BIGINT) FROM hits WHERE at >= :since_at AND at < :until_at

-- name: charges_of_task
-- What a task has cost, call by call.
SELECT {charge_columns} FROM charges WHERE task = :task ORDER BY id

-- name: add_charge
-- One try to reach a model.
INSERT INTO charges (at, {charge_columns}) VALUES (
    :at, :task, :agent, :session, :trigger, :call, :provider, :model, :status, :input_tokens, :cached_tokens,
    :output_tokens, :usd_micros, :duration_ms, :error
)

-- name: account
-- What a scope has reserved and spent on a day.
SELECT reserved, spent, reserved_tokens, spent_tokens, granted, granted_tokens, most, most_tokens, warned, question
FROM accounts WHERE scope = :scope AND day = :day

-- name: accounts_of_tasks
-- Which of these tasks have a budget of their own.
SELECT scope FROM accounts WHERE scope IN (SELECT value FROM json_each(:keys)) AND day = :day

-- name: book_account
-- More of what is set aside, or less where it is below zero, and more of what is spent. Less than nothing is never set aside.
INSERT INTO accounts (scope, day, reserved, spent, reserved_tokens, spent_tokens)
VALUES (:scope, :day, max(0, :reserved), :spent, max(0, :reserved_tokens), :spent_tokens)
ON CONFLICT (scope, day) DO UPDATE SET
    reserved = max(0, reserved + :reserved), spent = spent + excluded.spent,
    reserved_tokens = max(0, reserved_tokens + :reserved_tokens), spent_tokens = spent_tokens + excluded.spent_tokens

-- name: open_account
-- A task has a budget of its own.
INSERT INTO accounts (scope, day, reserved, spent, most, most_tokens) VALUES (:scope, :day, 0, 0, :most, :most_tokens)
ON CONFLICT (scope, day) DO UPDATE SET most = excluded.most, most_tokens = excluded.most_tokens

-- name: warn_account
-- People have been told that it is nearly used up.
UPDATE accounts SET warned = 1 WHERE scope = :scope AND day = :day

-- name: ask_account
-- A person is asked for more.
INSERT INTO accounts (scope, day, reserved, spent, question) VALUES (:scope, :day, 0, 0, :question)
ON CONFLICT (scope, day) DO UPDATE SET question = excluded.question

-- name: grant_account
-- A person has given more: a new limit, of which people are warned anew.
UPDATE accounts SET granted = granted + :granted, granted_tokens = granted_tokens + :granted_tokens, warned = 0,
    question = NULL
WHERE scope = :scope AND day = :day

-- name: forget_account
-- That of a task which is forgotten.
DELETE FROM accounts WHERE scope = 'task:' || :task

-- name: release_reserved
-- Gives back what an earlier day had set aside.
UPDATE accounts SET reserved = max(0, reserved - :amount), reserved_tokens = max(0, reserved_tokens - :tokens)
WHERE scope = :scope AND day = :day

-- name: sums
-- The columns of a line of spending, behind its name.
count(*), sum(input_tokens), sum(cached_tokens), sum(output_tokens), coalesce(sum(usd_micros), 0),
count(*) - count(usd_micros)

-- name: spending_by_agent
-- Costs of each agent.
SELECT agent, {sums} FROM charges WHERE at >= :since_at AND at < :until_at GROUP BY agent

-- name: spending_by_model
-- Costs of each model.
SELECT model, {sums} FROM charges WHERE at >= :since_at AND at < :until_at GROUP BY model

-- name: spending_by_task
-- Costs of each task.
SELECT 'T' || task, {sums} FROM charges WHERE at >= :since_at AND at < :until_at GROUP BY task

-- name: spending_by_day
-- Costs of each day, UTC.
SELECT date(at / 1000000, 'unixepoch') AS day, {sums} FROM charges
WHERE at >= :since_at AND at < :until_at GROUP BY day

-- name: spending_by_trigger
-- Costs by what woke the agent.
SELECT "trigger", {sums} FROM charges WHERE at >= :since_at AND at < :until_at GROUP BY "trigger"

-- name: skips_by_agent
-- Wakes of each agent that cost nothing.
SELECT agent, sum(count) FROM skips WHERE to_at >= :since_at AND from_at < :until_at GROUP BY agent

-- name: skips_by_day
-- The same for each day; a run counts for the day of its last wake.
SELECT date(to_at / 1000000, 'unixepoch') AS day, sum(count) FROM skips
WHERE to_at >= :since_at AND to_at < :until_at GROUP BY day

-- name: skips_by_trigger
-- The same for all heartbeats together.
SELECT 'heartbeat', sum(count) FROM skips WHERE to_at >= :since_at AND from_at < :until_at HAVING sum(count) > 0
