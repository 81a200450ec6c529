-- Alert rules: what somebody wants to be told of, and where each rule stands.

-- +goose Up
SET LOCAL lock_timeout = '5s';

-- Every evaluation writes to its rule. The room left in each page keeps these updates from touching an
-- index, as long as state stays what it is.
CREATE TABLE alert_rules (
    id                uuid        PRIMARY KEY, -- version 7: ordered by creation
    tenant_id         text        NOT NULL REFERENCES tenants (id),
    user_id           text        NOT NULL,
    name              text        NOT NULL,
    type              text        NOT NULL, -- of the condition; compound for a tree
    -- json, not jsonb: it keeps the digits of thresholds. Nothing in it is searched by SQL.
    condition         json        NOT NULL,
    severity          text        NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    title             text        NOT NULL, -- templates
    message           text        NOT NULL,
    cooldown_hours    integer     NOT NULL CHECK (cooldown_hours BETWEEN 0 AND 8760),
    ttl_seconds       integer     CHECK (ttl_seconds > 0), -- null: messages are never too old to send
    channels          jsonb       NOT NULL,
    fallback          jsonb,
    active            boolean     NOT NULL,
    state             text        NOT NULL CHECK (state IN ('ok', 'firing', 'snoozed', 'acknowledged')),
    snoozed_until     timestamptz,
    last_fired_at     timestamptz,
    last_evaluated_at timestamptz,
    last_value        numeric,
    last_error        text,                        -- why the last firing could not be handed on
    revision          integer     NOT NULL DEFAULT 1, -- counts what people change, not evaluations
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,        -- by people
    CHECK ((state = 'snoozed') = (snoozed_until IS NOT NULL))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX alert_rules_list ON alert_rules (tenant_id, id DESC);
CREATE INDEX alert_rules_of_user ON alert_rules (tenant_id, user_id, id DESC);
-- Few rules are in any other state than ok, so that the index costs most of them nothing.
CREATE INDEX alert_rules_not_ok ON alert_rules (tenant_id, state, id DESC) WHERE state <> 'ok';

-- +goose Down
DROP TABLE alert_rules;
