-- name: AcceptEvents :many
-- Events and, for each of their targets, an in-flight row, or a duplicate row where an earlier event
-- holds its key. One statement, whatever the number of events: it is what concurrent requests share.
-- The keys of one statement are different and sorted, so that two statements can't wait for each
-- other. A key that is taken in the same instant has a holder that this statement does not see yet.
WITH event AS (
    INSERT INTO alert_events (id, tenant_id, alert_id, user_id, title, message, severity, data, channels, traceparent, accepted_at,
                              source, subject, resolves, expires_at, fallback)
    SELECT unnest(@ids::uuid[]), unnest(@tenant_ids::text[]), unnest(@alert_ids::text[]), unnest(@user_ids::text[]), unnest(@titles::text[]),
           unnest(@messages::text[]), unnest(@severities::text[]), unnest(@datas::text[])::jsonb, unnest(@channels::text[])::jsonb,
           NULLIF(unnest(@traceparents::text[]), ''), unnest(@accepted_ats::timestamptz[]),
           unnest(@sources::text[]), NULLIF(unnest(@subjects::text[]), ''), unnest(@resolves::boolean[]),
           NULLIF(unnest(@expires_ats::timestamptz[]), '0001-01-01 00:00:00+00'::timestamptz), NULLIF(unnest(@fallbacks::text[]), '')::jsonb
), wanted AS (
    SELECT unnest(@unit_event_ids::uuid[]) AS event_id, unnest(@unit_tenant_ids::text[]) AS tenant_id, unnest(@unit_targets::text[]) AS target,
           unnest(@unit_channels::text[]) AS channel, unnest(@unit_accepted_ats::timestamptz[]) AS accepted_at,
           unnest(@unit_keys::bytea[]) AS key, unnest(@unit_keep_untils::timestamptz[]) AS keep_until,
           NULLIF(unnest(@unit_jobs::bigint[]), 0) AS job_id
), claimed AS (
    INSERT INTO alert_dedup AS d (tenant_id, key, event_id, target, expires_at)
    SELECT w.tenant_id, w.key, w.event_id, w.target, w.keep_until FROM wanted w WHERE w.key <> ''
    ON CONFLICT (tenant_id, key) DO UPDATE
    SET event_id = excluded.event_id, target = excluded.target, expires_at = excluded.expires_at
    WHERE d.expires_at <= @now::timestamptz
    RETURNING d.event_id, d.target
), taken_on AS (
    INSERT INTO alert_inflight (event_id, target, channel, tenant_id, accepted_at, job_id)
    SELECT w.event_id, w.target, w.channel, w.tenant_id, w.accepted_at, w.job_id
    FROM wanted w LEFT JOIN claimed c ON c.event_id = w.event_id AND c.target = w.target
    WHERE w.key = '' OR c.event_id IS NOT NULL
), duplicate AS (
    INSERT INTO alert_duplicates (event_id, target, channel, tenant_id, of_event_id, accepted_at)
    SELECT w.event_id, w.target, w.channel, w.tenant_id, h.event_id, w.accepted_at
    FROM wanted w
    LEFT JOIN claimed c ON c.event_id = w.event_id AND c.target = w.target
    LEFT JOIN alert_dedup h ON h.tenant_id = w.tenant_id AND h.key = w.key AND h.expires_at > @now::timestamptz
    WHERE w.key <> '' AND c.event_id IS NULL
    RETURNING event_id, target, of_event_id
)
SELECT event_id, target, of_event_id FROM duplicate;

-- name: NameHolders :many
-- The holders of keys, seen now, for the duplicates that did not see them.
UPDATE alert_duplicates AS u SET of_event_id = h.event_id
FROM (SELECT unnest(@event_ids::uuid[]) AS event_id, unnest(@targets::text[]) AS target,
             unnest(@tenant_ids::text[]) AS tenant_id, unnest(@keys::bytea[]) AS key) AS w
JOIN alert_dedup h ON h.tenant_id = w.tenant_id AND h.key = w.key
WHERE u.event_id = w.event_id AND u.target = w.target AND u.of_event_id IS NULL
RETURNING u.event_id, u.target, u.of_event_id;

-- name: AcceptedBefore :many
-- Of events those that are accepted, with each target on which they are duplicates.
SELECT e.id, u.target, u.of_event_id FROM alert_events e
LEFT JOIN alert_duplicates u ON u.event_id = e.id
WHERE e.id = ANY(@ids::uuid[]);

-- name: ClaimIdempotencyKey :execrows
-- No row: the key was used before, and is kept.
INSERT INTO idempotency_keys AS k (tenant_id, key, request, event_ids, created_at, expires_at)
VALUES (@tenant_id, @key, @request, @event_ids, @now, @expires_at)
ON CONFLICT (tenant_id, key) DO UPDATE
SET request = excluded.request, event_ids = excluded.event_ids, answer = NULL, created_at = excluded.created_at, expires_at = excluded.expires_at
WHERE k.expires_at <= excluded.created_at;

-- name: IdempotencyKey :one
SELECT * FROM idempotency_keys WHERE tenant_id = @tenant_id AND key = @key AND expires_at > @now::timestamptz;

-- name: RecordAnswer :exec
UPDATE idempotency_keys SET answer = @answer WHERE tenant_id = @tenant_id AND key = @key AND answer IS NULL;

-- name: Supersede :many
-- What is open of a subject that a later event has ended, with the jobs that it had. It gives back the
-- keys by which repetitions are told: what fires again has never been sent.
WITH ended AS (
    SELECT e.id, e.job_id FROM alert_dlq e
    WHERE e.tenant_id = @tenant_id AND e.subject = @subject AND e.state IN ('pending', 'exhausted') AND e.accepted_at < @resolved_at
    ORDER BY e.id
    FOR UPDATE
), letter AS (
    UPDATE alert_dlq AS d
    SET state = 'superseded', closed_at = @now, next_retry_at = NULL, job_id = NULL, held_by = NULL
    FROM ended o WHERE d.id = o.id
    RETURNING d.id, d.event_id, d.target, o.job_id
), released AS (
    DELETE FROM alert_dedup AS k USING letter l WHERE k.event_id = l.event_id AND k.target = l.target
)
SELECT id::uuid AS id, event_id::uuid AS event_id, job_id FROM letter;

-- name: EndsNothing :exec
-- A repetition: the event that it repeats has ended the subject, which may have begun again since.
UPDATE alert_events SET resolves = false WHERE id = @id;

-- name: RecordFirstDelivered :many
-- In flight to delivered. What is not returned was no longer in flight.
WITH verdict AS (
    SELECT unnest(@ids::uuid[]) AS id, unnest(@event_ids::uuid[]) AS event_id, unnest(@targets::text[]) AS target,
           unnest(@tenant_ids::text[]) AS tenant_id, unnest(@channels::text[]) AS channel, unnest(@alert_ids::text[]) AS alert_id,
           unnest(@user_ids::text[]) AS user_id, unnest(@content_hashes::text[]) AS content_hash,
           unnest(@accepted_ats::timestamptz[]) AS accepted_at, unnest(@delivered_ats::timestamptz[]) AS delivered_at,
           unnest(@started_ats::timestamptz[]) AS started_at, unnest(@durations::double precision[]) AS duration_seconds,
           NULLIF(unnest(@status_codes::integer[]), 0) AS status_code, NULLIF(unnest(@excerpts::text[]), '') AS response_excerpt,
           NULLIF(unnest(@trace_ids::text[]), '') AS trace_id
), gone AS (
    DELETE FROM alert_inflight AS i
    WHERE (i.event_id, i.target) IN (SELECT v.event_id, v.target FROM verdict v)
    RETURNING i.event_id, i.target
), moved AS (
    SELECT v.* FROM verdict v JOIN gone g ON g.event_id = v.event_id AND g.target = v.target
), attempt AS (
    INSERT INTO alert_attempts (event_id, target, channel, attempt, tenant_id, started_at, duration_seconds, outcome, status_code, response_excerpt, trace_id)
    SELECT event_id, target, channel, 1, tenant_id, started_at, duration_seconds, 'delivered', status_code, response_excerpt, trace_id FROM moved
)
INSERT INTO alert_deliveries (id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, delivery_methods, attempts, accepted_at, delivered_at, trace_id)
SELECT id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, jsonb_build_array(channel), 1, accepted_at, delivered_at, trace_id FROM moved
RETURNING event_id, target;

-- name: RecordFirstFailed :many
-- In flight to dead letter. What is not returned was no longer in flight. A letter without an attempt
-- was held back by its endpoint's breaker, or had expired, or was over. One whose subject has been ended by
-- a later event is superseded from the start.
WITH verdict AS (
    SELECT unnest(@ids::uuid[]) AS id, unnest(@event_ids::uuid[]) AS event_id, unnest(@targets::text[]) AS target,
           unnest(@tenant_ids::text[]) AS tenant_id, unnest(@channels::text[]) AS channel, unnest(@alert_ids::text[]) AS alert_id,
           unnest(@user_ids::text[]) AS user_id, unnest(@content_hashes::text[]) AS content_hash,
           unnest(@alert_datas::text[])::jsonb AS alert_data, unnest(@states::text[]) AS state, unnest(@causes::text[]) AS cause,
           unnest(@error_messages::text[]) AS error_message, unnest(@attempts::integer[]) AS attempts,
           unnest(@accepted_ats::timestamptz[]) AS accepted_at, unnest(@decided_ats::timestamptz[]) AS decided_at,
           unnest(@started_ats::timestamptz[]) AS started_at, unnest(@durations::double precision[]) AS duration_seconds,
           unnest(@outcomes::text[]) AS outcome,
           NULLIF(unnest(@status_codes::integer[]), 0) AS status_code, NULLIF(unnest(@excerpts::text[]), '') AS response_excerpt,
           NULLIF(unnest(@next_retry_ats::timestamptz[]), '0001-01-01 00:00:00+00'::timestamptz) AS next_retry_at,
           NULLIF(unnest(@job_ids::bigint[]), 0) AS job_id, NULLIF(unnest(@trace_ids::text[]), '') AS trace_id,
           NULLIF(unnest(@traceparents::text[]), '') AS traceparent, unnest(@endpoints::text[]) AS endpoint,
           NULLIF(unnest(@subjects::text[]), '') AS subject,
           NULLIF(unnest(@expires_ats::timestamptz[]), '0001-01-01 00:00:00+00'::timestamptz) AS expires_at,
           NULLIF(unnest(@held_bys::text[]), '') AS held_by
), gone AS (
    DELETE FROM alert_inflight AS i
    WHERE (i.event_id, i.target) IN (SELECT v.event_id, v.target FROM verdict v)
    RETURNING i.event_id, i.target
), moved AS (
    SELECT v.*, (v.subject IS NOT NULL AND EXISTS (
        SELECT FROM alert_events r
        WHERE r.tenant_id = v.tenant_id AND r.subject = v.subject AND r.resolves AND r.accepted_at > v.accepted_at)) AS superseded
    FROM verdict v JOIN gone g ON g.event_id = v.event_id AND g.target = v.target
), attempt AS (
    INSERT INTO alert_attempts (event_id, target, channel, attempt, tenant_id, started_at, duration_seconds, outcome, cause, status_code, error, response_excerpt, trace_id)
    SELECT event_id, target, channel, 1, tenant_id, started_at, duration_seconds, outcome, cause, status_code, error_message, response_excerpt, trace_id
    FROM moved WHERE attempts = 1
), released AS (
    DELETE FROM alert_dedup AS d USING moved m WHERE d.event_id = m.event_id AND d.target = m.target AND (m.state <> 'pending' OR m.superseded)
)
INSERT INTO alert_dlq (id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, alert_data, state, cause, error_message, attempts,
                       accepted_at, created_at, next_retry_at, job_id, trace_id, traceparent, endpoint, subject, expires_at, held_by, closed_at)
SELECT id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, alert_data,
       CASE WHEN superseded THEN 'superseded' ELSE state END, cause, error_message, attempts, accepted_at, decided_at,
       CASE WHEN NOT superseded THEN next_retry_at END, CASE WHEN NOT superseded THEN job_id END, trace_id, traceparent,
       endpoint, subject, expires_at, held_by, CASE WHEN superseded OR state = 'expired' THEN decided_at END
FROM moved
RETURNING event_id, target, state;

-- name: PutOffFirst :execrows
-- The first attempt goes to the worker, at its job's time.
UPDATE alert_inflight SET job_id = @job_id::bigint WHERE event_id = @event_id AND target = @target;

-- name: InflightForJob :many
-- Events whose first attempts the jobs may make, and whether a later event has ended what they are about.
SELECT i.target, i.job_id, sqlc.embed(e),
       (e.subject IS NOT NULL AND EXISTS (
           SELECT FROM alert_events r
           WHERE r.tenant_id = e.tenant_id AND r.subject = e.subject AND r.resolves AND r.accepted_at > e.accepted_at))::boolean AS ended
FROM alert_inflight i
JOIN alert_events e ON e.id = i.event_id
WHERE i.job_id = ANY(@job_ids::bigint[]) AND i.event_id = ANY(@event_ids::uuid[]);

-- name: RecordLateDelivered :execrows
-- An attempt succeeded after it had been given up for interrupted: the dead letter leaves, wherever
-- its path has led it since, and the attempt's outcome is known after all. One that was closed meanwhile
-- leaves its account here: to the trigger, which sees retention delete such letters, it would stay closed.
WITH letter AS (
    DELETE FROM alert_dlq AS d WHERE d.event_id = @event_id AND d.target = @target RETURNING d.*, @attempt::integer AS number
), attempt AS (
    INSERT INTO alert_attempts AS a (event_id, target, channel, attempt, tenant_id, started_at, duration_seconds, outcome, status_code, response_excerpt, trace_id, operation_id)
    SELECT event_id, target, channel, number, tenant_id, @started_at, @duration_seconds, 'delivered', sqlc.narg('status_code'), sqlc.narg('response_excerpt'), sqlc.narg('trace_id'), operation_id FROM letter
    ON CONFLICT (event_id, target, attempt) DO UPDATE
    SET operation_id = coalesce(excluded.operation_id, a.operation_id), outcome = 'delivered', cause = NULL, error = NULL, started_at = excluded.started_at, duration_seconds = excluded.duration_seconds,
        status_code = excluded.status_code, response_excerpt = excluded.response_excerpt, trace_id = excluded.trace_id
), reopened AS (
    INSERT INTO alert_account_changes (tenant_id, channel, account, change)
    SELECT tenant_id, channel, state, -1 FROM letter WHERE state NOT IN ('pending', 'exhausted')
)
INSERT INTO alert_deliveries (id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, delivery_methods, attempts, accepted_at, delivered_at, trace_id)
SELECT @id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, jsonb_build_array(channel), GREATEST(attempts, number) AS attempts, accepted_at, @delivered_at, coalesce(trace_id, sqlc.narg('trace_id')) AS trace_id FROM letter;

-- name: DeadLetterID :one
SELECT id, state FROM alert_dlq WHERE event_id = @event_id AND target = @target;

-- name: DeadLettersForJobs :many
-- Letters that the jobs may attempt, and whether a later event has ended what they are about: one that was
-- accepted while the letter was being written, or reopened, has not seen it, nor was it seen there.
SELECT sqlc.embed(d),
       (d.subject IS NOT NULL AND EXISTS (
           SELECT FROM alert_events r
           WHERE r.tenant_id = d.tenant_id AND r.subject = d.subject AND r.resolves AND r.accepted_at > d.accepted_at))::boolean AS ended
FROM alert_dlq AS d
JOIN (SELECT unnest(@ids::uuid[]) AS id, unnest(@job_ids::bigint[]) AS job_id) AS j ON j.id = d.id AND j.job_id = d.job_id
WHERE d.state = 'pending';

-- name: RecordRetryDelivered :many
-- Dead letter to delivered. What is not returned has been taken over by another job.
WITH verdict AS (
    SELECT unnest(@ids::uuid[]) AS id, unnest(@letter_ids::uuid[]) AS letter_id, unnest(@job_ids::bigint[]) AS job_id,
           unnest(@attempts::integer[]) AS attempt, unnest(@delivered_ats::timestamptz[]) AS delivered_at,
           unnest(@started_ats::timestamptz[]) AS started_at, unnest(@durations::double precision[]) AS duration_seconds,
           NULLIF(unnest(@status_codes::integer[]), 0) AS status_code, NULLIF(unnest(@excerpts::text[]), '') AS response_excerpt,
           NULLIF(unnest(@trace_ids::text[]), '') AS attempt_trace_id
), gone AS (
    DELETE FROM alert_dlq AS d
    WHERE (d.id, d.job_id) IN (SELECT v.letter_id, v.job_id FROM verdict v)
    RETURNING d.id, d.tenant_id, d.event_id, d.target, d.channel, d.alert_id, d.user_id, d.content_hash, d.accepted_at, d.trace_id, d.operation_id
), letter AS (
    SELECT v.id, v.letter_id, v.attempt, v.delivered_at, v.started_at, v.duration_seconds, v.status_code, v.response_excerpt, v.attempt_trace_id,
           g.tenant_id, g.event_id, g.target, g.channel, g.alert_id, g.user_id, g.content_hash, g.accepted_at, g.trace_id, g.operation_id
    FROM verdict v JOIN gone g ON g.id = v.letter_id
), attempt AS (
    INSERT INTO alert_attempts (event_id, target, channel, attempt, tenant_id, started_at, duration_seconds, outcome, status_code, response_excerpt, trace_id, operation_id)
    SELECT event_id, target, channel, attempt, tenant_id, started_at, duration_seconds, 'delivered', status_code, response_excerpt, attempt_trace_id, operation_id FROM letter
), entry AS (
    INSERT INTO alert_deliveries (id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, delivery_methods, attempts, accepted_at, delivered_at, trace_id)
    SELECT id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, jsonb_build_array(channel), attempt, accepted_at, delivered_at, trace_id FROM letter
)
SELECT letter_id::uuid AS letter_id FROM letter;

-- name: RecordRetryFailed :many
-- The letter stays: pending with its next time, or exhausted and without a job. What is not returned
-- has been taken over by another job, or its attempt is recorded already.
WITH verdict AS (
    SELECT unnest(@letter_ids::uuid[]) AS letter_id, unnest(@job_ids::bigint[]) AS job_id, unnest(@states::text[]) AS state,
           unnest(@attempts::integer[]) AS attempt, unnest(@started_ats::timestamptz[]) AS started_at,
           unnest(@durations::double precision[]) AS duration_seconds, unnest(@causes::text[]) AS cause, unnest(@error_messages::text[]) AS error_message,
           NULLIF(unnest(@status_codes::integer[]), 0) AS status_code, NULLIF(unnest(@excerpts::text[]), '') AS response_excerpt,
           NULLIF(unnest(@trace_ids::text[]), '') AS trace_id, unnest(@endpoints::text[]) AS endpoint,
           NULLIF(unnest(@next_retry_ats::timestamptz[]), '0001-01-01 00:00:00+00'::timestamptz) AS next_retry_at,
           unnest(@decided_ats::timestamptz[]) AS decided_at
), letter AS (
    UPDATE alert_dlq AS d
    SET retry_count = d.retry_count + CASE WHEN d.attempts = 0 THEN 0 ELSE 1 END, attempts = v.attempt, state = v.state, cause = v.cause,
        error_message = v.error_message, last_retry_at = v.started_at, next_retry_at = v.next_retry_at, endpoint = v.endpoint, held_by = NULL,
        job_id = CASE WHEN v.state = 'pending' THEN d.job_id END,
        closed_at = CASE WHEN v.state = 'expired' THEN v.decided_at END
    FROM verdict v
    WHERE d.id = v.letter_id AND d.job_id = v.job_id AND d.state = 'pending' AND d.attempts < v.attempt
    RETURNING v.letter_id, v.attempt, v.state, v.started_at, v.duration_seconds, v.cause, v.error_message, v.status_code, v.response_excerpt, v.trace_id,
              d.event_id, d.target, d.channel, d.tenant_id, d.operation_id
), released AS (
    DELETE FROM alert_dedup AS k USING letter l WHERE k.event_id = l.event_id AND k.target = l.target AND l.state <> 'pending'
), attempt AS (
    INSERT INTO alert_attempts (event_id, target, channel, attempt, tenant_id, started_at, duration_seconds, outcome, cause, status_code, error, response_excerpt, trace_id, operation_id)
    SELECT event_id, target, channel, attempt, tenant_id, started_at, duration_seconds, 'failed', cause, status_code, error_message, response_excerpt, trace_id, operation_id FROM letter
)
SELECT letter_id::uuid AS letter_id FROM letter;

-- name: HoldLetter :exec
-- A retry that was due waits for its endpoint; it uses up nothing.
UPDATE alert_dlq SET next_retry_at = @next_retry_at, held_by = @held_by
WHERE id = @id AND job_id = @job_id::bigint AND state = 'pending';

-- name: CloseLetter :many
-- A letter that its own job found not to be sent any more: its event's time to live is over, or a later
-- event has ended what it is about. No row: it is no longer the job's.
WITH letter AS (
    UPDATE alert_dlq AS d
    SET state = @state, closed_at = @now, next_retry_at = NULL, job_id = NULL, held_by = NULL
    WHERE d.id = @id AND d.job_id = @job_id::bigint AND d.state = 'pending'
    RETURNING d.event_id, d.target
), released AS (
    DELETE FROM alert_dedup AS k USING letter l WHERE k.event_id = l.event_id AND k.target = l.target
)
SELECT event_id FROM letter;

-- name: LockFallbacks :many
-- Targets that failed for good, whose event has a fallback that has not been put to use.
SELECT e.id, e.tenant_id, e.accepted_at, e.fallback, e.traceparent FROM alert_events e
WHERE e.id = ANY(@event_ids::uuid[]) AND e.fallback IS NOT NULL
FOR UPDATE;

-- name: UseFallback :exec
UPDATE alert_events SET channels = channels || (@used::text)::jsonb, fallback = NULL WHERE id = @id;

-- name: AddInflight :exec
INSERT INTO alert_inflight (event_id, target, channel, tenant_id, accepted_at, job_id)
VALUES (@event_id, @target, @channel, @tenant_id, @accepted_at, @job_id::bigint)
ON CONFLICT (event_id, target) DO NOTHING;

-- name: LockInterrupted :many
-- Events whose first attempt has no recorded outcome on a target, oldest first: the API was to make
-- it, or a job that has ended or died.
SELECT i.target, i.job_id, i.accepted_at, j.attempted_at, sqlc.embed(e)
FROM alert_inflight i
JOIN alert_events e ON e.id = i.event_id
LEFT JOIN river_job j ON j.id = i.job_id
WHERE i.accepted_at < @accepted_before
  AND (i.job_id IS NULL OR j.id IS NULL OR j.state IN ('cancelled', 'completed', 'discarded')
       OR j.state = 'running' AND j.attempted_at < @accepted_before)
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
SELECT l.id, l.event_id, l.target, l.channel, l.tenant_id, l.attempts, l.interruptions, l.next_retry_at, l.traceparent,
       l.operation_id, j.attempted_at
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
-- One that is given up gives back the key by which repetitions are told.
WITH letter AS (
    UPDATE alert_dlq
    SET job_id = sqlc.narg('job_id'), next_retry_at = sqlc.narg('next_retry_at'), state = @state,
        attempts = @attempts, interruptions = @interruptions, cause = @cause, error_message = @error_message
    WHERE id = @id
    RETURNING event_id, target, state
)
DELETE FROM alert_dedup AS k USING letter l WHERE k.event_id = l.event_id AND k.target = l.target AND l.state <> 'pending';

-- name: ReattachOrphan :exec
UPDATE alert_dlq SET job_id = sqlc.narg('job_id') WHERE id = @id;

-- name: AddInterruptedAttempt :exec
INSERT INTO alert_attempts (event_id, target, channel, attempt, tenant_id, started_at, duration_seconds, outcome, cause, error, operation_id)
VALUES (@event_id, @target, @channel, @attempt, @tenant_id, @started_at, @duration_seconds, 'interrupted', 'interrupted', @error, sqlc.narg('operation_id'));

-- name: AddNotification :exec
INSERT INTO notifications (id, tenant_id, user_id, event_id, alert_id, title, message, severity, data, created_at)
VALUES (@id, @tenant_id, @user_id, @event_id, @alert_id, @title, @message, @severity, @data, @created_at)
ON CONFLICT (event_id) DO NOTHING;

-- name: Event :one
SELECT * FROM alert_events WHERE tenant_id = @tenant_id AND id = @id;

-- name: EventAttempts :many
SELECT * FROM alert_attempts WHERE tenant_id = @tenant_id AND event_id = @event_id ORDER BY target, attempt;

-- name: EventDeliveries :many
SELECT * FROM alert_deliveries WHERE tenant_id = @tenant_id AND event_id = @event_id;

-- name: EventDeadLetters :many
SELECT * FROM alert_dlq WHERE tenant_id = @tenant_id AND event_id = @event_id;

-- name: DeadLetter :one
SELECT * FROM alert_dlq WHERE tenant_id = @tenant_id AND id = @id;

-- name: EventDuplicates :many
SELECT * FROM alert_duplicates WHERE tenant_id = @tenant_id AND event_id = @event_id;

-- name: TargetAttempts :many
SELECT * FROM alert_attempts
WHERE tenant_id = @tenant_id AND event_id = @event_id AND target = @target
ORDER BY attempt;

-- name: DeadLetters :many
-- Newest first; before is the last id of the page before.
SELECT * FROM alert_dlq
WHERE tenant_id = @tenant_id
  AND id < @before
  AND (sqlc.narg('states')::text[] IS NULL OR state = ANY(sqlc.narg('states')))
  AND (sqlc.narg('channel')::text IS NULL OR channel = sqlc.narg('channel'))
  AND (sqlc.narg('target')::text IS NULL OR target = sqlc.narg('target'))
  AND (sqlc.narg('alert_id')::text IS NULL OR alert_id = sqlc.narg('alert_id'))
  AND (sqlc.narg('user_id')::text IS NULL OR user_id = sqlc.narg('user_id'))
  AND (sqlc.narg('cause')::text IS NULL OR cause = sqlc.narg('cause'))
  AND (sqlc.narg('operation_id')::uuid IS NULL OR operation_id = sqlc.narg('operation_id'))
  AND (sqlc.narg('created_after')::timestamptz IS NULL OR created_at >= sqlc.narg('created_after'))
  AND (sqlc.narg('created_before')::timestamptz IS NULL OR created_at < sqlc.narg('created_before'))
  AND (sqlc.narg('search')::text IS NULL
       OR position(lower(sqlc.narg('search')) IN lower(alert_data ->> 'title')) > 0
       OR position(lower(sqlc.narg('search')) IN lower(alert_data ->> 'message')) > 0
       OR position(lower(sqlc.narg('search')) IN lower(error_message)) > 0)
ORDER BY id DESC
LIMIT @row_limit;
