-- InsertRule adds a rule unless the tenant has as many as it may, or the id is taken.
-- name: InsertRule :execrows
INSERT INTO alert_rules (
    id, tenant_id, user_id, name, type, condition, severity, title, message, cooldown_hours, ttl_seconds,
    channels, fallback, active, state, created_at, updated_at
)
SELECT
    @id, @tenant_id, @user_id, @name, @type, @condition, @severity, @title, @message, @cooldown_hours,
    sqlc.narg(ttl_seconds), @channels, sqlc.narg(fallback), @active, 'ok', @created_at, @created_at
WHERE count_alert_rules(@tenant_id, @most::bigint) < @most::bigint
ON CONFLICT (id) DO NOTHING;

-- name: Rule :one
SELECT * FROM alert_rules WHERE tenant_id = @tenant_id AND id = @id;

-- name: LockRule :one
SELECT * FROM alert_rules WHERE tenant_id = @tenant_id AND id = @id FOR UPDATE;

-- name: Rules :many
SELECT * FROM alert_rules
WHERE tenant_id = @tenant_id AND id < @before
    AND (sqlc.narg(user_id)::text IS NULL OR user_id = sqlc.narg(user_id))
    AND (sqlc.narg(state)::text IS NULL OR state = sqlc.narg(state))
    AND (sqlc.narg(type)::text IS NULL OR type = sqlc.narg(type))
    AND (sqlc.narg(active)::boolean IS NULL OR active = sqlc.narg(active))
ORDER BY id DESC
LIMIT @row_limit;

-- name: RulesByID :many
SELECT * FROM alert_rules WHERE tenant_id = @tenant_id AND id = ANY (@ids::uuid[]) ORDER BY id;

-- name: ActiveRules :many
SELECT * FROM alert_rules
WHERE tenant_id = @tenant_id AND active AND id > @after
ORDER BY id
LIMIT @row_limit;

-- name: TenantsWithRules :many
SELECT t.id FROM tenants AS t
WHERE EXISTS (SELECT 1 FROM alert_rules AS r WHERE r.tenant_id = t.id)
ORDER BY t.id;

-- name: UpdateRule :exec
UPDATE alert_rules SET
    user_id = @user_id, name = @name, type = @type, condition = @condition, severity = @severity,
    title = @title, message = @message, cooldown_hours = @cooldown_hours, ttl_seconds = sqlc.narg(ttl_seconds),
    channels = @channels, fallback = sqlc.narg(fallback), active = @active,
    state = @state, snoozed_until = sqlc.narg(snoozed_until), last_evaluated_at = sqlc.narg(last_evaluated_at),
    last_value = sqlc.narg(last_value), last_error = sqlc.narg(last_error),
    revision = @revision, updated_at = @updated_at
WHERE tenant_id = @tenant_id AND id = @id;

-- name: DeleteRule :exec
DELETE FROM alert_rules WHERE tenant_id = @tenant_id AND id = @id;

-- RecordEvaluations writes down what evaluations came to, and returns which of them. A rule that
-- somebody changed in the meantime, or that another evaluation fired, stays as it is.
--
-- The rows are locked in one order: two evaluations at once must not wait for each other in a circle.
-- The first day of the first year, Go's zero time, stands for no time at all.
-- name: RecordEvaluations :many
WITH given AS (
    SELECT
        unnest(@ids::uuid[]) AS id,
        unnest(@revisions::integer[]) AS revision,
        unnest(@fired_before::timestamptz[]) AS fired_before,
        unnest(@states::text[]) AS state,
        unnest(@snoozed::timestamptz[]) AS snoozed_until,
        unnest(@values::text[]) AS value,
        unnest(@errors::text[]) AS error,
        unnest(@fired::boolean[]) AS fired
), locked AS (
    SELECT r.id
    FROM alert_rules AS r
    JOIN given AS g ON g.id = r.id
    WHERE r.tenant_id = @tenant_id AND r.revision = g.revision
        AND coalesce(r.last_fired_at, '0001-01-01 00:00:00+00') = g.fired_before
    ORDER BY r.id
    FOR UPDATE OF r
)
UPDATE alert_rules AS r SET
    state = g.state,
    snoozed_until = nullif(g.snoozed_until, '0001-01-01 00:00:00+00'),
    last_evaluated_at = @evaluated_at::timestamptz,
    last_value = nullif(g.value, '')::numeric,
    last_error = nullif(g.error, ''),
    last_fired_at = CASE WHEN g.fired THEN @evaluated_at::timestamptz ELSE r.last_fired_at END
FROM given AS g
JOIN locked ON locked.id = g.id
WHERE r.id = g.id AND r.revision = g.revision AND coalesce(r.last_fired_at, '0001-01-01 00:00:00+00') = g.fired_before
RETURNING r.id;

-- NewestMacro returns the last observation of each series up to a day, in its latest revision. Projections are
-- dated later.
-- name: NewestMacro :many
SELECT m.series, v.date, v.value
FROM macro_series AS m
CROSS JOIN LATERAL (
    SELECT mv.date, mv.value
    FROM macro_values AS mv
    WHERE mv.tenant_id = m.tenant_id AND mv.series = m.series AND mv.date <= @today
    ORDER BY mv.date DESC, mv.revision DESC
    LIMIT 1
) AS v
WHERE m.tenant_id = @tenant_id AND m.series = ANY (@names::text[]);

-- NewestCloses returns the last two bars of each security up to a day, newest first, each in its latest
-- revision. A price that is not stored is 0, a volume -1: no bar has those.
-- name: NewestCloses :many
SELECT
    s.symbol, p.date, p.close,
    coalesce(p.open, 0)::numeric AS open,
    coalesce(p.high, 0)::numeric AS high,
    coalesce(p.low, 0)::numeric AS low,
    coalesce(p.volume, -1)::numeric AS volume
FROM securities AS s
CROSS JOIN LATERAL (
    SELECT DISTINCT ON (prices.date) prices.date, prices.close, prices.open, prices.high, prices.low, prices.volume
    FROM prices
    WHERE prices.security_id = s.id AND prices.date <= @today
    ORDER BY prices.date DESC, prices.revision DESC
    LIMIT 2
) AS p
WHERE s.tenant_id = @tenant_id AND s.symbol = ANY (@symbols::text[])
ORDER BY s.symbol, p.date DESC;

-- PacksRebuilt tells whether packs after a day, the newest fresh one's, were fresh and are stale now: what takes
-- their place is not fresh yet. A pack that was replaced before it was ever fresh does not count. The sample's
-- were fresh from the start, and have no time at which they became so.
-- name: PacksRebuilt :one
SELECT EXISTS (
    SELECT FROM pricing_packs AS k
    WHERE k.tenant_id = @tenant_id AND k.state = 'stale' AND k.date > @fresh_date::date
        AND (k.fresh_at IS NOT NULL OR EXISTS (
            SELECT FROM data_revisions AS r WHERE r.tenant_id = k.tenant_id AND r.revision = k.revision AND r.source = 'sample'))
);

-- NewestScores returns the last score of each metric of each security up to a day, in its latest revision.
-- name: NewestScores :many
SELECT DISTINCT ON (s.symbol, r.metric) s.symbol, r.metric, r.date, r.score
FROM securities AS s
JOIN ratings AS r ON r.security_id = s.id
WHERE s.tenant_id = @tenant_id AND s.symbol = ANY (@symbols::text[]) AND r.date <= @today
ORDER BY s.symbol, r.metric, r.date DESC, r.revision DESC;

-- RecentSentiment returns the mean sentiment of the news about each symbol in the time before the newest
-- news of the tenant about anything, how many were judged and how many not. Only the latest revision of an
-- item counts. Symbols without such news are absent.
-- name: RecentSentiment :many
WITH newest AS (
    SELECT n.published_at
    FROM news AS n
    WHERE n.tenant_id = @tenant_id AND n.date <= @today AND n.published_at <= @now
        AND NOT EXISTS (
            SELECT FROM news AS later
            WHERE later.tenant_id = n.tenant_id AND later.id = n.id AND later.revision > n.revision
        )
    ORDER BY n.date DESC, n.published_at DESC
    LIMIT 1
)
SELECT
    about.symbol::text AS symbol, max(n.published_at)::timestamptz AS published_at,
    count(n.sentiment) AS judged, count(*) AS items, coalesce(avg(n.sentiment), 0)::double precision AS mean
FROM newest
JOIN news AS n ON n.tenant_id = @tenant_id AND n.symbols && @symbols::text[]
    AND n.published_at > newest.published_at - make_interval(secs => @window_seconds)
    AND n.date >= (newest.published_at - make_interval(secs => @window_seconds))::date - 1
    AND n.published_at <= newest.published_at
CROSS JOIN LATERAL (
    SELECT unnest(n.symbols) AS symbol
    GROUP BY 1
) AS about
WHERE about.symbol = ANY (@symbols::text[])
    AND NOT EXISTS (
        SELECT FROM news AS later
        WHERE later.tenant_id = n.tenant_id AND later.id = n.id AND later.revision > n.revision
    )
GROUP BY about.symbol;
