-- SecurityByID is read with the attributes that it had at a revision.
-- name: SecurityByID :one
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
WHERE s.tenant_id = @tenant_id AND s.id = @id AND s.revision <= @revision;

-- Fundamentals returns the newest value of every metric from every provider. No provider means all of
-- them, and so does an empty list of metrics.
-- name: Fundamentals :many
SELECT DISTINCT ON (s.symbol, f.security_id, f.provider, f.metric)
    f.security_id, s.symbol, f.provider, f.metric, f.date, f.period_end, f.value
FROM fundamentals AS f
JOIN securities AS s ON s.id = f.security_id
WHERE f.tenant_id = @tenant_id AND s.tenant_id = @tenant_id AND f.security_id = ANY (@ids::uuid[])
    AND (@provider::text = '' OR f.provider = @provider)
    AND (cardinality(@metrics::text[]) = 0 OR f.metric = ANY (@metrics))
    AND f.date <= @asof AND f.revision <= @revision
ORDER BY s.symbol, f.security_id, f.provider, f.metric, f.date DESC, f.revision DESC
LIMIT @row_limit;

-- Ratings returns the newest score of every metric.
-- name: Ratings :many
SELECT DISTINCT ON (s.symbol, r.security_id, r.metric)
    r.security_id, s.symbol, r.metric, r.date, r.score, r.source
FROM ratings AS r
JOIN securities AS s ON s.id = r.security_id
WHERE r.tenant_id = @tenant_id AND s.tenant_id = @tenant_id AND r.security_id = ANY (@ids::uuid[])
    AND r.date <= @asof AND r.revision <= @revision
ORDER BY s.symbol, r.security_id, r.metric, r.date DESC, r.revision DESC;

-- News returns the newest items about any of the symbols. A later revision of an item replaces the
-- earlier ones entirely, its moment included.
-- name: News :many
SELECT n.id, n.published_at, n.title, n.source, n.url, n.sentiment, n.symbols
FROM news AS n
WHERE n.tenant_id = @tenant_id AND n.symbols && @symbols::text[]
    AND n.date <= @asof AND n.revision <= @revision
    AND n.published_at >= @since AND n.date >= @since_date
    AND NOT EXISTS (
        SELECT FROM news AS later
        WHERE later.tenant_id = n.tenant_id AND later.id = n.id
            AND later.revision > n.revision AND later.revision <= @revision
    )
ORDER BY n.published_at DESC, n.id
LIMIT @row_limit;

-- NewestNews returns the moment of the newest item about anything.
-- name: NewestNews :one
SELECT n.published_at
FROM news AS n
WHERE n.tenant_id = @tenant_id AND n.date <= @asof AND n.revision <= @revision
    AND NOT EXISTS (
        SELECT FROM news AS later
        WHERE later.tenant_id = n.tenant_id AND later.id = n.id
            AND later.revision > n.revision AND later.revision <= @revision
    )
ORDER BY n.date DESC, n.published_at DESC
LIMIT 1;
