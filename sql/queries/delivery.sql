-- name: AcceptEvent :exec
-- The event and an in-flight row for each channel, in one statement.
WITH event AS (
    INSERT INTO alert_events (id, tenant_id, alert_id, user_id, title, message, severity, data, channels, traceparent, accepted_at)
    VALUES (@id, @tenant_id, @alert_id, @user_id, @title, @message, @severity, @data, @channels, sqlc.narg('traceparent'), @accepted_at)
)
INSERT INTO alert_inflight (event_id, channel, tenant_id, accepted_at)
SELECT @id, unnest(@channel_names::text[]), @tenant_id, @accepted_at;

-- name: RecordFirstDelivered :execrows
-- In flight to delivered. No row: it is no longer in flight.
WITH moved AS (
    DELETE FROM alert_inflight AS i WHERE i.event_id = @event_id AND i.channel = @channel RETURNING i.event_id
), attempt AS (
    INSERT INTO alert_attempts (event_id, channel, attempt, tenant_id, started_at, duration_seconds, outcome, status_code, response_excerpt, trace_id)
    SELECT event_id, @channel, 1, @tenant_id, @started_at, @duration_seconds, 'delivered', sqlc.narg('status_code'), sqlc.narg('response_excerpt'), sqlc.narg('trace_id') FROM moved
)
INSERT INTO alert_deliveries (id, tenant_id, event_id, channel, alert_id, user_id, content_hash, delivery_methods, attempts, accepted_at, delivered_at, trace_id)
SELECT @id, @tenant_id, event_id, @channel, @alert_id, @user_id, @content_hash, @delivery_methods, 1, @accepted_at, @delivered_at, sqlc.narg('trace_id') FROM moved;

-- name: RecordFirstFailed :execrows
-- In flight to dead letter. No row: it is no longer in flight.
WITH moved AS (
    DELETE FROM alert_inflight AS i WHERE i.event_id = @event_id AND i.channel = @channel RETURNING i.event_id
), attempt AS (
    INSERT INTO alert_attempts (event_id, channel, attempt, tenant_id, started_at, duration_seconds, outcome, cause, status_code, error, response_excerpt, trace_id)
    SELECT event_id, @channel, 1, @tenant_id, @started_at, @duration_seconds, @outcome, @cause, sqlc.narg('status_code'), @error_message, sqlc.narg('response_excerpt'), sqlc.narg('trace_id') FROM moved
)
INSERT INTO alert_dlq (id, tenant_id, event_id, channel, alert_id, user_id, content_hash, alert_data, state, cause, error_message, attempts, accepted_at, created_at, next_retry_at, job_id, trace_id, traceparent)
SELECT @id, @tenant_id, event_id, @channel, @alert_id, @user_id, @content_hash, @alert_data, @state, @cause, @error_message, 1, @accepted_at, @created_at, sqlc.narg('next_retry_at'), sqlc.narg('job_id'), sqlc.narg('trace_id'), sqlc.narg('traceparent') FROM moved;

-- name: RecordLateDelivered :execrows
-- An attempt succeeded after the reconciler had given it up for interrupted: the dead letter
-- leaves, wherever its path has led it since, and the attempt's outcome is known after all.
WITH letter AS (
    DELETE FROM alert_dlq AS d WHERE d.event_id = @event_id AND d.channel = @channel RETURNING d.*, @attempt::integer AS number
), attempt AS (
    INSERT INTO alert_attempts (event_id, channel, attempt, tenant_id, started_at, duration_seconds, outcome, status_code, response_excerpt, trace_id)
    SELECT event_id, channel, number, tenant_id, @started_at, @duration_seconds, 'delivered', sqlc.narg('status_code'), sqlc.narg('response_excerpt'), sqlc.narg('trace_id') FROM letter
    ON CONFLICT (event_id, channel, attempt) DO UPDATE
    SET outcome = 'delivered', cause = NULL, error = NULL, started_at = excluded.started_at, duration_seconds = excluded.duration_seconds,
        status_code = excluded.status_code, response_excerpt = excluded.response_excerpt, trace_id = excluded.trace_id
)
INSERT INTO alert_deliveries (id, tenant_id, event_id, channel, alert_id, user_id, content_hash, delivery_methods, attempts, accepted_at, delivered_at, trace_id)
SELECT @id, tenant_id, event_id, channel, alert_id, user_id, content_hash, @delivery_methods, GREATEST(attempts, number) AS attempts, accepted_at, @delivered_at, coalesce(trace_id, sqlc.narg('trace_id')) AS trace_id FROM letter;

-- name: DeadLetterID :one
SELECT id FROM alert_dlq WHERE event_id = @event_id AND channel = @channel;

-- name: DeadLetterForJob :one
SELECT * FROM alert_dlq WHERE id = @id AND job_id = @job_id::bigint AND state = 'pending';

-- name: RecordRetryDelivered :execrows
-- Dead letter to delivered. No row: another job has taken the letter over.
WITH letter AS (
    DELETE FROM alert_dlq AS d WHERE d.id = @letter_id AND d.job_id = @job_id::bigint RETURNING d.*
), attempt AS (
    INSERT INTO alert_attempts (event_id, channel, attempt, tenant_id, started_at, duration_seconds, outcome, status_code, response_excerpt, trace_id)
    SELECT event_id, channel, @attempt, tenant_id, @started_at, @duration_seconds, 'delivered', sqlc.narg('status_code'), sqlc.narg('response_excerpt'), sqlc.narg('attempt_trace_id') FROM letter
)
INSERT INTO alert_deliveries (id, tenant_id, event_id, channel, alert_id, user_id, content_hash, delivery_methods, attempts, accepted_at, delivered_at, trace_id)
SELECT @id, tenant_id, event_id, channel, alert_id, user_id, content_hash, @delivery_methods, @attempt, accepted_at, @delivered_at, trace_id FROM letter;

-- name: RecordRetryFailed :execrows
-- The letter stays: pending with its next time, or exhausted and without a job. No row: another
-- job has taken the letter over, or this attempt is recorded already.
WITH letter AS (
    UPDATE alert_dlq AS d
    SET retry_count = d.retry_count + 1, attempts = @attempt, state = @state, cause = @cause, error_message = @error_message,
        last_retry_at = @started_at, next_retry_at = sqlc.narg('next_retry_at'),
        job_id = CASE WHEN @state::text = 'pending' THEN d.job_id END
    WHERE d.id = @letter_id AND d.job_id = @job_id::bigint AND d.state = 'pending' AND d.attempts < @attempt
    RETURNING d.event_id, d.channel, d.tenant_id
)
INSERT INTO alert_attempts (event_id, channel, attempt, tenant_id, started_at, duration_seconds, outcome, cause, status_code, error, response_excerpt, trace_id)
SELECT event_id, channel, @attempt, tenant_id, @started_at, @duration_seconds, 'failed', @cause, sqlc.narg('status_code'), @error_message, sqlc.narg('response_excerpt'), sqlc.narg('trace_id') FROM letter;

-- name: LockInterrupted :many
-- Events whose first attempt has no recorded outcome on a channel, oldest first.
SELECT i.channel, sqlc.embed(e)
FROM alert_inflight i
JOIN alert_events e ON e.id = i.event_id
WHERE i.accepted_at < @accepted_before
ORDER BY i.accepted_at
LIMIT @row_limit
FOR UPDATE OF i SKIP LOCKED;

-- name: OneAtATime :exec
-- Held to the end of the transaction. SKIP LOCKED alone does not keep two looks for orphans
-- apart: a row that the other has mended and committed since our statement began is checked again
-- as it now is, but joined to the job that it had, so that it would be mended twice.
SELECT pg_advisory_xact_lock(hashtextextended('dawsos orphans', 0));

-- name: LockOrphans :many
-- Pending letters that are due, without a job that is waiting or alive. River finishes a job
-- whose worker died as discarded, or leaves it running with a start long ago.
SELECT l.id, l.event_id, l.channel, l.tenant_id, l.attempts, l.interruptions, l.next_retry_at, l.traceparent,
       j.attempted_at
FROM alert_dlq l
LEFT JOIN river_job j ON j.id = l.job_id
WHERE l.state = 'pending' AND l.next_retry_at < @now::timestamptz
  AND (j.id IS NULL
       OR j.state IN ('cancelled', 'completed', 'discarded')
       OR j.state = 'running' AND j.attempted_at < @running_before::timestamptz)
ORDER BY l.next_retry_at
LIMIT @row_limit
FOR UPDATE OF l SKIP LOCKED;

-- name: RescheduleOrphan :exec
UPDATE alert_dlq
SET job_id = sqlc.narg('job_id'), next_retry_at = sqlc.narg('next_retry_at'), state = @state,
    attempts = @attempts, interruptions = @interruptions, cause = @cause, error_message = @error_message
WHERE id = @id;

-- name: ReattachOrphan :exec
UPDATE alert_dlq SET job_id = sqlc.narg('job_id') WHERE id = @id;

-- name: AddInterruptedAttempt :exec
INSERT INTO alert_attempts (event_id, channel, attempt, tenant_id, started_at, duration_seconds, outcome, cause, error)
VALUES (@event_id, @channel, @attempt, @tenant_id, @started_at, @duration_seconds, 'interrupted', 'interrupted', @error);

-- name: AddNotification :exec
INSERT INTO notifications (id, tenant_id, user_id, event_id, alert_id, title, message, severity, data, created_at)
VALUES (@id, @tenant_id, @user_id, @event_id, @alert_id, @title, @message, @severity, @data, @created_at)
ON CONFLICT (event_id) DO NOTHING;

-- name: Event :one
SELECT * FROM alert_events WHERE tenant_id = @tenant_id AND id = @id;

-- name: EventAttempts :many
SELECT * FROM alert_attempts WHERE tenant_id = @tenant_id AND event_id = @event_id ORDER BY channel, attempt;

-- name: EventDeliveries :many
SELECT * FROM alert_deliveries WHERE tenant_id = @tenant_id AND event_id = @event_id;

-- name: EventDeadLetters :many
SELECT * FROM alert_dlq WHERE tenant_id = @tenant_id AND event_id = @event_id;

-- name: DeadLetter :one
SELECT * FROM alert_dlq WHERE tenant_id = @tenant_id AND id = @id;

-- name: ChannelAttempts :many
SELECT * FROM alert_attempts
WHERE tenant_id = @tenant_id AND event_id = @event_id AND channel = @channel
ORDER BY attempt;

-- name: DeadLetters :many
-- Newest first; before is the last id of the page before.
SELECT * FROM alert_dlq
WHERE tenant_id = @tenant_id
  AND id < @before
  AND (sqlc.narg('state')::text IS NULL OR state = sqlc.narg('state'))
  AND (sqlc.narg('channel')::text IS NULL OR channel = sqlc.narg('channel'))
  AND (sqlc.narg('alert_id')::text IS NULL OR alert_id = sqlc.narg('alert_id'))
  AND (sqlc.narg('cause')::text IS NULL OR cause = sqlc.narg('cause'))
ORDER BY id DESC
LIMIT @row_limit;
