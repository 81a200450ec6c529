-- The runs of one portfolio are listed without reading all others of the tenant.

-- +goose Up
SET LOCAL lock_timeout = '5s';

-- Partial: a run that is about no portfolio costs it nothing.
CREATE INDEX pattern_runs_of_portfolio ON pattern_runs (tenant_id, portfolio_id, started_at DESC, id DESC)
WHERE portfolio_id IS NOT NULL;

-- +goose Down
DROP INDEX pattern_runs_of_portfolio;
