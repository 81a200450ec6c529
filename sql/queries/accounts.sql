-- The accounts of deliveries, whether they are right, and the end of what is old.

-- name: FoldAccounts :execrows
-- Changes that have been committed become part of the balances.
WITH change AS (
    DELETE FROM alert_account_changes RETURNING tenant_id, channel, account, change
)
INSERT INTO alert_accounts AS a (tenant_id, channel, account, balance)
SELECT tenant_id, channel, account, sum(change)::bigint FROM change GROUP BY tenant_id, channel, account
ON CONFLICT (tenant_id, channel, account) DO UPDATE SET balance = a.balance + excluded.balance;

-- name: Accounts :many
SELECT tenant_id, channel, account, sum(balance)::bigint AS balance
FROM (SELECT tenant_id, channel, account, balance FROM alert_accounts
      UNION ALL
      SELECT tenant_id, channel, account, change FROM alert_account_changes) AS every
GROUP BY tenant_id, channel, account;

-- name: OldestOpen :many
-- For each channel, since when its oldest open dead letter has been one. One index lookup a channel.
SELECT a.tenant_id, a.channel, l.created_at
FROM (SELECT DISTINCT tenant_id, channel FROM alert_accounts) AS a
CROSS JOIN LATERAL (
    SELECT d.created_at FROM alert_dlq d
    WHERE d.tenant_id = a.tenant_id AND d.channel = a.channel AND d.state IN ('pending', 'exhausted')
    ORDER BY d.id LIMIT 1
) AS l;

-- name: QueueLag :many
-- For each queue, since when its oldest job that a worker could take has been waiting.
SELECT q.queue::text AS queue, j.scheduled_at
FROM (SELECT unnest(@queues::text[]) AS queue) AS q
CROSS JOIN LATERAL (
    SELECT r.scheduled_at FROM river_job r
    WHERE r.state = 'available' AND r.queue = q.queue
    ORDER BY r.priority, r.scheduled_at, r.id LIMIT 1
) AS j;

-- name: UnbalancedAccounts :many
-- Channels whose accounts don't add up: accepted must be the sum of all others.
SELECT tenant_id, channel,
       (coalesce(sum(balance) FILTER (WHERE account = 'accepted'), 0) - coalesce(sum(balance) FILTER (WHERE account <> 'accepted'), 0))::bigint AS difference
FROM (SELECT tenant_id, channel, account, balance FROM alert_accounts
      UNION ALL
      SELECT tenant_id, channel, account, change FROM alert_account_changes) AS every
GROUP BY tenant_id, channel
HAVING coalesce(sum(balance) FILTER (WHERE account = 'accepted'), 0) <> coalesce(sum(balance) FILTER (WHERE account <> 'accepted'), 0);

-- name: MiscountedAccounts :many
-- Accounts of what is open that are not the number of rows. What is open is counted in one snapshot
-- with its accounts; what has ended is not counted, its rows age out.
SELECT coalesce(a.tenant_id, p.tenant_id)::text AS tenant_id, coalesce(a.channel, p.channel)::text AS channel,
       coalesce(a.account, p.account)::text AS account, coalesce(a.balance, 0)::bigint AS balance, coalesce(p.present, 0)::bigint AS present
FROM (SELECT tenant_id, channel, account, sum(balance)::bigint AS balance
      FROM (SELECT tenant_id, channel, account, balance FROM alert_accounts
            UNION ALL
            SELECT tenant_id, channel, account, change FROM alert_account_changes) AS every
      WHERE account IN ('in_flight', 'pending', 'exhausted')
      GROUP BY tenant_id, channel, account) AS a
FULL JOIN (SELECT tenant_id, channel, account, count(*) AS present
           FROM (SELECT tenant_id, channel, 'in_flight' AS account FROM alert_inflight
                 UNION ALL
                 SELECT tenant_id, channel, state FROM alert_dlq WHERE state IN ('pending', 'exhausted')) AS r
           GROUP BY tenant_id, channel, account) AS p
  ON p.tenant_id = a.tenant_id AND p.channel = a.channel AND p.account = a.account
WHERE coalesce(a.balance, 0) <> coalesce(p.present, 0);

-- name: CorrectAccount :exec
INSERT INTO alert_account_changes (tenant_id, channel, account, change) VALUES (@tenant_id, @channel, @account, @change);

-- name: WrongPlaces :many
-- Events accepted in a stretch of time that stand in no place on one of their targets, or in several.
SELECT e.id AS event_id, e.tenant_id, e.accepted_at, c.key::text AS target, coalesce(c.value ->> 'channel', c.key)::text AS channel, p.places::bigint AS places
FROM alert_events e
CROSS JOIN LATERAL jsonb_each(e.channels) AS c
CROSS JOIN LATERAL (
    SELECT (SELECT count(*) FROM alert_inflight i WHERE i.event_id = e.id AND i.target = c.key)
         + (SELECT count(*) FROM alert_deliveries d WHERE d.event_id = e.id AND d.target = c.key)
         + (SELECT count(*) FROM alert_duplicates u WHERE u.event_id = e.id AND u.target = c.key)
         + (SELECT count(*) FROM alert_dlq l WHERE l.event_id = e.id AND l.target = c.key) AS places
) AS p
WHERE e.id >= @since AND e.id < @until AND p.places <> 1
LIMIT @row_limit;

-- name: JobsWithoutRow :many
-- Waiting jobs that no event and no letter knows: they would end without doing anything.
SELECT j.id FROM river_job j
WHERE j.state IN ('available', 'scheduled') AND j.created_at < @created_before::timestamptz
  AND (j.kind = 'retry_delivery' AND NOT EXISTS (
           SELECT FROM alert_dlq l WHERE l.id = (j.args ->> 'dead_letter_id')::uuid AND l.job_id = j.id)
       OR j.kind = 'deliver' AND NOT EXISTS (
           SELECT FROM alert_inflight i WHERE i.event_id = (j.args ->> 'event_id')::uuid AND i.target = j.args ->> 'target' AND i.job_id = j.id))
LIMIT @row_limit;

-- name: OldEvents :many
-- Events accepted before a time of which nothing is open.
SELECT e.id FROM alert_events e
WHERE e.id < @before
  AND NOT EXISTS (SELECT FROM alert_inflight i WHERE i.event_id = e.id)
  AND NOT EXISTS (SELECT FROM alert_dlq l WHERE l.event_id = e.id AND l.state IN ('pending', 'exhausted'))
ORDER BY e.id
LIMIT @row_limit;

-- name: LockLettersOf :exec
-- Nobody reopens a letter of events from here to the end of the transaction.
SELECT FROM alert_dlq WHERE event_id = ANY(@event_ids::uuid[]) ORDER BY id FOR UPDATE;

-- name: PruneEvents :execrows
-- Of events whose letters are locked, those of which nothing is open, with all that belongs to them. A
-- letter may have been reopened since the events were looked up; this statement sees it.
WITH old AS (
    SELECT e.id FROM alert_events e
    WHERE e.id = ANY(@ids::uuid[])
      AND NOT EXISTS (SELECT FROM alert_inflight i WHERE i.event_id = e.id)
      AND NOT EXISTS (SELECT FROM alert_dlq l WHERE l.event_id = e.id AND l.state IN ('pending', 'exhausted'))
), attempts AS (
    DELETE FROM alert_attempts WHERE event_id IN (SELECT id FROM old)
), deliveries AS (
    DELETE FROM alert_deliveries WHERE event_id IN (SELECT id FROM old)
), letters AS (
    DELETE FROM alert_dlq WHERE event_id IN (SELECT id FROM old)
), duplicates AS (
    DELETE FROM alert_duplicates WHERE event_id IN (SELECT id FROM old)
)
DELETE FROM alert_events WHERE id IN (SELECT id FROM old);

-- name: PruneDedup :execrows
DELETE FROM alert_dedup WHERE ctid = ANY(ARRAY(SELECT k.ctid FROM alert_dedup k WHERE k.expires_at < @now LIMIT @row_limit));

-- name: PruneIdempotencyKeys :execrows
DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY(SELECT k.ctid FROM idempotency_keys k WHERE k.expires_at < @now LIMIT @row_limit));

-- name: PruneOperations :execrows
-- Operations that ended before a time, once no letter that they released is open: its end is theirs too.
DELETE FROM alert_dlq_operations WHERE id = ANY(ARRAY(
    SELECT o.id FROM alert_dlq_operations o
    WHERE o.id < @before AND o.ended_at < @ended_before::timestamptz
      AND NOT EXISTS (SELECT FROM alert_dlq l WHERE l.operation_id = o.id AND l.state IN ('pending', 'exhausted'))
    ORDER BY o.id
    LIMIT @row_limit)::uuid[]);

-- name: PruneReadNotifications :execrows
-- Notifications that were read before a time.
DELETE FROM notifications WHERE id = ANY(ARRAY(
    SELECT n.id FROM notifications n WHERE n.read_at < @read_before::timestamptz ORDER BY n.read_at LIMIT @row_limit)::uuid[]);

-- name: PruneNotifications :execrows
-- Notifications that came before a time, read or not. Their ids are in the order in which they came.
DELETE FROM notifications WHERE id = ANY(ARRAY(
    SELECT n.id FROM notifications n WHERE n.id < @before ORDER BY n.id LIMIT @row_limit)::uuid[]);

-- name: PruneAuditLog :execrows
-- Entries written before a time, whatever they are about.
DELETE FROM audit_log WHERE id = ANY(ARRAY(
    SELECT a.id FROM audit_log a WHERE a.id < @before ORDER BY a.id LIMIT @row_limit)::uuid[]);

-- name: PutInFlight :exec
INSERT INTO alert_inflight (event_id, target, channel, tenant_id, accepted_at)
VALUES (@event_id, @target, @channel, @tenant_id, @accepted_at)
ON CONFLICT (event_id, target) DO NOTHING;
