-- name: AddDestination :execrows
INSERT INTO destinations (
    id, tenant_id, name, channel, description, enabled, shown, sealed, revision, created_at, updated_at
) VALUES (
    @id, @tenant_id, @name, @channel, @description, @enabled, @shown, @sealed, @revision, @created_at, @updated_at
)
ON CONFLICT (tenant_id, name) DO NOTHING;

-- name: Destination :one
SELECT * FROM destinations WHERE tenant_id = @tenant_id AND name = @name;

-- name: Destinations :many
SELECT * FROM destinations
WHERE tenant_id = @tenant_id AND name > @after
ORDER BY name
LIMIT @row_limit;

-- UpdateDestination replaces one that has not changed since it was read.
-- name: UpdateDestination :execrows
UPDATE destinations
SET description = @description, enabled = @enabled, shown = @shown, sealed = @sealed,
    revision = revision + 1, updated_at = @updated_at
WHERE tenant_id = @tenant_id AND name = @name AND revision = @former_revision;

-- name: DeleteDestination :execrows
DELETE FROM destinations WHERE tenant_id = @tenant_id AND name = @name AND revision = @revision;

-- name: LockDestination :one
SELECT revision FROM destinations WHERE tenant_id = @tenant_id AND name = @name FOR UPDATE;

-- SealedDestinations walks over all tenants' in order of id.
-- name: SealedDestinations :many
SELECT id, tenant_id, name, sealed FROM destinations WHERE id > @after ORDER BY id LIMIT @row_limit;

-- ResealDestination replaces what is sealed, unless it has changed since it was read.
-- name: ResealDestination :execrows
UPDATE destinations SET sealed = @sealed WHERE id = @id AND sealed = @former;
