-- Events and tallies.

-- name: event_columns
-- Columns in the order of rows.event_of.
id, at, name, task, agent, session, actor, reason, data

-- name: event_filter
-- The parts of an EventFilter that every list applies.
id > :after AND at >= :since_at AND at < :until_at
AND (:agent IS NULL OR agent = :agent)
AND (:session IS NULL OR session = :session)
AND (:names IS NULL OR name IN (SELECT value FROM json_each(:names)))

-- name: events
-- A page of events, oldest first.
SELECT {event_columns} FROM events WHERE {event_filter} ORDER BY id LIMIT :limit

-- name: events_of_agent
-- The same along the index of agents.
SELECT {event_columns} FROM events INDEXED BY event_of_agent
WHERE agent = :agent AND {event_filter} ORDER BY id LIMIT :limit

-- name: events_of_task
-- The same along the index of tasks.
SELECT {event_columns} FROM events INDEXED BY event_of_task
WHERE task = :task AND {event_filter} ORDER BY id LIMIT :limit

-- name: event_mark
-- The first marked event that is as new as this; every 64th carries a mark.
SELECT min(id) FROM events INDEXED BY event_mark WHERE id % 64 = 0 AND at >= :since_at

-- name: latest_event
-- The newest event's id.
SELECT max(id) FROM events

-- name: add_event
-- What happened.
INSERT INTO events (id, at, name, task, agent, session, actor, reason, data)
VALUES (:id, :at, :name, :task, :agent, :session, :actor, :reason, :data)

-- name: add_to_tally
-- Tasks of an agent in a state: more or fewer.
INSERT INTO tallies (agent, goal, state, count) VALUES (:agent, :goal, :state, :change)
ON CONFLICT (agent, goal, state) DO UPDATE SET count = count + excluded.count

-- name: add_to_total
-- A number of the whole fleet: more or fewer.
INSERT INTO totals (name, count) VALUES (:name, :change)
ON CONFLICT (name) DO UPDATE SET count = count + excluded.count

-- name: agent_tallies
-- Tasks of each agent by state.
SELECT agent, state, sum(count) FROM tallies WHERE agent != '' GROUP BY agent, state

-- name: agent_tally
-- Tasks of one agent by state.
SELECT state, sum(count) FROM tallies WHERE agent = :agent GROUP BY state

-- name: totals
-- The numbers of the whole fleet.
SELECT name, count FROM totals
