-- name: PackTenants :many
SELECT id FROM tenants WHERE id = coalesce(sqlc.narg(tenant_id)::text, id) ORDER BY id;

-- CalendarBounds are the first and the last close of the calendar; null where there is none.
-- name: CalendarBounds :one
SELECT
    (SELECT p.date FROM prices AS p WHERE p.security_id = s.id ORDER BY p.date LIMIT 1)::date AS first_close,
    (SELECT p.date FROM prices AS p WHERE p.security_id = s.id ORDER BY p.date DESC LIMIT 1)::date AS last_close,
    s.symbol
FROM tenants AS t
JOIN securities AS s ON s.tenant_id = t.id AND s.symbol = t.calendar
WHERE t.id = @tenant_id AND EXISTS (SELECT FROM prices AS p WHERE p.security_id = s.id);

-- NeighbourCloses are the last close of the calendar before a day and the first after it.
-- name: NeighbourCloses :many
SELECT n.date::date AS date
FROM tenants AS t
JOIN securities AS s ON s.tenant_id = t.id AND s.symbol = t.calendar
CROSS JOIN LATERAL (
    (SELECT p.date FROM prices AS p WHERE p.security_id = s.id AND p.date < @day::date ORDER BY p.date DESC LIMIT 1)
    UNION ALL
    (SELECT p.date FROM prices AS p WHERE p.security_id = s.id AND p.date > @day::date ORDER BY p.date LIMIT 1)
) AS n
WHERE t.id = @tenant_id
ORDER BY n.date;

-- DatesWithoutPack are the days with a close of the calendar that no pack is for, or only stale ones.
-- Which one day only, when it is given.
-- name: DatesWithoutPack :many
SELECT DISTINCT p.date
FROM tenants AS t
JOIN securities AS s ON s.tenant_id = t.id AND s.symbol = t.calendar
JOIN prices AS p ON p.security_id = s.id
WHERE t.id = @tenant_id AND p.date = coalesce(sqlc.narg(day)::date, p.date)
    AND NOT EXISTS (
        SELECT FROM pricing_packs AS k WHERE k.tenant_id = t.id AND k.date = p.date AND k.state <> 'stale'
    )
ORDER BY p.date;

-- name: IsCalendarDay :one
SELECT EXISTS (
    SELECT FROM tenants AS t
    JOIN securities AS s ON s.tenant_id = t.id AND s.symbol = t.calendar
    JOIN prices AS p ON p.security_id = s.id
    WHERE t.id = @tenant_id AND p.date = @day::date
);

-- name: InsertWarmingPacks :many
INSERT INTO pricing_packs (id, tenant_id, date, revision, hash, state, created_at)
SELECT unnest(@ids::uuid[]), @tenant_id, unnest(@dates::date[]), @revision, unnest(@hashes::text[]), 'warming', @created_at
ON CONFLICT (tenant_id, date, revision) DO NOTHING
RETURNING *;

-- CurrentPack is the one that serves a date: the highest revision's.
-- name: CurrentPack :one
SELECT * FROM pricing_packs WHERE tenant_id = @tenant_id AND date = @day ORDER BY revision DESC LIMIT 1;

-- RewarmPack gives a pack in error another try.
-- name: RewarmPack :one
UPDATE pricing_packs
SET state = 'warming', reason = NULL, built_at = NULL, reconciled_at = NULL, prewarmed_at = NULL, fresh_at = NULL
WHERE tenant_id = @tenant_id AND id = @id AND state = 'error'
RETURNING *;

-- RetirePacks makes stale what a newer revision of its date has taken the place of.
-- name: RetirePacks :execrows
UPDATE pricing_packs AS k SET state = 'stale', reason = NULL
FROM (
    SELECT p.id FROM pricing_packs AS p
    WHERE p.tenant_id = @tenant_id AND p.state <> 'stale'
        AND EXISTS (
            SELECT FROM pricing_packs AS n
            WHERE n.tenant_id = p.tenant_id AND n.date = p.date AND n.revision > p.revision
        )
    ORDER BY p.date, p.revision
    FOR UPDATE
) AS locked
WHERE k.id = locked.id;

-- UnbuiltPacks are warming packs that were not checked yet, with what their hash is made of.
-- name: UnbuiltPacks :many
SELECT k.id, k.date, k.revision, k.hash, r.content_hash
FROM pricing_packs AS k
JOIN data_revisions AS r ON r.tenant_id = k.tenant_id AND r.revision = k.revision
WHERE k.tenant_id = @tenant_id AND k.state = 'warming' AND k.built_at IS NULL
ORDER BY k.date, k.revision
LIMIT @max_rows::integer;

-- name: MarkBuilt :exec
UPDATE pricing_packs AS k SET built_at = @at::timestamptz
FROM (
    SELECT p.id FROM pricing_packs AS p
    WHERE p.tenant_id = @tenant_id AND p.id = ANY (@ids::uuid[]) AND p.state = 'warming'
    ORDER BY p.date, p.revision
    FOR UPDATE
) AS locked
WHERE k.id = locked.id;

-- RecordVerdicts puts packs in error that have a reason for it, and writes down of the others that they are
-- reconciled.
-- name: RecordVerdicts :exec
UPDATE pricing_packs AS k
SET state = CASE WHEN f.reason = '' THEN k.state ELSE 'error' END,
    reason = nullif(f.reason, ''),
    reconciled_at = CASE WHEN f.reason = '' THEN @at::timestamptz ELSE k.reconciled_at END
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@reasons::text[]) AS reason) AS f
JOIN (
    SELECT p.id FROM pricing_packs AS p
    WHERE p.tenant_id = @tenant_id AND p.id = ANY (@ids::uuid[]) AND p.state = 'warming'
    ORDER BY p.date, p.revision
    FOR UPDATE
) AS locked ON locked.id = f.id
WHERE k.id = f.id;

-- name: UnreconciledPacks :many
SELECT * FROM pricing_packs
WHERE tenant_id = @tenant_id AND state = 'warming' AND built_at IS NOT NULL AND reconciled_at IS NULL
ORDER BY revision, date;

-- NewestUsablePack is fresh, or on its way to it with its reconciliation behind it.
-- name: NewestUsablePack :one
SELECT * FROM pricing_packs
WHERE tenant_id = @tenant_id AND (state = 'fresh' OR state = 'warming' AND reconciled_at IS NOT NULL)
ORDER BY date DESC, revision DESC
LIMIT 1;

-- name: MarkPrewarmed :exec
UPDATE pricing_packs SET prewarmed_at = @at::timestamptz WHERE tenant_id = @tenant_id AND id = @id;

-- name: MarkFresh :execrows
UPDATE pricing_packs AS k SET state = 'fresh', fresh_at = @at::timestamptz
FROM (
    SELECT p.id FROM pricing_packs AS p
    WHERE p.tenant_id = @tenant_id AND p.state = 'warming' AND p.reconciled_at IS NOT NULL
    ORDER BY p.date, p.revision
    FOR UPDATE
) AS locked
WHERE k.id = locked.id;

-- Packs and PacksInState stand apart, since one query for a state or none would walk all packs to find those
-- of a rare one.
-- name: Packs :many
SELECT * FROM pricing_packs
WHERE tenant_id = @tenant_id AND (date, revision) < (@before_date::date, @before_revision::bigint) AND date >= @from_date::date
ORDER BY date DESC, revision DESC
LIMIT @max_rows::integer;

-- name: PacksInState :many
SELECT * FROM pricing_packs
WHERE tenant_id = @tenant_id AND state = @state
    AND (date, revision) < (@before_date::date, @before_revision::bigint) AND date >= @from_date::date
ORDER BY date DESC, revision DESC
LIMIT @max_rows::integer;

-- name: NewestPack :one
SELECT * FROM pricing_packs WHERE tenant_id = @tenant_id ORDER BY date DESC, revision DESC LIMIT 1;

-- name: TenantsWithWarmingPacks :many
SELECT t.id FROM tenants AS t
WHERE EXISTS (SELECT FROM pricing_packs AS k WHERE k.tenant_id = t.id AND k.state = 'warming')
ORDER BY t.id;

-- name: PackStates :many
SELECT state, count(*) AS packs FROM pricing_packs GROUP BY state;

-- TransactionsOf are the ledgers of portfolios, each up to its number, in order of date, then number.
-- name: TransactionsOf :many
SELECT sqlc.embed(t), s.id AS security_id
FROM transactions AS t
JOIN (SELECT unnest(@portfolio_ids::uuid[]) AS id, unnest(@seqs::bigint[]) AS seq) AS p
    ON p.id = t.portfolio_id AND t.seq <= p.seq
LEFT JOIN securities AS s
    ON s.tenant_id = t.tenant_id AND s.symbol = t.symbol AND t.type IN ('BUY', 'SELL', 'DIVIDEND', 'SPLIT')
WHERE t.tenant_id = @tenant_id AND t.portfolio_id = ANY (@portfolio_ids::uuid[])
ORDER BY t.portfolio_id, t.date, t.seq;

-- name: FirstBooking :one
SELECT min(date)::date AS date FROM transactions WHERE tenant_id = @tenant_id HAVING count(*) > 0;

-- KnownMetrics are the versions of ledgers whose figures over a pack are there.
-- name: KnownMetrics :many
SELECT portfolio_id, ledger_version FROM portfolio_metrics
WHERE tenant_id = @tenant_id AND pack_id = @pack_id AND portfolio_id = ANY (@portfolio_ids::uuid[]);

-- name: StoreMetrics :exec
INSERT INTO portfolio_metrics (tenant_id, portfolio_id, pack_id, ledger_version, asof, figures, computed_at)
SELECT @tenant_id, unnest(@portfolio_ids::uuid[]), @pack_id, unnest(@ledger_versions::text[]),
    nullif(unnest(@asofs::text[]), '')::date, unnest(@figures::text[])::jsonb, @computed_at
ON CONFLICT (portfolio_id, pack_id) DO UPDATE
SET ledger_version = excluded.ledger_version, asof = excluded.asof, figures = excluded.figures, computed_at = excluded.computed_at;

-- name: Metrics :many
SELECT m.portfolio_id, m.pack_id, m.ledger_version, m.asof, m.figures
FROM portfolio_metrics AS m
JOIN (
    SELECT unnest(@portfolio_ids::uuid[]) AS portfolio_id, unnest(@pack_ids::uuid[]) AS pack_id,
        unnest(@ledger_versions::text[]) AS ledger_version
) AS k ON k.portfolio_id = m.portfolio_id AND k.pack_id = m.pack_id AND k.ledger_version = m.ledger_version
WHERE m.tenant_id = @tenant_id;

-- name: PruneMetrics :execrows
DELETE FROM portfolio_metrics
WHERE (portfolio_id, pack_id) IN (
    SELECT portfolio_id, pack_id FROM portfolio_metrics WHERE computed_at < @before::timestamptz ORDER BY computed_at LIMIT @max_rows::integer
);
