-- Which processes run, as each says of itself every few seconds, and the failures of the last hour by index.

-- +goose Up
SET LOCAL lock_timeout = '5s';

CREATE TABLE processes (
    id         uuid        PRIMARY KEY, -- of version 7, from when the process started
    role       text        NOT NULL CHECK (role IN ('api', 'worker')),
    host       text        NOT NULL,
    pid        integer     NOT NULL,
    version    text        NOT NULL,
    commit     text        NOT NULL,
    started_at timestamptz NOT NULL,
    heard_at   timestamptz NOT NULL, -- by the database's clock, as all times here
    stopped_at timestamptz,          -- when it said that it stops; null also where it was killed
    reason     text                  -- why it is not ready; null when it is
);
CREATE INDEX processes_heard ON processes (heard_at);

CREATE INDEX alert_attempts_failed ON alert_attempts (tenant_id, started_at) WHERE outcome <> 'delivered';

-- +goose Down
DROP INDEX alert_attempts_failed;
DROP TABLE processes;
