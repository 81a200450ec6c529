-- What the console's overview says of processes, database and the last hour.

-- name: Beat :exec
INSERT INTO processes (id, role, host, pid, version, commit, started_at, heard_at, reason)
VALUES (@id, @role, @host, @pid, @version, @commit, now(), now(), sqlc.narg(reason))
ON CONFLICT (id) DO UPDATE SET heard_at = now(), stopped_at = NULL, reason = excluded.reason;

-- name: StopProcess :exec
UPDATE processes SET heard_at = now(), stopped_at = now() WHERE id = @id;

-- name: PruneProcesses :execrows
DELETE FROM processes WHERE id IN (SELECT p.id FROM processes p WHERE p.heard_at < now() - interval '1 day' ORDER BY p.heard_at LIMIT 1000);

-- name: Processes :many
-- Those that were heard within the last hour, and how each is, by the database's clock. Those that run come
-- first: one that dies and is started again all the time leaves many rows.
SELECT id, role, host, pid, version, commit, started_at, heard_at, stopped_at, reason,
       (stopped_at IS NULL AND heard_at > now() - make_interval(secs => @silence_seconds::float8))::boolean AS running
FROM processes
WHERE heard_at > now() - interval '1 hour'
ORDER BY running DESC, role, started_at DESC, id
LIMIT 100;

-- name: LastHour :many
-- The last hour by minute, that under way included, by the database's clock. Each minute is counted from an
-- index by itself, which needs no sorting; counting ends at row_limit a minute.
SELECT m.at::timestamptz AS at, d.number AS delivered, f.number AS failed, r.number AS runs, e.number AS failed_runs
FROM (SELECT generate_series(date_trunc('minute', now(), 'UTC') - interval '59 minutes', date_trunc('minute', now(), 'UTC'), interval '1 minute') AS at) AS m
CROSS JOIN LATERAL (SELECT count(*) AS number FROM (
    SELECT FROM alert_deliveries a
    WHERE a.tenant_id = @tenant_id AND a.delivered_at >= m.at AND a.delivered_at < m.at + interval '1 minute' LIMIT @row_limit) AS counted) AS d
CROSS JOIN LATERAL (SELECT count(*) AS number FROM (
    SELECT FROM alert_attempts a
    WHERE a.tenant_id = @tenant_id AND a.outcome <> 'delivered' AND a.started_at >= m.at AND a.started_at < m.at + interval '1 minute' LIMIT @row_limit) AS counted) AS f
CROSS JOIN LATERAL (SELECT count(*) AS number FROM (
    SELECT FROM pattern_runs p
    WHERE p.tenant_id = @tenant_id AND p.started_at >= m.at AND p.started_at < m.at + interval '1 minute' LIMIT @row_limit) AS counted) AS r
CROSS JOIN LATERAL (SELECT count(*) AS number FROM (
    SELECT FROM pattern_runs p
    WHERE p.tenant_id = @tenant_id AND p.outcome = 'error' AND p.started_at >= m.at AND p.started_at < m.at + interval '1 minute' LIMIT @row_limit) AS counted) AS e
ORDER BY m.at;

-- name: OldestOpenLetter :many
-- Since when the oldest open dead letter of each state has been one. Ordered by state too, which is one: the
-- plan could else go through all letters that are closed by now.
SELECT l.created_at
FROM (SELECT unnest(ARRAY['pending', 'exhausted']) AS state) AS s
CROSS JOIN LATERAL (
    SELECT d.created_at FROM alert_dlq d
    WHERE d.tenant_id = @tenant_id AND d.state BETWEEN s.state AND s.state
    ORDER BY d.state DESC, d.id LIMIT 1
) AS l
ORDER BY l.created_at;
