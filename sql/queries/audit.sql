-- name: AddAudit :exec
INSERT INTO audit_log (id, tenant_id, at, actor, action, subject, subject_id, reason, detail)
VALUES (@id, @tenant_id, @at, @actor, @action, @subject, @subject_id, sqlc.narg('reason'), @detail);

-- name: AuditLog :many
-- Newest first; before is the last id of the page before.
--
-- There is one statement for each index, as with lists of events. What can select less than the
-- statement's own filter is optional in it.
SELECT * FROM audit_log
WHERE tenant_id = @tenant_id
  AND id < @before
ORDER BY id DESC
LIMIT @row_limit;

-- name: AuditLogOfSubjectID :many
SELECT * FROM audit_log
WHERE tenant_id = @tenant_id
  AND subject_id = @subject_id
  AND id < @before
  AND (sqlc.narg('subject')::text IS NULL OR subject = sqlc.narg('subject'))
  AND (sqlc.narg('action')::text IS NULL OR action = sqlc.narg('action'))
  AND (sqlc.narg('actor')::text IS NULL OR actor = sqlc.narg('actor'))
ORDER BY id DESC
LIMIT @row_limit;

-- name: AuditLogOfActor :many
SELECT * FROM audit_log
WHERE tenant_id = @tenant_id
  AND actor = @actor
  AND id < @before
  AND (sqlc.narg('subject')::text IS NULL OR subject = sqlc.narg('subject'))
  AND (sqlc.narg('action')::text IS NULL OR action = sqlc.narg('action'))
ORDER BY id DESC
LIMIT @row_limit;

-- name: AuditLogOfAction :many
SELECT * FROM audit_log
WHERE tenant_id = @tenant_id
  AND action = @action
  AND id < @before
  AND (sqlc.narg('subject')::text IS NULL OR subject = sqlc.narg('subject'))
ORDER BY id DESC
LIMIT @row_limit;

-- name: AuditLogOfSubject :many
SELECT * FROM audit_log
WHERE tenant_id = @tenant_id
  AND subject = @subject
  AND id < @before
ORDER BY id DESC
LIMIT @row_limit;
