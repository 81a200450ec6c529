-- Work on many dead letters at a pace: replays and discards by filter, and the drains of endpoints
-- that have recovered. An operation is one row that its job works slice by slice; what came of the
-- letters it released is counted from their attempts, so that no attempt waits for the row.

-- +goose Up
SET LOCAL lock_timeout = '5s';

CREATE TABLE alert_dlq_operations (
    id                  uuid        PRIMARY KEY, -- version 7: ordered by start
    tenant_id           text        NOT NULL,
    kind                text        NOT NULL CHECK (kind IN ('replay', 'discard', 'drain')),
    filter              jsonb       NOT NULL, -- which letters; {} for a drain
    endpoint            text        NOT NULL DEFAULT '', -- of a drain
    actor               text        NOT NULL,
    reason              text,
    per_second          integer     NOT NULL CHECK (per_second > 0),
    stop_after_failures integer     NOT NULL CHECK (stop_after_failures >= 0), -- 0: it never stops for them
    state               text        NOT NULL CHECK (state IN ('running', 'done', 'stopped', 'cancelled')),
    stop_reason         text,
    total               integer     NOT NULL, -- letters that matched at the start; counting ends at 100,001
    released            bigint      NOT NULL DEFAULT 0, -- letters taken from the queue's wait, or discarded
    -- Letters behind this one are still to be looked at; letters above last_id came after the start.
    cursor_id           uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    last_id             uuid        NOT NULL,
    slices              integer     NOT NULL DEFAULT 0, -- since the start or the last continuation: a drain's ramp
    failures_before     bigint      NOT NULL DEFAULT 0, -- letters that had failed at the last continuation
    progress            bigint      NOT NULL DEFAULT 0, -- letters released, and released letters attempted, together
    progress_at         timestamptz NOT NULL,           -- when that last grew
    -- The one River job that may work this row. A job that finds another id here ends.
    job_id              bigint,
    started_at          timestamptz NOT NULL,
    ended_at            timestamptz,
    CHECK ((state = 'running') = (ended_at IS NULL)),
    CHECK ((kind = 'drain') = (endpoint <> ''))
);
CREATE INDEX alert_dlq_operations_list ON alert_dlq_operations (tenant_id, id DESC);
-- One drain of an endpoint at a time, however many processes see it recover.
CREATE UNIQUE INDEX alert_dlq_operations_drain ON alert_dlq_operations (tenant_id, endpoint)
    WHERE kind = 'drain' AND state = 'running';

-- How an operation gets on is counted from the index alone.
DROP INDEX alert_attempts_operation;
CREATE INDEX alert_attempts_operation ON alert_attempts (operation_id, outcome) WHERE operation_id IS NOT NULL;
CREATE INDEX alert_dlq_operation ON alert_dlq (operation_id) WHERE operation_id IS NOT NULL;

-- +goose Down
DROP INDEX alert_dlq_operation;
DROP INDEX alert_attempts_operation;
CREATE INDEX alert_attempts_operation ON alert_attempts (operation_id) WHERE operation_id IS NOT NULL;
DROP TABLE alert_dlq_operations;
