-- UseAPIKey finds a key by its id and the hash of its text, and notes that it was used.
-- name: UseAPIKey :one
SELECT * FROM use_api_key(@id, @hash, @at);

-- name: AddAPIKey :exec
INSERT INTO api_keys (id, tenant_id, name, role, scopes, user_id, hash, created_at, created_by, expires_at, rotated_from)
VALUES (@id, @tenant_id, @name, @role, sqlc.narg(scopes), sqlc.narg(user_id), @hash, @created_at, @created_by,
    sqlc.narg(expires_at), sqlc.narg(rotated_from));

-- name: APIKey :one
SELECT * FROM api_keys WHERE tenant_id = @tenant_id AND id = @id;

-- name: LockAPIKey :one
SELECT * FROM api_keys WHERE tenant_id = @tenant_id AND id = @id FOR UPDATE;

-- APIKeys lists newest first what was made before a time and id.
-- name: APIKeys :many
SELECT * FROM api_keys
WHERE tenant_id = @tenant_id AND (created_at, id) < (@before::timestamptz, @before_id::text)
ORDER BY created_at DESC, id DESC
LIMIT @row_limit;

-- name: RevokeAPIKey :exec
UPDATE api_keys SET revoked_at = @at WHERE tenant_id = @tenant_id AND id = @id;

-- name: EndAPIKey :exec
UPDATE api_keys SET expires_at = @expires_at WHERE tenant_id = @tenant_id AND id = @id;

-- name: ReplacementOfAPIKey :one
SELECT id FROM api_keys WHERE tenant_id = @tenant_id AND rotated_from = @id LIMIT 1;

-- CountActiveAPIKeys tells whether anybody could come in with a key.
-- name: CountActiveAPIKeys :one
SELECT count_active_api_keys(@at);

-- name: AddTenant :execrows
INSERT INTO tenants (id, created_at) VALUES (@id, @created_at) ON CONFLICT (id) DO NOTHING;

-- name: Tenants :many
SELECT * FROM tenants ORDER BY id;

-- name: HasTenant :one
SELECT EXISTS (SELECT FROM tenants WHERE id = @id);

-- name: AddSession :exec
INSERT INTO sessions (hash, tenant_id, key_id, subject, user_id, role, created_at, last_seen_at, expires_at)
VALUES (@hash, @tenant_id, sqlc.narg(key_id), @subject, sqlc.narg(user_id), @role, @at, @at, @expires_at);

-- name: UseSession :one
SELECT * FROM use_session(@hash, @at, @seen_since);

-- name: EndSession :exec
SELECT end_session(@hash);

-- name: PruneSessions :execrows
DELETE FROM sessions AS s WHERE s.hash IN (SELECT o.hash FROM sessions AS o WHERE o.expires_at < @before LIMIT @row_limit);
