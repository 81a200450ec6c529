-- name: TenantCalendar :one
SELECT calendar FROM tenants WHERE id = @tenant_id;

-- Securities are read with the attributes that they had at a revision.
-- name: SecuritiesBySymbol :many
SELECT
    s.id, s.symbol, s.currency,
    coalesce(c.name, s.name)::text AS name,
    coalesce(c.asset_class, s.asset_class)::text AS asset_class,
    coalesce(c.sector, s.sector)::text AS sector,
    coalesce(c.role, s.role)::text AS role,
    coalesce(c.revision, 0)::bigint AS changed_in, s.duration, s.convexity,
    c.duration AS changed_duration, c.convexity AS changed_convexity
FROM securities AS s
LEFT JOIN LATERAL (
    SELECT sc.revision, sc.name, sc.asset_class, sc.sector, sc.role, sc.duration, sc.convexity
    FROM security_changes AS sc
    WHERE sc.security_id = s.id AND sc.revision <= @revision
    ORDER BY sc.revision DESC
    LIMIT 1
) AS c ON true
WHERE s.tenant_id = @tenant_id AND s.symbol = ANY (@symbols::text[]) AND s.revision <= @revision;

-- LastPrices reads through a cut, like all statements on market data: rows dated on or before a day
-- and of a revision up to a number, the highest such revision for each date. They walk the primary
-- keys backwards, so that their cost follows the rows they return and not the size of the tables.
-- name: LastPrices :many
SELECT s.symbol, p.date, p.close
FROM securities AS s
CROSS JOIN LATERAL (
    SELECT prices.date, prices.close
    FROM prices
    WHERE prices.security_id = s.id AND prices.date <= @asof AND prices.revision <= @revision
    ORDER BY prices.date DESC, prices.revision DESC
    LIMIT 1
) AS p
WHERE s.tenant_id = @tenant_id AND s.symbol = ANY (@symbols::text[]);

-- LastRates hops from one pair to the next over the primary key: a DISTINCT would read
-- every rate ever stored to find a handful of pairs.
-- name: LastRates :many
WITH RECURSIVE pairs AS (
    (
        SELECT f.base, f.quote
        FROM fx_rates AS f
        WHERE f.tenant_id = @tenant_id
        ORDER BY f.base, f.quote
        LIMIT 1
    )
    UNION ALL
    SELECT following.base, following.quote
    FROM pairs AS q
    CROSS JOIN LATERAL (
        SELECT f.base, f.quote
        FROM fx_rates AS f
        WHERE f.tenant_id = @tenant_id AND (f.base, f.quote) > (q.base, q.quote)
        ORDER BY f.base, f.quote
        LIMIT 1
    ) AS following
)
SELECT pairs.base::text AS base, pairs.quote::text AS quote, r.date, r.rate
FROM pairs
CROSS JOIN LATERAL (
    SELECT f.date, f.rate
    FROM fx_rates AS f
    WHERE f.tenant_id = @tenant_id AND f.base = pairs.base AND f.quote = pairs.quote
        AND f.date <= @asof AND f.revision <= @revision
    ORDER BY f.date DESC, f.revision DESC
    LIMIT 1
) AS r
WHERE pairs.base = ANY (@currencies::text[]) OR pairs.quote = ANY (@currencies::text[]);

-- PriceSeries returns one row a series with two arrays, newest observation first: the order in which
-- the primary key delivers them without a sort. Dates are days since 1970-01-01.
-- name: PriceSeries :many
SELECT s.symbol, p.days::integer[] AS days, p.closes::double precision[] AS closes
FROM securities AS s
CROSS JOIN LATERAL (
    SELECT
        array_agg(o.date - date '1970-01-01') AS days,
        array_agg(o.close::double precision) AS closes
    FROM (
        SELECT DISTINCT ON (prices.date) prices.date, prices.close
        FROM prices
        WHERE prices.security_id = s.id AND prices.date <= @asof AND prices.revision <= @revision
            AND prices.date >= coalesce((
                SELECT b.date
                FROM prices AS b
                WHERE b.security_id = s.id AND b.date <= @from_date AND b.revision <= @revision
                ORDER BY b.date DESC
                LIMIT 1
            ), @from_date)
        ORDER BY prices.date DESC, prices.revision DESC
    ) AS o
) AS p
WHERE s.tenant_id = @tenant_id AND s.symbol = ANY (@symbols::text[]) AND p.days IS NOT NULL;

-- name: RateSeries :many
WITH RECURSIVE pairs AS (
    (
        SELECT f.base, f.quote
        FROM fx_rates AS f
        WHERE f.tenant_id = @tenant_id
        ORDER BY f.base, f.quote
        LIMIT 1
    )
    UNION ALL
    SELECT following.base, following.quote
    FROM pairs AS q
    CROSS JOIN LATERAL (
        SELECT f.base, f.quote
        FROM fx_rates AS f
        WHERE f.tenant_id = @tenant_id AND (f.base, f.quote) > (q.base, q.quote)
        ORDER BY f.base, f.quote
        LIMIT 1
    ) AS following
)
SELECT
    pairs.base::text AS base, pairs.quote::text AS quote,
    r.days::integer[] AS days, r.rates::double precision[] AS rates
FROM pairs
CROSS JOIN LATERAL (
    SELECT
        array_agg(o.date - date '1970-01-01') AS days,
        array_agg(o.rate::double precision) AS rates
    FROM (
        SELECT DISTINCT ON (f.date) f.date, f.rate
        FROM fx_rates AS f
        WHERE f.tenant_id = @tenant_id AND f.base = pairs.base AND f.quote = pairs.quote
            AND f.date <= @asof AND f.revision <= @revision
            AND f.date >= coalesce((
                SELECT b.date
                FROM fx_rates AS b
                WHERE b.tenant_id = @tenant_id AND b.base = pairs.base AND b.quote = pairs.quote
                    AND b.date <= @from_date AND b.revision <= @revision
                ORDER BY b.date DESC
                LIMIT 1
            ), @from_date)
        ORDER BY f.date DESC, f.revision DESC
    ) AS o
) AS r
WHERE (pairs.base = ANY (@currencies::text[]) OR pairs.quote = ANY (@currencies::text[]))
    AND r.days IS NOT NULL;

-- name: MacroSeries :many
SELECT m.series, v.days::integer[] AS days, v.observed::double precision[] AS observed
FROM macro_series AS m
CROSS JOIN LATERAL (
    SELECT
        array_agg(o.date - date '1970-01-01') AS days,
        array_agg(o.value) AS observed
    FROM (
        SELECT DISTINCT ON (mv.date) mv.date, mv.value
        FROM macro_values AS mv
        WHERE mv.tenant_id = m.tenant_id AND mv.series = m.series
            AND mv.date <= @asof AND mv.revision <= @revision
            AND mv.date >= coalesce((
                SELECT b.date
                FROM macro_values AS b
                WHERE b.tenant_id = m.tenant_id AND b.series = m.series
                    AND b.date <= @from_date AND b.revision <= @revision
                ORDER BY b.date DESC
                LIMIT 1
            ), @from_date)
        ORDER BY mv.date DESC, mv.revision DESC
    ) AS o
) AS v
WHERE m.tenant_id = @tenant_id AND m.series = ANY (@names::text[]) AND v.days IS NOT NULL;

-- name: FirstPack :one
SELECT * FROM pricing_packs
WHERE tenant_id = @tenant_id
ORDER BY date, revision
LIMIT 1;

-- name: Pack :one
SELECT * FROM pricing_packs
WHERE tenant_id = @tenant_id AND id = @id;

-- Circumstances finds, for each key, the portfolio and the newest pack up to a day: all of them in
-- one statement, hence in one round trip and as of one moment. fresh_only leaves out packs that are
-- not fresh.
-- name: Circumstances :many
SELECT
    k.n::integer AS n,
    p.base_currency, p.ledger_version, p.ledger_seq,
    pack.id AS pack_id, pack.date AS pack_date, pack.revision AS pack_revision,
    pack.hash AS pack_hash, pack.state AS pack_state
FROM (
    SELECT
        generate_subscripts(@tenant_ids::text[], 1) AS n,
        unnest(@tenant_ids::text[]) AS tenant_id,
        unnest(@portfolio_ids::uuid[]) AS portfolio_id,
        unnest(@asof::date[]) AS asof,
        unnest(@fresh_only::boolean[]) AS fresh_only
) AS k
LEFT JOIN portfolios AS p ON p.tenant_id = k.tenant_id AND p.id = k.portfolio_id
LEFT JOIN LATERAL (
    SELECT pp.id
    FROM pricing_packs AS pp
    WHERE pp.tenant_id = k.tenant_id AND pp.date <= k.asof AND (NOT k.fresh_only OR pp.state = 'fresh')
    ORDER BY pp.date DESC, pp.revision DESC
    LIMIT 1
) AS newest ON true
LEFT JOIN pricing_packs AS pack ON pack.id = newest.id;
