-- name: CopyRuns :copyfrom
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
);

-- InsertRun leaves a run alone that is there already. It is for batches whose commit was not
-- confirmed and which are therefore sent again: COPY costs half as much, but can't do that.
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
