-- RecordBreakerChange may come twice, when a commit was not confirmed. A breaker that is gone has no state.
-- name: RecordBreakerChange :batchexec
WITH added AS (
    INSERT INTO breaker_changes (id, tenant_id, role, host, pid, kind, name, from_state, to_state, at, reason)
    VALUES (@id, sqlc.narg(tenant_id), @role, @host, @pid, @kind, @name, @from_state, @to_state, @at, @reason)
    ON CONFLICT (id) DO NOTHING
), gone AS (
    DELETE FROM breaker_states AS s
    WHERE @to_state = 'GONE' AND s.role = @role AND s.host = @host AND s.pid = @pid AND s.kind = @kind AND s.name = @name
        AND s.tenant_id IS NOT DISTINCT FROM sqlc.narg(tenant_id) AND s.change_id < @id
)
INSERT INTO breaker_states (tenant_id, role, host, pid, kind, name, state, since, change_id)
SELECT sqlc.narg(tenant_id), @role, @host, @pid, @kind, @name, @to_state, @at, @id
WHERE @to_state <> 'GONE'
ON CONFLICT (role, host, pid, kind, name, tenant_id) DO UPDATE
SET state = excluded.state, since = excluded.since, change_id = excluded.change_id
WHERE breaker_states.change_id < excluded.change_id;

-- name: BreakerStates :many
SELECT * FROM breaker_states
WHERE tenant_id IS NULL OR tenant_id = @tenant_id
ORDER BY kind, name, role, host, pid;

-- name: BreakersOn :many
SELECT * FROM breakers_on(@role, @host);

-- BreakerChanges lists newest first what came before an id. It takes a page of each kind and state from the
-- index, so that what is rare is not looked for among all others. With an equality and no order by state the
-- plan may walk all changes backwards by id to find that there is none.
-- name: BreakerChanges :many
SELECT sqlc.embed(breaker_changes)
FROM (SELECT unnest(@kinds::text[]) AS kind) AS k
CROSS JOIN (SELECT unnest(@to_states::text[]) AS to_state) AS s
CROSS JOIN LATERAL (
    SELECT c.id FROM breaker_changes AS c
    WHERE c.kind = k.kind AND c.to_state BETWEEN s.to_state AND s.to_state AND c.id < @before
        AND (c.tenant_id IS NULL OR c.tenant_id = @tenant_id)
    ORDER BY c.to_state, c.id DESC
    LIMIT @row_limit::integer
) AS newest
JOIN breaker_changes ON breaker_changes.id = newest.id
ORDER BY breaker_changes.id DESC
LIMIT @row_limit::integer;

-- BreakerChangesOfName is a statement of its own, so that its plan has the index of names.
-- name: BreakerChangesOfName :many
SELECT * FROM breaker_changes
WHERE kind = @kind AND name = @name AND id < @before AND (tenant_id IS NULL OR tenant_id = @tenant_id)
    AND (sqlc.narg(to_state)::text IS NULL OR to_state = sqlc.narg(to_state))
ORDER BY id DESC
LIMIT @row_limit;

-- PruneBreakerChanges forgets states of that age too: whether those processes still are is not known.
-- name: PruneBreakerChanges :execrows
WITH forgotten AS (
    DELETE FROM breaker_states WHERE since < @changed_before::timestamptz
)
DELETE FROM breaker_changes WHERE id = ANY(ARRAY(
    SELECT c.id FROM breaker_changes AS c WHERE c.id < @before ORDER BY c.id LIMIT @row_limit)::uuid[]);
