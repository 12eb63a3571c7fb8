-- People's tokens.

-- name: token_columns
-- Columns in the order of rows.token_of.
id, person, role, digest, added_at, added_by, revoked_at, revoked_by

-- name: tokens
-- Every token that there is or was, oldest first.
SELECT {token_columns} FROM tokens ORDER BY id

-- name: token_of
-- The token with a digest.
SELECT {token_columns} FROM tokens WHERE digest = :digest

-- name: add_token
-- A new one.
INSERT INTO tokens (id, person, role, digest, added_at, added_by)
VALUES (:id, :person, :role, :digest, :now, :actor)

-- name: revoke_token
-- It opens nothing any more.
UPDATE tokens SET revoked_at = :now, revoked_by = :actor WHERE id = :id AND revoked_at IS NULL
