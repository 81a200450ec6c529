-- The history of circuit breakers. Each lives in the memory of a process; what is recorded outlives it.

-- +goose Up
SET LOCAL lock_timeout = '5s';

CREATE TABLE breaker_changes (
    id         uuid        PRIMARY KEY, -- of version 7; in the order of changes within a process
    tenant_id  text        REFERENCES tenants (id), -- whose endpoint it is; null of agents
    role       text        NOT NULL CHECK (role IN ('api', 'worker')),
    host       text        NOT NULL,
    pid        integer     NOT NULL,
    kind       text        NOT NULL CHECK (kind IN ('agent', 'endpoint')),
    name       text        NOT NULL,
    from_state text        NOT NULL CHECK (from_state IN ('CLOSED', 'OPEN', 'HALF_OPEN')),
    to_state   text        NOT NULL CHECK (to_state IN ('CLOSED', 'OPEN', 'HALF_OPEN', 'GONE')),
    at         timestamptz NOT NULL,
    reason     text        NOT NULL CHECK (length(reason) <= 500)
);
CREATE INDEX breaker_changes_of_name ON breaker_changes (kind, name, id DESC);
CREATE INDEX breaker_changes_list ON breaker_changes (kind, to_state, id DESC);

-- Where the changes have led. Without it each look at the present states would read a month's changes.
CREATE TABLE breaker_states (
    tenant_id text        REFERENCES tenants (id),
    role      text        NOT NULL,
    host      text        NOT NULL,
    pid       integer     NOT NULL,
    kind      text        NOT NULL,
    name      text        NOT NULL,
    state     text        NOT NULL CHECK (state IN ('CLOSED', 'OPEN', 'HALF_OPEN')),
    since     timestamptz NOT NULL,
    change_id uuid        NOT NULL, -- the change that led here; it may have been pruned
    UNIQUE NULLS NOT DISTINCT (role, host, pid, kind, name, tenant_id)
);

-- +goose Down
DROP TABLE breaker_states, breaker_changes;
