-- name: CountLetters :one
-- How many letters an operation would take on; counting ends at row_limit. With its id and last_id, how many
-- of them it has not had, those that somebody else is at included.
SELECT count(*) FROM (
SELECT FROM alert_dlq AS l
WHERE l.tenant_id = @tenant_id
  AND (sqlc.narg('last_id')::uuid IS NULL OR l.id <= sqlc.narg('last_id'))
  AND (sqlc.narg('operation_id')::uuid IS NULL OR l.operation_id IS NULL OR l.operation_id < sqlc.narg('operation_id')
       OR EXISTS (SELECT FROM alert_dlq_operations o WHERE o.id = l.operation_id AND o.kind = 'drain'))
  AND l.state = ANY(@states::text[])
  AND (sqlc.narg('sendable_at')::timestamptz IS NULL OR (
       (l.expires_at IS NULL OR l.expires_at > sqlc.narg('sendable_at'))
       AND NOT EXISTS (SELECT FROM alert_events r
                       WHERE r.tenant_id = l.tenant_id AND r.subject = l.subject AND r.resolves AND r.accepted_at > l.accepted_at)))
  AND (sqlc.narg('channel')::text IS NULL OR l.channel = sqlc.narg('channel'))
  AND (sqlc.narg('target')::text IS NULL OR l.target = sqlc.narg('target'))
  AND (sqlc.narg('alert_id')::text IS NULL OR l.alert_id = sqlc.narg('alert_id'))
  AND (sqlc.narg('user_id')::text IS NULL OR l.user_id = sqlc.narg('user_id'))
  AND (sqlc.narg('cause')::text IS NULL OR l.cause = sqlc.narg('cause'))
  AND (sqlc.narg('of_operation')::uuid IS NULL OR l.operation_id = sqlc.narg('of_operation'))
  AND (sqlc.narg('created_after')::timestamptz IS NULL OR l.created_at >= sqlc.narg('created_after'))
  AND (sqlc.narg('created_before')::timestamptz IS NULL OR l.created_at < sqlc.narg('created_before'))
  AND (sqlc.narg('search')::text IS NULL
       OR position(lower(sqlc.narg('search')) IN lower(l.alert_data ->> 'title')) > 0
       OR position(lower(sqlc.narg('search')) IN lower(l.alert_data ->> 'message')) > 0
       OR position(lower(sqlc.narg('search')) IN lower(l.error_message)) > 0)
LIMIT @row_limit) AS letter;

-- name: SampleLetters :many
-- The oldest of the letters that an operation would take on.
SELECT l.id FROM alert_dlq AS l
WHERE l.tenant_id = @tenant_id
  AND l.state = ANY(@states::text[])
  AND (sqlc.narg('sendable_at')::timestamptz IS NULL OR (
       (l.expires_at IS NULL OR l.expires_at > sqlc.narg('sendable_at'))
       AND NOT EXISTS (SELECT FROM alert_events r
                       WHERE r.tenant_id = l.tenant_id AND r.subject = l.subject AND r.resolves AND r.accepted_at > l.accepted_at)))
  AND (sqlc.narg('channel')::text IS NULL OR l.channel = sqlc.narg('channel'))
  AND (sqlc.narg('target')::text IS NULL OR l.target = sqlc.narg('target'))
  AND (sqlc.narg('alert_id')::text IS NULL OR l.alert_id = sqlc.narg('alert_id'))
  AND (sqlc.narg('user_id')::text IS NULL OR l.user_id = sqlc.narg('user_id'))
  AND (sqlc.narg('cause')::text IS NULL OR l.cause = sqlc.narg('cause'))
  AND (sqlc.narg('of_operation')::uuid IS NULL OR l.operation_id = sqlc.narg('of_operation'))
  AND (sqlc.narg('created_after')::timestamptz IS NULL OR l.created_at >= sqlc.narg('created_after'))
  AND (sqlc.narg('created_before')::timestamptz IS NULL OR l.created_at < sqlc.narg('created_before'))
  AND (sqlc.narg('search')::text IS NULL
       OR position(lower(sqlc.narg('search')) IN lower(l.alert_data ->> 'title')) > 0
       OR position(lower(sqlc.narg('search')) IN lower(l.alert_data ->> 'message')) > 0
       OR position(lower(sqlc.narg('search')) IN lower(l.error_message)) > 0)
ORDER BY l.id
LIMIT @row_limit;

-- name: LockLetters :many
-- The next letters of an operation, oldest first. What somebody else is at is passed over; the
-- operation comes back to it. What a later operation has taken on is left to it: two that took letters
-- from each other would send what fails again and again. Not so a drain, which nobody has asked for: it begins
-- when a replay's first letters get through, takes none of one that runs, and gives its own up to one.
SELECT l.id, l.event_id, l.target, l.job_id, l.traceparent FROM alert_dlq AS l
WHERE l.tenant_id = @tenant_id
  AND l.id > @behind AND l.id <= @last_id
  AND (l.operation_id IS NULL OR l.operation_id < @operation_id::uuid
       OR EXISTS (SELECT FROM alert_dlq_operations o WHERE o.id = l.operation_id AND o.kind = 'drain'))
  AND l.state = ANY(@states::text[])
  AND (sqlc.narg('sendable_at')::timestamptz IS NULL OR (
       (l.expires_at IS NULL OR l.expires_at > sqlc.narg('sendable_at'))
       AND NOT EXISTS (SELECT FROM alert_events r
                       WHERE r.tenant_id = l.tenant_id AND r.subject = l.subject AND r.resolves AND r.accepted_at > l.accepted_at)))
  AND (sqlc.narg('channel')::text IS NULL OR l.channel = sqlc.narg('channel'))
  AND (sqlc.narg('target')::text IS NULL OR l.target = sqlc.narg('target'))
  AND (sqlc.narg('alert_id')::text IS NULL OR l.alert_id = sqlc.narg('alert_id'))
  AND (sqlc.narg('user_id')::text IS NULL OR l.user_id = sqlc.narg('user_id'))
  AND (sqlc.narg('cause')::text IS NULL OR l.cause = sqlc.narg('cause'))
  AND (sqlc.narg('of_operation')::uuid IS NULL OR l.operation_id = sqlc.narg('of_operation'))
  AND (sqlc.narg('created_after')::timestamptz IS NULL OR l.created_at >= sqlc.narg('created_after'))
  AND (sqlc.narg('created_before')::timestamptz IS NULL OR l.created_at < sqlc.narg('created_before'))
  AND (sqlc.narg('search')::text IS NULL
       OR position(lower(sqlc.narg('search')) IN lower(l.alert_data ->> 'title')) > 0
       OR position(lower(sqlc.narg('search')) IN lower(l.alert_data ->> 'message')) > 0
       OR position(lower(sqlc.narg('search')) IN lower(l.error_message)) > 0)
ORDER BY l.id
LIMIT @row_limit
FOR UPDATE SKIP LOCKED;

-- name: LockWaitingLetters :many
-- The next letters of a drain: those of an endpoint whose retry is not due yet, and that no later
-- operation, and none of an operator's that still runs, has taken on.
SELECT l.id, l.event_id, l.target, l.job_id, l.traceparent FROM alert_dlq AS l
WHERE l.tenant_id = @tenant_id AND l.endpoint = @endpoint AND l.state = 'pending'
  AND l.id > @behind AND l.id <= @last_id
  AND (l.operation_id IS NULL OR l.operation_id < @operation_id::uuid
       AND NOT EXISTS (SELECT FROM alert_dlq_operations o WHERE o.id = l.operation_id AND o.kind <> 'drain' AND o.state = 'running'))
  AND l.next_retry_at > @now::timestamptz
  AND (l.expires_at IS NULL OR l.expires_at > @now)
ORDER BY l.id
LIMIT @row_limit
FOR UPDATE SKIP LOCKED;

-- name: CountWaitingLetters :one
-- How many letters a drain would take on, or has not had: as CountLetters.
SELECT count(*) FROM (
SELECT FROM alert_dlq AS l
WHERE l.tenant_id = @tenant_id AND l.endpoint = @endpoint AND l.state = 'pending' AND l.next_retry_at > @now::timestamptz
  AND (l.expires_at IS NULL OR l.expires_at > @now)
  AND (sqlc.narg('last_id')::uuid IS NULL OR l.id <= sqlc.narg('last_id'))
  AND (sqlc.narg('operation_id')::uuid IS NULL OR l.operation_id IS NULL OR l.operation_id < sqlc.narg('operation_id')
       AND NOT EXISTS (SELECT FROM alert_dlq_operations o WHERE o.id = l.operation_id AND o.kind <> 'drain' AND o.state = 'running'))
LIMIT @row_limit) AS letter;

-- name: LockLetter :one
-- One letter that an operator acts on, and whether a later event has ended what it is about.
SELECT sqlc.embed(l), EXISTS (
    SELECT FROM alert_events r
    WHERE r.tenant_id = l.tenant_id AND r.subject = l.subject AND r.resolves AND r.accepted_at > l.accepted_at)::boolean AS resolved
FROM alert_dlq AS l
WHERE l.tenant_id = @tenant_id AND l.id = @id
FOR UPDATE OF l;

-- name: DropIdleJobs :exec
-- The jobs of letters that are about to get new ones, or none. A job that runs stays: it may be
-- sending right now. Nobody begins one while this transaction has it.
DELETE FROM river_job WHERE id IN (
    SELECT j.id FROM river_job j WHERE j.id = ANY(@ids::bigint[]) AND j.state <> 'running' FOR UPDATE SKIP LOCKED);

-- name: RemainingJobs :many
SELECT id FROM river_job WHERE id = ANY(@ids::bigint[]);

-- name: ReleaseLetters :execrows
-- Letters become due under new jobs. A replay starts their schedule again, a drain does not.
UPDATE alert_dlq AS d
SET state = 'pending', next_retry_at = l.next_retry_at, job_id = l.job_id, held_by = NULL, closed_at = NULL,
    operation_id = coalesce(sqlc.narg('operation_id')::uuid, d.operation_id),
    retry_count = CASE WHEN @restart::boolean THEN 0 ELSE d.retry_count END,
    interruptions = CASE WHEN @restart THEN 0 ELSE d.interruptions END
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@job_ids::bigint[]) AS job_id, unnest(@next_retry_ats::timestamptz[]) AS next_retry_at) AS l
WHERE d.id = l.id;

-- name: DiscardLetters :execrows
-- Letters are closed unsent, and give back the keys by which repetitions are told.
WITH letter AS (
    UPDATE alert_dlq AS d
    SET state = 'discarded', closed_at = @now::timestamptz, next_retry_at = NULL, job_id = NULL, held_by = NULL,
        operation_id = coalesce(sqlc.narg('operation_id')::uuid, d.operation_id)
    WHERE d.id = ANY(@ids::uuid[])
    RETURNING d.event_id, d.target
)
DELETE FROM alert_dedup AS k USING letter l WHERE k.event_id = l.event_id AND k.target = l.target;

-- name: AddOperation :exec
INSERT INTO alert_dlq_operations (id, tenant_id, kind, filter, endpoint, actor, reason, per_second, stop_after_failures, state,
                                  total, last_id, progress_at, job_id, started_at)
VALUES (@id, @tenant_id, @kind, @filter, @endpoint, @actor, sqlc.narg('reason'), @per_second, @stop_after_failures, 'running',
        @total, @last_id, @started_at, @job_id::bigint, @started_at);

-- name: AddDrain :execrows
-- No row: one is under way.
INSERT INTO alert_dlq_operations (id, tenant_id, kind, filter, endpoint, actor, per_second, stop_after_failures, state,
                                  total, last_id, progress_at, started_at)
VALUES (@id, @tenant_id, 'drain', '{}', @endpoint, @actor, @per_second, @stop_after_failures, 'running',
        @total, @id, @started_at, @started_at)
ON CONFLICT (tenant_id, endpoint) WHERE kind = 'drain' AND state = 'running' DO NOTHING;

-- name: RunningDrain :one
SELECT * FROM alert_dlq_operations
WHERE tenant_id = @tenant_id AND endpoint = @endpoint AND kind = 'drain' AND state = 'running'
FOR UPDATE;

-- name: SetOperationJob :exec
UPDATE alert_dlq_operations SET job_id = @job_id::bigint WHERE id = @id;

-- name: JobLives :one
SELECT EXISTS (SELECT FROM river_job WHERE id = @id AND state NOT IN ('cancelled', 'completed', 'discarded'));

-- name: Operation :one
SELECT * FROM alert_dlq_operations WHERE tenant_id = @tenant_id AND id = @id;

-- name: LockOperation :one
SELECT * FROM alert_dlq_operations WHERE tenant_id = @tenant_id AND id = @id FOR UPDATE;

-- name: LockOperationForJob :one
SELECT * FROM alert_dlq_operations WHERE id = @id AND job_id = @job_id::bigint AND state = 'running' FOR UPDATE;

-- name: Operations :many
-- Newest first; before is the last id of the page before.
SELECT * FROM alert_dlq_operations
WHERE tenant_id = @tenant_id AND id < @before
ORDER BY id DESC
LIMIT @row_limit;

-- name: RunningOperations :many
SELECT * FROM alert_dlq_operations
WHERE tenant_id = @tenant_id AND state = 'running'
ORDER BY id DESC
LIMIT @row_limit;

-- name: OperationProgress :many
-- What became of the letters that operations have released. An interrupted attempt says nothing: its
-- letter waits, unless it was given up for its interruptions. failures counts letters that have failed
-- under the operation, failed those of them that are not delivered, waiting those without an outcome,
-- held those whose endpoint is not tried now, closed those that were closed before they had one. What
-- was delivered under the operation is counted from the index alone, it is most of it.
SELECT o.id,
    ((SELECT count(*) FROM alert_attempts a WHERE a.operation_id = o.id AND a.outcome = 'delivered')
    + (SELECT count(DISTINCT (a.event_id, a.target)) FROM alert_attempts a
       JOIN alert_deliveries s ON s.event_id = a.event_id AND s.target = a.target
       WHERE a.operation_id = o.id AND a.outcome IN ('failed', 'interrupted')
         AND NOT EXISTS (SELECT FROM alert_attempts b
                         WHERE b.event_id = a.event_id AND b.target = a.target AND b.operation_id = o.id AND b.outcome = 'delivered')))::bigint AS delivered,
    (SELECT count(DISTINCT (a.event_id, a.target)) FROM alert_attempts a WHERE a.operation_id = o.id AND a.outcome = 'failed') AS failures,
    ((SELECT count(DISTINCT (a.event_id, a.target)) FROM alert_attempts a
     WHERE a.operation_id = o.id AND a.outcome = 'failed'
       AND NOT EXISTS (SELECT FROM alert_deliveries s WHERE s.event_id = a.event_id AND s.target = a.target))
    + d.exhausted)::bigint AS failed,
    d.waiting, d.closed,
    (SELECT count(*) FROM alert_dlq d WHERE d.operation_id = o.id AND d.state = 'pending' AND d.held_by IS NOT NULL) AS held
FROM alert_dlq_operations o
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE l.state = 'pending') AS waiting, count(*) FILTER (WHERE l.state = 'exhausted') AS exhausted,
           count(*) FILTER (WHERE l.state IN ('discarded', 'expired', 'superseded')) AS closed
    FROM alert_dlq l
    WHERE l.operation_id = o.id
      AND NOT EXISTS (SELECT FROM alert_attempts a
                      WHERE a.operation_id = o.id AND a.outcome = 'failed' AND a.event_id = l.event_id AND a.target = l.target)
) AS d
WHERE o.id = ANY(@ids::uuid[]);

-- name: AdvanceOperation :exec
UPDATE alert_dlq_operations
SET released = @released, cursor_id = @cursor_id, slices = @slices, progress = @progress, progress_at = @progress_at
WHERE id = @id;

-- name: EndOperation :exec
UPDATE alert_dlq_operations
SET state = @state, stop_reason = sqlc.narg('stop_reason'), ended_at = @ended_at::timestamptz, job_id = NULL
WHERE id = @id;

-- name: ContinueOperation :exec
UPDATE alert_dlq_operations
SET state = 'running', stop_reason = NULL, ended_at = NULL, job_id = @job_id::bigint, slices = 0,
    failures_before = @failures_before, progress_at = @now
WHERE id = @id;

-- name: OpenLetterGroups :many
-- Open letters by where they are bound for and why they failed; looking ends at row_limit letters,
-- oldest first, so that the ages hold even then.
SELECT channel, target, cause, state, count(*) AS letters, min(created_at)::timestamptz AS oldest
FROM (SELECT d.channel, d.target, d.cause, d.state, d.created_at FROM alert_dlq d
      WHERE d.tenant_id = @tenant_id AND d.state IN ('pending', 'exhausted')
      ORDER BY d.id LIMIT @row_limit) AS letter
GROUP BY channel, target, cause, state
ORDER BY letters DESC, channel, target, cause, state;

-- name: LetterCounts :many
-- How many letters match, by state and cause, and since when. Looking ends at row_limit letters, whichever
-- come first: in order of age, it could not be answered from an index alone.
SELECT state, cause, count(*) AS letters, min(created_at)::timestamptz AS oldest
FROM (SELECT l.state, l.cause, l.created_at FROM alert_dlq l
      WHERE l.tenant_id = @tenant_id
        AND (sqlc.narg('states')::text[] IS NULL OR l.state = ANY(sqlc.narg('states')))
        AND (sqlc.narg('channel')::text IS NULL OR l.channel = sqlc.narg('channel'))
        AND (sqlc.narg('target')::text IS NULL OR l.target = sqlc.narg('target'))
        AND (sqlc.narg('alert_id')::text IS NULL OR l.alert_id = sqlc.narg('alert_id'))
        AND (sqlc.narg('user_id')::text IS NULL OR l.user_id = sqlc.narg('user_id'))
        AND (sqlc.narg('cause')::text IS NULL OR l.cause = sqlc.narg('cause'))
        AND (sqlc.narg('operation_id')::uuid IS NULL OR l.operation_id = sqlc.narg('operation_id'))
        AND (sqlc.narg('created_after')::timestamptz IS NULL OR l.created_at >= sqlc.narg('created_after'))
        AND (sqlc.narg('created_before')::timestamptz IS NULL OR l.created_at < sqlc.narg('created_before'))
        AND (sqlc.narg('search')::text IS NULL
             OR position(lower(sqlc.narg('search')) IN lower(l.alert_data ->> 'title')) > 0
             OR position(lower(sqlc.narg('search')) IN lower(l.alert_data ->> 'message')) > 0
             OR position(lower(sqlc.narg('search')) IN lower(l.error_message)) > 0)
      LIMIT @row_limit) AS letter
GROUP BY state, cause
ORDER BY letters DESC, state, cause;

-- name: PeriodicRuns :many
-- The newest run of each kind. The rows of a kind are as many as River's retention leaves.
WITH run AS MATERIALIZED (
    SELECT id, kind, state::text AS state, created_at, attempted_at, finalized_at FROM river_job WHERE kind = ANY(@kinds::text[])
)
SELECT DISTINCT ON (kind) kind, state, created_at, attempted_at, finalized_at
FROM run ORDER BY kind, id DESC;

-- name: JobUnderWay :one
SELECT EXISTS (SELECT FROM river_job WHERE kind = @kind AND state IN ('available', 'pending', 'retryable', 'running', 'scheduled'));
