-- What servers and skills said, and what of it was accepted.

-- name: pin_columns
-- Columns in the order of rows.pin_of.
name, digest, text, accepted_at, accepted_by, seen_digest, seen_text, seen_at

-- name: pins
-- All of them, by name.
SELECT {pin_columns} FROM pins ORDER BY name

-- name: pin
-- One by its name.
SELECT {pin_columns} FROM pins WHERE name = :name

-- name: add_pin
-- Something that was never seen before: taken as it is.
INSERT INTO pins (name, digest, text, accepted_at, seen_digest, seen_text, seen_at)
VALUES (:name, :digest, :text, :now, :digest, :text, :now)

-- name: see_pin
-- How it is now; what was accepted stays.
UPDATE pins SET seen_digest = :digest, seen_text = :text, seen_at = :now WHERE name = :name

-- name: accept_pin
-- A person takes it as it was seen last.
UPDATE pins SET digest = seen_digest, text = seen_text, accepted_at = :now, accepted_by = :actor WHERE name = :name
