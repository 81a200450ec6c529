-- Named destinations make several targets of one kind possible in one event: what was unique by
-- (event, channel) becomes so by (event, target), where target is the channel of an address given
-- with the event, or 'destination:NAME'. channel stays the kind of transport, which panels group
-- by.
--
-- Beside it: deduplication and idempotency by constraint, the accounts of every event and target,
-- and the audit trail.

-- +goose Up
SET LOCAL lock_timeout = '5s';

ALTER TABLE alert_events
    ADD COLUMN source     text NOT NULL DEFAULT 'direct' CHECK (source IN ('direct', 'rule', 'alertmanager')),
    ADD COLUMN subject    text,                          -- what the event is about, where a later one can overtake it
    ADD COLUMN resolves   boolean NOT NULL DEFAULT false, -- it ends its subject: undelivered earlier ones are superseded
    ADD COLUMN expires_at timestamptz,                   -- undelivered by then, it is not sent any more
    ADD COLUMN fallback   jsonb;                         -- targets to be tried once one of channels has failed for good
CREATE INDEX alert_events_list ON alert_events (tenant_id, id DESC);
CREATE INDEX alert_events_resolves ON alert_events (tenant_id, subject, accepted_at) WHERE resolves;

ALTER TABLE alert_inflight ADD COLUMN target text;
UPDATE alert_inflight SET target = channel;
ALTER TABLE alert_inflight
    ALTER COLUMN target SET NOT NULL,
    ADD COLUMN job_id bigint, -- the River job that makes the first attempt; null: the API makes it
    DROP CONSTRAINT alert_inflight_pkey,
    ADD PRIMARY KEY (event_id, target);

ALTER TABLE alert_attempts ADD COLUMN target text;
UPDATE alert_attempts SET target = channel;
ALTER TABLE alert_attempts
    ALTER COLUMN target SET NOT NULL,
    ADD COLUMN operation_id uuid, -- the replay or drain that asked for it
    DROP CONSTRAINT alert_attempts_pkey,
    ADD PRIMARY KEY (event_id, target, attempt);
CREATE INDEX alert_attempts_operation ON alert_attempts (operation_id) WHERE operation_id IS NOT NULL;

ALTER TABLE alert_deliveries ADD COLUMN target text;
UPDATE alert_deliveries SET target = channel;
ALTER TABLE alert_deliveries
    ALTER COLUMN target SET NOT NULL,
    DROP CONSTRAINT alert_deliveries_event_id_channel_key,
    ADD UNIQUE (event_id, target);

ALTER TABLE alert_dlq ADD COLUMN target text;
UPDATE alert_dlq SET target = channel;
ALTER TABLE alert_dlq
    ALTER COLUMN target SET NOT NULL,
    ADD COLUMN endpoint     text NOT NULL DEFAULT '', -- what shares one breaker, and recovers together
    ADD COLUMN subject      text,
    ADD COLUMN expires_at   timestamptz,
    ADD COLUMN held_by      text CHECK (held_by IN ('breaker', 'rate_limit', 'concurrency')), -- why a retry that was due waits
    ADD COLUMN operation_id uuid, -- the replay or drain that it is under
    ADD COLUMN closed_at    timestamptz,
    DROP CONSTRAINT alert_dlq_event_id_channel_key,
    ADD UNIQUE (event_id, target),
    DROP CONSTRAINT alert_dlq_state_check,
    ADD CONSTRAINT alert_dlq_state_check CHECK (state IN ('pending', 'exhausted', 'discarded', 'expired', 'superseded')),
    ADD CONSTRAINT alert_dlq_closed_check CHECK ((state IN ('discarded', 'expired', 'superseded')) = (closed_at IS NOT NULL));
CREATE INDEX alert_dlq_endpoint ON alert_dlq (tenant_id, endpoint, id) WHERE state = 'pending';
CREATE INDEX alert_dlq_state ON alert_dlq (tenant_id, state, id DESC);
CREATE INDEX alert_dlq_open ON alert_dlq (tenant_id, channel, id) WHERE state IN ('pending', 'exhausted');
CREATE INDEX alert_dlq_expires ON alert_dlq (expires_at) WHERE state = 'pending' AND expires_at IS NOT NULL;
CREATE INDEX alert_dlq_subject ON alert_dlq (tenant_id, subject) WHERE subject IS NOT NULL AND state IN ('pending', 'exhausted');

-- Events and targets that were not sent because an earlier event says the same.
CREATE TABLE alert_duplicates (
    event_id    uuid        NOT NULL,
    target      text        NOT NULL,
    channel     text        NOT NULL,
    tenant_id   text        NOT NULL,
    of_event_id uuid,                 -- null: accepted in the same instant, and not found out since
    accepted_at timestamptz NOT NULL,
    PRIMARY KEY (event_id, target)
);

-- Who holds a key: its event is being delivered or was, and whoever else comes with the key until
-- expires_at is a duplicate. A failure for good gives the key back.
CREATE TABLE alert_dedup (
    tenant_id  text        NOT NULL,
    key        bytea       NOT NULL, -- SHA-256
    event_id   uuid        NOT NULL,
    target     text        NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX alert_dedup_expires ON alert_dedup (expires_at);
CREATE INDEX alert_dedup_event ON alert_dedup (event_id);

-- Requests that carried an Idempotency-Key, with the first answer to them.
CREATE TABLE idempotency_keys (
    tenant_id  text        NOT NULL,
    key        text        NOT NULL,
    request    bytea       NOT NULL, -- SHA-256 of operation and body
    event_ids  uuid[]      NOT NULL,
    answer     jsonb,                -- null until the first request has been answered
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_keys_expires ON idempotency_keys (expires_at);

-- The accounts: how many events and targets were accepted, and how many of them stand where. A
-- change appends what it changes to alert_account_changes, so that no two transactions wait for
-- one row; a job folds the changes into alert_accounts. The balance is the sum over both.
--
-- Triggers keep them, once a statement: no statement can forget to, be it one of an operator's.
CREATE TABLE alert_accounts (
    tenant_id text   NOT NULL,
    channel   text   NOT NULL,
    account   text   NOT NULL, -- accepted, or a state
    balance   bigint NOT NULL,
    PRIMARY KEY (tenant_id, channel, account)
);
CREATE TABLE alert_account_changes (
    tenant_id text   NOT NULL,
    channel   text   NOT NULL,
    account   text   NOT NULL,
    change    bigint NOT NULL
);

-- +goose StatementBegin
CREATE FUNCTION alert_account_inflight() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO alert_account_changes
        SELECT tenant_id, channel, account, count(*)
        FROM changed CROSS JOIN (VALUES ('accepted'), ('in_flight')) AS a (account)
        GROUP BY tenant_id, channel, account;
    ELSE
        INSERT INTO alert_account_changes
        SELECT tenant_id, channel, 'in_flight', -count(*) FROM changed GROUP BY tenant_id, channel;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION alert_account_duplicates() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO alert_account_changes
    SELECT tenant_id, channel, account, count(*)
    FROM changed CROSS JOIN (VALUES ('accepted'), ('duplicate')) AS a (account)
    GROUP BY tenant_id, channel, account;
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
-- Retention deletes what is delivered and what is closed: the accounts remember them.
CREATE FUNCTION alert_account_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO alert_account_changes
    SELECT tenant_id, channel, 'delivered', count(*) FROM changed GROUP BY tenant_id, channel;
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION alert_account_dlq() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO alert_account_changes
        SELECT tenant_id, channel, state, count(*) FROM changed GROUP BY tenant_id, channel, state;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO alert_account_changes
        SELECT tenant_id, channel, state, -count(*) FROM changed
        WHERE state IN ('pending', 'exhausted') GROUP BY tenant_id, channel, state;
    ELSE
        INSERT INTO alert_account_changes
        SELECT tenant_id, channel, state, sum(change)
        FROM (SELECT tenant_id, channel, state, 1 AS change FROM changed
              UNION ALL
              SELECT tenant_id, channel, state, -1 FROM former) AS c
        GROUP BY tenant_id, channel, state
        HAVING sum(change) <> 0;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER account_insert AFTER INSERT ON alert_inflight REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION alert_account_inflight();
CREATE TRIGGER account_delete AFTER DELETE ON alert_inflight REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION alert_account_inflight();
CREATE TRIGGER account_insert AFTER INSERT ON alert_duplicates REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION alert_account_duplicates();
CREATE TRIGGER account_insert AFTER INSERT ON alert_deliveries REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION alert_account_deliveries();
CREATE TRIGGER account_insert AFTER INSERT ON alert_dlq REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION alert_account_dlq();
CREATE TRIGGER account_update AFTER UPDATE ON alert_dlq REFERENCING OLD TABLE AS former NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION alert_account_dlq();
CREATE TRIGGER account_delete AFTER DELETE ON alert_dlq REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION alert_account_dlq();

-- What was there before the accounts.
INSERT INTO alert_account_changes
SELECT tenant_id, channel, account, count(*) FROM (
    SELECT tenant_id, channel, 'in_flight' AS account FROM alert_inflight
    UNION ALL SELECT tenant_id, channel, 'delivered' FROM alert_deliveries
    UNION ALL SELECT tenant_id, channel, state FROM alert_dlq
    UNION ALL SELECT tenant_id, channel, 'accepted' FROM alert_inflight
    UNION ALL SELECT tenant_id, channel, 'accepted' FROM alert_deliveries
    UNION ALL SELECT tenant_id, channel, 'accepted' FROM alert_dlq
) AS present
GROUP BY tenant_id, channel, account;

-- Who did what to a dead letter, rule, destination or key, and why.
CREATE TABLE audit_log (
    id         uuid        PRIMARY KEY, -- version 7: ordered by time
    tenant_id  text        NOT NULL,
    at         timestamptz NOT NULL,
    actor      text        NOT NULL, -- who; 'system' for what nobody asked for
    action     text        NOT NULL, -- such as dead_letter.replay
    subject    text        NOT NULL, -- dead_letter, rule, destination, ...
    subject_id text        NOT NULL,
    reason     text,
    detail     jsonb       NOT NULL
);
CREATE INDEX audit_log_list ON audit_log (tenant_id, id DESC);
CREATE INDEX audit_log_subject ON audit_log (tenant_id, subject, subject_id, id DESC);

-- The tables that every delivery passes through are emptied as fast as they are filled: they are
-- vacuumed by number of rows, and not once a fifth of them has changed.
ALTER TABLE alert_inflight SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE alert_account_changes SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE alert_dlq SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- +goose Down
DROP TABLE audit_log;
DROP TRIGGER account_insert ON alert_inflight;
DROP TRIGGER account_delete ON alert_inflight;
DROP TRIGGER account_insert ON alert_deliveries;
DROP TRIGGER account_insert ON alert_dlq;
DROP TRIGGER account_update ON alert_dlq;
DROP TRIGGER account_delete ON alert_dlq;
DROP TABLE alert_account_changes, alert_accounts, idempotency_keys, alert_dedup, alert_duplicates;
DROP FUNCTION alert_account_inflight, alert_account_duplicates, alert_account_deliveries, alert_account_dlq;
ALTER TABLE alert_inflight RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay);
ALTER TABLE alert_dlq RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay);
DELETE FROM alert_dlq WHERE state NOT IN ('pending', 'exhausted');
-- Below this version a row is of one channel of its event; what is bound for named destinations has no place there.
DELETE FROM alert_inflight WHERE target <> channel;
DELETE FROM alert_attempts WHERE target <> channel;
DELETE FROM alert_deliveries WHERE target <> channel;
DELETE FROM alert_dlq WHERE target <> channel;
ALTER TABLE alert_dlq
    DROP CONSTRAINT alert_dlq_closed_check,
    DROP CONSTRAINT alert_dlq_state_check,
    ADD CONSTRAINT alert_dlq_state_check CHECK (state IN ('pending', 'exhausted')),
    DROP COLUMN closed_at, DROP COLUMN operation_id, DROP COLUMN held_by, DROP COLUMN expires_at, DROP COLUMN subject,
    DROP COLUMN endpoint, DROP COLUMN target,
    ADD UNIQUE (event_id, channel);
ALTER TABLE alert_deliveries DROP COLUMN target, ADD UNIQUE (event_id, channel);
ALTER TABLE alert_attempts DROP COLUMN operation_id, DROP COLUMN target, ADD PRIMARY KEY (event_id, channel, attempt);
ALTER TABLE alert_inflight DROP COLUMN job_id, DROP COLUMN target, ADD PRIMARY KEY (event_id, channel);
DROP INDEX alert_events_list;
ALTER TABLE alert_events
    DROP COLUMN fallback, DROP COLUMN expires_at, DROP COLUMN resolves, DROP COLUMN subject, DROP COLUMN source;
