-- Pricing packs say how far they have come and why they went wrong; every run of a periodic job is
-- recorded; and the figures of all portfolios are kept as the nightly jobs compute them.

-- +goose Up
SET LOCAL lock_timeout = '5s';

-- A pack is warming from when it is made until all of the nightly order before mark_fresh is done with
-- it. The sample's packs are fresh from the start and have none of these times.
ALTER TABLE pricing_packs
    ADD reason        text,        -- why it is in error
    ADD built_at      timestamptz, -- its hash was checked against the data that it cuts through
    ADD reconciled_at timestamptz, -- every ledger was valued in two ways that agree
    ADD prewarmed_at  timestamptz, -- the API has answers over it in its cache; null also where that was skipped
    ADD fresh_at      timestamptz;

CREATE INDEX pricing_packs_state ON pricing_packs (tenant_id, state, date DESC, revision DESC);

CREATE TABLE job_runs (
    id         uuid        PRIMARY KEY, -- of version 7, from when the run started
    job        text        NOT NULL,
    tenant_id  text        REFERENCES tenants (id), -- null: it was about all of them
    trigger    text        NOT NULL CHECK (trigger IN ('schedule', 'manual', 'chain', 'import')),
    chain      uuid,       -- the nightly order that it was a part of
    job_id     bigint,     -- River's; null when it never came to run
    attempt    integer     NOT NULL DEFAULT 1,
    status     text        NOT NULL CHECK (status IN ('running', 'succeeded', 'failed', 'skipped')),
    started_at timestamptz NOT NULL,
    ended_at   timestamptz CHECK ((ended_at IS NULL) = (status = 'running')),
    error      text, -- of failed and skipped: why
    detail     jsonb       NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX job_runs_attempt ON job_runs (job_id, attempt) WHERE job_id IS NOT NULL;
CREATE INDEX job_runs_job ON job_runs (job, id DESC);
CREATE INDEX job_runs_success ON job_runs (job, ended_at DESC) WHERE status = 'succeeded';
CREATE INDEX job_runs_running ON job_runs (job) WHERE status = 'running';
CREATE INDEX job_runs_chain ON job_runs (chain) WHERE chain IS NOT NULL;

-- figures: {name: {"value": number} or {"missing": reason}}, as portfolio.Figures has them. asof: the last
-- valuation day; null when there is none.
CREATE TABLE portfolio_metrics (
    tenant_id      text        NOT NULL,
    portfolio_id   uuid        NOT NULL REFERENCES portfolios (id) ON DELETE CASCADE,
    pack_id        uuid        NOT NULL REFERENCES pricing_packs (id) ON DELETE CASCADE,
    ledger_version text        NOT NULL,
    asof           date,
    figures        jsonb       NOT NULL,
    computed_at    timestamptz NOT NULL,
    PRIMARY KEY (portfolio_id, pack_id)
);
CREATE INDEX portfolio_metrics_pack ON portfolio_metrics (pack_id);
CREATE INDEX portfolio_metrics_computed ON portfolio_metrics (computed_at);

-- +goose Down
DROP TABLE portfolio_metrics, job_runs;
DROP INDEX pricing_packs_state;
ALTER TABLE pricing_packs
    DROP reason, DROP built_at, DROP reconciled_at, DROP prewarmed_at, DROP fresh_at;
