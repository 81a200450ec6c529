-- Named delivery targets. Everything about where and how one is reached is sealed: encrypted with a
-- key that only the processes have (package seal), bound to tenant and name.

-- +goose Up
SET LOCAL lock_timeout = '5s';

CREATE TABLE destinations (
    id          uuid        PRIMARY KEY, -- version 7
    tenant_id   text        NOT NULL REFERENCES tenants (id),
    name        text        NOT NULL CHECK (name ~ '^[a-z0-9_-]{1,63}$'),
    channel     text        NOT NULL CHECK (channel IN ('webhook', 'email', 'chat')),
    description text        NOT NULL,
    enabled     boolean     NOT NULL,
    shown       text        NOT NULL, -- what may be told of the address
    sealed      bytea       NOT NULL,
    revision    integer     NOT NULL CHECK (revision > 0),
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    UNIQUE (tenant_id, name)
);

-- +goose Down
DROP TABLE destinations;
