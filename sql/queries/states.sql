-- name: EventStates :many
-- Where events stand on their targets, for all events of a page at once. One statement sees one
-- moment: nothing that moves meanwhile is in neither place, or in both.
SELECT event_id, target, channel, 'in_flight'::text AS state, NULL::uuid AS of_event_id, NULL::timestamptz AS delivered_at,
       NULL::uuid AS dead_letter_id, NULL::text AS cause, NULL::timestamptz AS next_retry_at
FROM alert_inflight i WHERE i.tenant_id = @tenant_id AND i.event_id = ANY(@ids::uuid[])
UNION ALL
SELECT event_id, target, channel, 'delivered', NULL, delivered_at, NULL, NULL, NULL
FROM alert_deliveries d WHERE d.tenant_id = @tenant_id AND d.event_id = ANY(@ids::uuid[])
UNION ALL
SELECT event_id, target, channel, 'duplicate', of_event_id, NULL, NULL, NULL, NULL
FROM alert_duplicates u WHERE u.tenant_id = @tenant_id AND u.event_id = ANY(@ids::uuid[])
UNION ALL
SELECT event_id, target, channel, state, NULL, NULL, id, cause, next_retry_at
FROM alert_dlq l WHERE l.tenant_id = @tenant_id AND l.event_id = ANY(@ids::uuid[]);

-- name: EventSummaries :many
-- Newest first; before is the last id of the page before. What a page of events tells of each:
-- messages and data stay where they are, a page of those would not fit into memory.
--
-- There is one statement for each index. With all filters optional in a single one, the plan that
-- PostgreSQL keeps for it could use none but the first index. Times are exact by accepted_at; the ids, which
-- are times too, bound how far the index is read.
SELECT id, tenant_id, source, alert_id, user_id, title, severity, channels, accepted_at, expires_at FROM alert_events
WHERE tenant_id = @tenant_id
  AND id < @before
  AND id >= @since
  AND (sqlc.narg('accepted_after')::timestamptz IS NULL OR accepted_at >= sqlc.narg('accepted_after'))
  AND (sqlc.narg('accepted_before')::timestamptz IS NULL OR accepted_at < sqlc.narg('accepted_before'))
  AND (sqlc.narg('source')::text IS NULL OR source = sqlc.narg('source'))
ORDER BY id DESC
LIMIT @row_limit;

-- name: EventSummariesOfAlert :many
SELECT id, tenant_id, source, alert_id, user_id, title, severity, channels, accepted_at, expires_at FROM alert_events
WHERE tenant_id = @tenant_id
  AND alert_id = @alert_id
  AND id < @before
  AND id >= @since
  AND (sqlc.narg('accepted_after')::timestamptz IS NULL OR accepted_at >= sqlc.narg('accepted_after'))
  AND (sqlc.narg('accepted_before')::timestamptz IS NULL OR accepted_at < sqlc.narg('accepted_before'))
  AND (sqlc.narg('user_id')::text IS NULL OR user_id = sqlc.narg('user_id'))
  AND (sqlc.narg('source')::text IS NULL OR source = sqlc.narg('source'))
ORDER BY id DESC
LIMIT @row_limit;

-- name: EventSummariesOfUser :many
SELECT id, tenant_id, source, alert_id, user_id, title, severity, channels, accepted_at, expires_at FROM alert_events
WHERE tenant_id = @tenant_id
  AND user_id = @user_id
  AND id < @before
  AND id >= @since
  AND (sqlc.narg('accepted_after')::timestamptz IS NULL OR accepted_at >= sqlc.narg('accepted_after'))
  AND (sqlc.narg('accepted_before')::timestamptz IS NULL OR accepted_at < sqlc.narg('accepted_before'))
  AND (sqlc.narg('source')::text IS NULL OR source = sqlc.narg('source'))
ORDER BY id DESC
LIMIT @row_limit;

-- name: EventSummariesOfSource :many
-- Not for direct events: those are the most, and in no index of their sources.
SELECT id, tenant_id, source, alert_id, user_id, title, severity, channels, accepted_at, expires_at FROM alert_events
WHERE tenant_id = @tenant_id
  AND source = @source
  AND source <> 'direct'
  AND id < @before
  AND id >= @since
  AND (sqlc.narg('accepted_after')::timestamptz IS NULL OR accepted_at >= sqlc.narg('accepted_after'))
  AND (sqlc.narg('accepted_before')::timestamptz IS NULL OR accepted_at < sqlc.narg('accepted_before'))
ORDER BY id DESC
LIMIT @row_limit;

-- name: EventSummariesByID :many
SELECT id, tenant_id, source, alert_id, user_id, title, severity, channels, accepted_at, expires_at FROM alert_events
WHERE tenant_id = @tenant_id AND id = ANY(@ids::uuid[]);
