-- InsertRun leaves a run alone that is there already: a batch whose commit was not confirmed is sent again.
-- name: InsertRun :batchexec
INSERT INTO pattern_runs (
    id, tenant_id, request_id, trace_id, user_id, pattern_id, definition_hash, inputs, asof, require_fresh,
    pricing_pack_id, pricing_pack_date, pricing_pack_revision, pricing_pack_hash,
    portfolio_id, base_currency, ledger_version, ledger_seq,
    started_at, duration_seconds, outcome, error_code, error_detail, warnings, data_hash, trace
) VALUES (
    @id, @tenant_id, @request_id, @trace_id, @user_id, @pattern_id, @definition_hash, @inputs, @asof, @require_fresh,
    @pricing_pack_id, @pricing_pack_date, @pricing_pack_revision, @pricing_pack_hash,
    @portfolio_id, @base_currency, @ledger_version, @ledger_seq,
    @started_at, @duration_seconds, @outcome, @error_code, @error_detail, @warnings, @data_hash, @trace
)
ON CONFLICT (id) DO NOTHING;

-- name: Run :one
SELECT * FROM pattern_runs WHERE tenant_id = @tenant_id AND id = @id;

-- Runs lists newest first what started before a place in the list. Traces stay where they are, and
-- so do inputs of more than some kilobytes: a page of those would not fit into memory.
--
-- There is one statement for each index. With all filters optional in a single one, the plan that
-- PostgreSQL keeps for it could use none but the first index, and would read every run of a tenant
-- to find a few.
-- name: Runs :many
SELECT
    id, tenant_id, request_id, trace_id, user_id, pattern_id, definition_hash,
    (CASE WHEN pg_column_size(inputs) <= 8192 THEN inputs END)::json AS inputs,
    asof, require_fresh, pricing_pack_id, pricing_pack_date, pricing_pack_revision, pricing_pack_hash,
    portfolio_id, base_currency, ledger_version, ledger_seq,
    started_at, duration_seconds, outcome, error_code, error_detail, warnings, data_hash
FROM pattern_runs
WHERE tenant_id = @tenant_id
    AND (started_at, id) < (@before_start::timestamptz, @before_id::uuid)
    AND started_at >= @since::timestamptz
    AND (sqlc.narg('outcome')::text IS NULL OR outcome = sqlc.narg('outcome'))
ORDER BY started_at DESC, id DESC
LIMIT @row_limit;

-- name: RunsOfPattern :many
SELECT
    id, tenant_id, request_id, trace_id, user_id, pattern_id, definition_hash,
    (CASE WHEN pg_column_size(inputs) <= 8192 THEN inputs END)::json AS inputs,
    asof, require_fresh, pricing_pack_id, pricing_pack_date, pricing_pack_revision, pricing_pack_hash,
    portfolio_id, base_currency, ledger_version, ledger_seq,
    started_at, duration_seconds, outcome, error_code, error_detail, warnings, data_hash
FROM pattern_runs
WHERE tenant_id = @tenant_id
    AND (started_at, id) < (@before_start::timestamptz, @before_id::uuid)
    AND started_at >= @since::timestamptz
    AND pattern_id = @pattern_id
    AND (sqlc.narg('outcome')::text IS NULL OR outcome = sqlc.narg('outcome'))
ORDER BY started_at DESC, id DESC
LIMIT @row_limit;

-- name: FailedRuns :many
SELECT
    id, tenant_id, request_id, trace_id, user_id, pattern_id, definition_hash,
    (CASE WHEN pg_column_size(inputs) <= 8192 THEN inputs END)::json AS inputs,
    asof, require_fresh, pricing_pack_id, pricing_pack_date, pricing_pack_revision, pricing_pack_hash,
    portfolio_id, base_currency, ledger_version, ledger_seq,
    started_at, duration_seconds, outcome, error_code, error_detail, warnings, data_hash
FROM pattern_runs
WHERE tenant_id = @tenant_id
    AND (started_at, id) < (@before_start::timestamptz, @before_id::uuid)
    AND started_at >= @since::timestamptz
    AND outcome = 'error'
    AND (sqlc.narg('pattern_id')::text IS NULL OR pattern_id = sqlc.narg('pattern_id'))
ORDER BY started_at DESC, id DESC
LIMIT @row_limit;

-- name: RunsOfPortfolio :many
SELECT
    id, tenant_id, request_id, trace_id, user_id, pattern_id, definition_hash,
    (CASE WHEN pg_column_size(inputs) <= 8192 THEN inputs END)::json AS inputs,
    asof, require_fresh, pricing_pack_id, pricing_pack_date, pricing_pack_revision, pricing_pack_hash,
    portfolio_id, base_currency, ledger_version, ledger_seq,
    started_at, duration_seconds, outcome, error_code, error_detail, warnings, data_hash
FROM pattern_runs
WHERE tenant_id = @tenant_id
    AND (started_at, id) < (@before_start::timestamptz, @before_id::uuid)
    AND started_at >= @since::timestamptz
    AND portfolio_id = @portfolio_id::uuid
    AND (sqlc.narg('pattern_id')::text IS NULL OR pattern_id = sqlc.narg('pattern_id'))
    AND (sqlc.narg('outcome')::text IS NULL OR outcome = sqlc.narg('outcome'))
ORDER BY started_at DESC, id DESC
LIMIT @row_limit;

-- RunSteps counts the steps of some runs by how they ended. PostgreSQL does not look into JSON with the
-- character U+0000, which error texts may hold: here and below it reads U+FFFD for it. Steps are null in the
-- trace of a run that failed before it had one.
-- name: RunSteps :many
WITH chosen AS MATERIALIZED (
    SELECT id, replace(trace::text, '\u0000', '\ufffd')::json -> 'steps' AS steps
    FROM pattern_runs
    WHERE tenant_id = @tenant_id AND id = ANY(@ids::uuid[])
)
SELECT
    c.id,
    count(*) AS steps,
    count(*) FILTER (WHERE s.status = 'cached') AS cached,
    count(*) FILTER (WHERE s.status = 'skipped') AS skipped
FROM chosen AS c
CROSS JOIN LATERAL json_to_recordset(CASE json_typeof(c.steps) WHEN 'array' THEN c.steps END) AS s (status text)
GROUP BY c.id;

-- What follows sums up the runs of a period, the newest of them when there are more than a page can afford to
-- look at. All see the same runs when they are asked in one transaction, and Minute is when that began.

-- name: Minute :one
SELECT date_trunc('minute', now())::timestamptz AS minute;

-- name: CountRuns :one
SELECT count(*) AS runs, coalesce(min(n.started_at), @since::timestamptz)::timestamptz AS since
FROM (
    SELECT started_at
    FROM pattern_runs
    WHERE tenant_id = @tenant_id AND started_at >= @since::timestamptz AND started_at < @until::timestamptz
    ORDER BY started_at DESC, id DESC
    LIMIT @row_limit
) AS n;

-- name: PatternFigures :many
WITH newest AS MATERIALIZED (
    SELECT pattern_id, outcome, duration_seconds
    FROM pattern_runs
    WHERE tenant_id = @tenant_id AND started_at >= @since::timestamptz AND started_at < @until::timestamptz
    ORDER BY started_at DESC, id DESC
    LIMIT @row_limit
)
SELECT
    pattern_id,
    count(*) AS runs,
    count(*) FILTER (WHERE outcome = 'error') AS failed,
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_seconds)::double precision[] AS percentiles,
    max(duration_seconds)::double precision AS slowest
FROM newest
GROUP BY pattern_id
ORDER BY pattern_id;

-- name: PeriodFigures :many
WITH newest AS MATERIALIZED (
    SELECT started_at, outcome, duration_seconds
    FROM pattern_runs
    WHERE tenant_id = @tenant_id AND started_at >= @since::timestamptz AND started_at < @until::timestamptz
    ORDER BY started_at DESC, id DESC
    LIMIT @row_limit
)
SELECT
    date_bin(@length::interval, started_at, @since::timestamptz)::timestamptz AS began,
    count(*) AS runs,
    count(*) FILTER (WHERE outcome = 'error') AS failed,
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_seconds)::double precision[] AS percentiles
FROM newest
GROUP BY 1
ORDER BY 1;

-- name: SlowestRuns :many
WITH newest AS MATERIALIZED (
    SELECT id, pattern_id, started_at, outcome, duration_seconds
    FROM pattern_runs
    WHERE tenant_id = @tenant_id AND started_at >= @since::timestamptz AND started_at < @until::timestamptz
    ORDER BY started_at DESC, id DESC
    LIMIT @row_limit
)
SELECT id, pattern_id, started_at, outcome, duration_seconds
FROM newest
ORDER BY duration_seconds DESC, id DESC
LIMIT @most;

-- StepFigures reads traces, which are JSON: some 30 µs a run. A step that was cached or skipped did no work,
-- so how long it took is not in the percentiles, which are null when none did any.
-- name: StepFigures :many
WITH newest AS MATERIALIZED (
    SELECT pattern_id, replace(trace::text, '\u0000', '\ufffd')::json -> 'steps' AS steps
    FROM pattern_runs
    WHERE tenant_id = @tenant_id AND started_at >= @since::timestamptz AND started_at < @until::timestamptz
    ORDER BY started_at DESC, id DESC
    LIMIT @row_limit
)
SELECT
    n.pattern_id,
    s."as"::text AS step,
    s.capability::text AS capability,
    count(*) AS calls,
    count(*) FILTER (WHERE s.status = 'cached') AS cached,
    count(*) FILTER (WHERE s.status = 'skipped') AS skipped,
    count(*) FILTER (WHERE s.status = 'error') AS failed,
    (percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY s.duration_seconds)
        FILTER (WHERE s.status IN ('success', 'error')))::double precision[] AS percentiles
FROM newest AS n
CROSS JOIN LATERAL json_to_recordset(CASE json_typeof(n.steps) WHEN 'array' THEN n.steps END) AS s ("as" text, capability text, status text, duration_seconds double precision)
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3;

-- DeleteRuns hops from tenant to tenant over the index of the list and takes the oldest of each. The
-- array makes it find them by key: for a join the planner would believe that they are a tenth of the
-- table, and read all of it for every batch.
-- name: DeleteRuns :execrows
WITH RECURSIVE owners AS (
    (
        SELECT r.tenant_id
        FROM pattern_runs AS r
        ORDER BY r.tenant_id
        LIMIT 1
    )
    UNION ALL
    SELECT following.tenant_id
    FROM owners AS o
    CROSS JOIN LATERAL (
        SELECT r.tenant_id
        FROM pattern_runs AS r
        WHERE r.tenant_id > o.tenant_id
        ORDER BY r.tenant_id
        LIMIT 1
    ) AS following
)
DELETE FROM pattern_runs
WHERE id = ANY (ARRAY(
    SELECT expired.id
    FROM owners AS o
    CROSS JOIN LATERAL (
        SELECT r.id
        FROM pattern_runs AS r
        WHERE r.tenant_id = o.tenant_id AND r.started_at < @started_before
        ORDER BY r.started_at
        LIMIT @row_limit
    ) AS expired
    LIMIT @row_limit
)::uuid[]);
