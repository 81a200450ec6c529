-- name: AddAudit :exec
INSERT INTO audit_log (id, tenant_id, at, actor, action, subject, subject_id, reason, detail)
VALUES (@id, @tenant_id, @at, @actor, @action, @subject, @subject_id, sqlc.narg('reason'), @detail);

-- name: AuditLog :many
-- Newest first; before is the last id of the page before.
SELECT * FROM audit_log
WHERE tenant_id = @tenant_id
  AND id < @before
  AND (sqlc.narg('subject')::text IS NULL OR subject = sqlc.narg('subject'))
  AND (sqlc.narg('subject_id')::text IS NULL OR subject_id = sqlc.narg('subject_id'))
  AND (sqlc.narg('action')::text IS NULL OR action = sqlc.narg('action'))
  AND (sqlc.narg('actor')::text IS NULL OR actor = sqlc.narg('actor'))
ORDER BY id DESC
LIMIT @row_limit;
