-- Recorded pattern runs: what was asked, which data it saw, how it went.
--
-- Rows are only ever added and, after their retention, deleted. No foreign keys: a run outlives
-- what it names (a replay then says what is gone), and key checks would cost each row of a batch
-- index probes and row locks.

-- +goose Up
SET LOCAL lock_timeout = '5s';

CREATE TABLE pattern_runs (
    id                    uuid             PRIMARY KEY, -- version 7
    tenant_id             text             NOT NULL,
    request_id            text             NOT NULL,
    trace_id              text             NOT NULL, -- '' when tracing was off
    user_id               text,                      -- null when the caller was no person
    pattern_id            text             NOT NULL,
    definition_hash       text             NOT NULL,
    -- json, not jsonb, here and below: it keeps the text. jsonb would write 1e2 as 100, drop the
    -- order of keys, and refuse the character U+0000, which a caller's text may hold. A replay must
    -- get the very digits, and nothing here is ever searched by SQL.
    inputs                json             NOT NULL, -- checked, with defaults
    asof                  date             NOT NULL,
    require_fresh         boolean          NOT NULL,
    pricing_pack_id       uuid             NOT NULL,
    pricing_pack_date     date             NOT NULL,
    pricing_pack_revision bigint           NOT NULL,
    pricing_pack_hash     text             NOT NULL,
    portfolio_id          uuid,            -- these four null when the run was about no portfolio
    base_currency         text,
    ledger_version        text,
    ledger_seq            bigint,
    started_at            timestamptz      NOT NULL,
    duration_seconds      double precision NOT NULL,
    outcome               text             NOT NULL CHECK (outcome IN ('success', 'error')),
    error_code            text,
    error_detail          text,
    warnings              json             NOT NULL, -- a list of texts
    data_hash             text,
    trace                 json             NOT NULL,
    CHECK ((outcome = 'error') = (error_code IS NOT NULL)),
    CHECK ((outcome = 'success') = (data_hash IS NOT NULL)),
    CHECK (num_nulls(portfolio_id, base_currency, ledger_version, ledger_seq) IN (0, 4))
);
-- Newest first; what is asked for is a tenant's runs, those of one pattern, or those that failed.
-- By start rather than by id, so that a period is a range of the index and not a filter over it.
--
-- Retention goes through the first of them, tenant by tenant. An index over started_at alone would
-- cost every row as much as these, and the planner would take it for lists: it believes any range
-- with bounds that it doesn't know to be small.
CREATE INDEX pattern_runs_list ON pattern_runs (tenant_id, started_at DESC, id DESC);
CREATE INDEX pattern_runs_of_pattern ON pattern_runs (tenant_id, pattern_id, started_at DESC, id DESC);
-- Failures are few: partial, the index costs successes nothing.
CREATE INDEX pattern_runs_failed ON pattern_runs (tenant_id, started_at DESC, id DESC) WHERE outcome = 'error';

-- +goose Down
DROP TABLE pattern_runs;
