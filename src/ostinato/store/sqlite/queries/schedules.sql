-- Heartbeats, schedules and skips.

-- name: schedule_columns
-- Columns in the order of rows.schedule_of.
name, agent, rule, text, session, model, effort, retry, deliver, source, last_at, fired_at, next_at, skips_in_row,
skip_run

-- name: schedule
-- One schedule.
SELECT {schedule_columns} FROM schedules WHERE name = :name

-- name: schedules
-- Every schedule.
SELECT {schedule_columns} FROM schedules ORDER BY name

-- name: schedules_of_agent
-- Those of one agent.
SELECT {schedule_columns} FROM schedules WHERE agent = :agent ORDER BY name

-- name: next_wakes
-- When each agent is due next, along the index of agents.
SELECT agent, min(next_at) FROM schedules WHERE next_at IS NOT NULL GROUP BY agent

-- name: due_schedules
-- Those whose time has come.
SELECT {schedule_columns} FROM schedules INDEXED BY schedule_next
WHERE next_at IS NOT NULL AND next_at <= :now ORDER BY next_at LIMIT :limit

-- name: put_schedule
-- A schedule as it should be; a run of skips goes on.
INSERT INTO schedules (
    name, agent, rule, text, session, model, effort, retry, deliver, source, last_at, next_at, skips_in_row
)
VALUES (
    :name, :agent, :rule, :text, :session, :model, :effort, :retry, :deliver, :source, :last_at, :next_at, :skips_in_row
)
ON CONFLICT (name) DO UPDATE SET
    agent = excluded.agent, rule = excluded.rule, text = excluded.text, session = excluded.session,
    model = excluded.model, effort = excluded.effort, retry = excluded.retry, deliver = excluded.deliver,
    source = excluded.source, last_at = excluded.last_at, next_at = excluded.next_at,
    skips_in_row = excluded.skips_in_row

-- name: bring_forward
-- Due earlier, by a clock that was set back; how far the other clock had come means nothing then.
UPDATE schedules SET next_at = :next_at, last_at = CASE WHEN last_at > :now THEN :now ELSE last_at END
WHERE name = :name AND (next_at IS NULL OR next_at > :next_at)

-- name: remove_schedule
-- It fires no more.
DELETE FROM schedules WHERE name = :name

-- name: fire_schedule
-- One nominal time fires, if it has not.
UPDATE schedules SET last_at = :nominal_at, fired_at = :nominal_at, next_at = :next_at, skips_in_row = 0,
    skip_run = NULL
WHERE name = :name AND (last_at IS NULL OR last_at < :nominal_at)
    AND NOT EXISTS (SELECT 1 FROM fires WHERE schedule = :name AND nominal_at = :nominal_at)

-- name: add_fire
-- A nominal time has fired: remembered by itself, for a clock that is set back makes the last time mean nothing.
INSERT INTO fires (schedule, nominal_at) VALUES (:name, :nominal_at)

-- name: forget_fires
-- Of a schedule that is gone: its name may come again.
DELETE FROM fires WHERE schedule = :name

-- name: pass_schedule
-- A nominal time that is over already, such as after the clock was set back, is due no more.
UPDATE schedules SET next_at = :next_at WHERE name = :name AND next_at <= :nominal_at

-- name: skip_schedule
-- One nominal time is skipped.
UPDATE schedules SET last_at = :nominal_at, next_at = :next_at, skips_in_row = :skips_in_row, skip_run = :run
WHERE name = :name

-- name: skip_columns
-- Columns in the order of rows.skip_of.
agent, heartbeat, reason, from_at, to_at, count

-- name: skips
-- Runs of skips, newest first.
SELECT {skip_columns} FROM skips WHERE to_at >= :since_at ORDER BY to_at DESC, id DESC LIMIT :limit

-- name: skips_of_agent
-- Those of one agent.
SELECT {skip_columns} FROM skips WHERE agent = :agent AND to_at >= :since_at ORDER BY to_at DESC, id DESC LIMIT :limit

-- name: add_skip
-- A run begins.
INSERT INTO skips (id, agent, heartbeat, reason, from_at, to_at, count)
VALUES (:id, :agent, :heartbeat, :reason, :at, :at, 1)

-- name: lengthen_skip
-- A run goes on, if the reason is the same.
UPDATE skips SET to_at = :at, count = count + 1 WHERE id = :id AND reason = :reason
