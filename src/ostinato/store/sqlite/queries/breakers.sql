-- Circuit breakers.

-- name: breaker_columns
-- Columns in the order of the fields of a Breaker.
name, state, failures, since_at, until_at, opened, probe, reason

-- name: breakers
-- Every breaker that is not simply closed.
SELECT {breaker_columns} FROM breakers ORDER BY name

-- name: breaker
-- One of them.
SELECT {breaker_columns} FROM breakers WHERE name = :name

-- name: prunable_breakers
-- Those that failed long ago, and would let anybody look.
SELECT name FROM breakers WHERE since_at < :until AND until_at < :until ORDER BY name LIMIT :limit

-- name: put_breaker
-- How it stands now.
INSERT INTO breakers ({breaker_columns}) VALUES (
    :name, :state, :failures, :since_at, :until_at, :opened, :probe, :reason
)
ON CONFLICT (name) DO UPDATE SET
    state = excluded.state, failures = excluded.failures, since_at = excluded.since_at, until_at = excluded.until_at,
    opened = excluded.opened, probe = excluded.probe, reason = excluded.reason

-- name: drop_breaker
-- It is closed, and nothing is held against anybody.
DELETE FROM breakers WHERE name = :name
