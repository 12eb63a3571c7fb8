-- What people decided, changed and stopped.

-- name: audit_columns
-- Columns in the order of the fields of an AuditRow.
incarnation, seq, at, body, previous, digest

-- name: audit
-- Rows behind one of them, in order.
SELECT {audit_columns} FROM audit WHERE (incarnation, seq) > (:incarnation, :seq) ORDER BY incarnation, seq LIMIT :limit

-- name: audit_row
-- One row.
SELECT {audit_columns} FROM audit WHERE incarnation = :incarnation AND seq = :seq

-- name: audit_end
-- The end of a chain.
SELECT seq, digest FROM audit WHERE incarnation = :incarnation ORDER BY seq DESC LIMIT 1

-- name: audit_latest
-- The newest rows first.
SELECT {audit_columns} FROM audit ORDER BY incarnation DESC, seq DESC LIMIT :limit

-- name: add_audit
-- A row at the end of its chain.
INSERT INTO audit ({audit_columns}) VALUES (:incarnation, :seq, :at, :body, :previous, :digest)

-- name: last_node
-- The newest incarnation.
SELECT max(id) FROM nodes
