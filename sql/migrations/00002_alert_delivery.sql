-- Alert events, their attempts, and where each (event, channel) stands.
--
-- An event and channel is always in exactly one place: alert_inflight (accepted, outcome not yet
-- known), alert_deliveries (delivered) or alert_dlq (failed). Moving from one to the other is one
-- transaction, and UNIQUE (event_id, channel) in each keeps it from standing in one twice.
-- No foreign keys between the hot tables: they are written and aged out together, and every key
-- check would cost each attempt an index probe and a row lock.

-- +goose Up
SET LOCAL lock_timeout = '5s';

CREATE TABLE alert_events (
    id          uuid        PRIMARY KEY, -- version 7: ordered by acceptance
    tenant_id   text        NOT NULL,
    alert_id    text        NOT NULL,
    user_id     text        NOT NULL,
    title       text        NOT NULL,
    message     text        NOT NULL,
    severity    text        NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    data        jsonb       NOT NULL,
    channels    jsonb       NOT NULL, -- targets by channel: {"webhook": {"url": "..."}, "inapp": {}}
    traceparent text,                 -- W3C, of the request that was accepted
    accepted_at timestamptz NOT NULL
);

CREATE TABLE alert_inflight (
    event_id    uuid        NOT NULL,
    channel     text        NOT NULL,
    tenant_id   text        NOT NULL,
    accepted_at timestamptz NOT NULL,
    PRIMARY KEY (event_id, channel)
);
CREATE INDEX alert_inflight_accepted ON alert_inflight (accepted_at);

CREATE TABLE alert_attempts (
    event_id         uuid             NOT NULL,
    channel          text             NOT NULL,
    attempt          integer          NOT NULL CHECK (attempt > 0), -- 1 is the first send
    tenant_id        text             NOT NULL,
    started_at       timestamptz      NOT NULL,
    duration_seconds double precision NOT NULL,
    outcome          text             NOT NULL CHECK (outcome IN ('delivered', 'failed', 'interrupted')),
    cause            text,             -- why it failed, from delivery's closed set
    status_code      integer,          -- the receiver's HTTP status
    error            text,
    response_excerpt text,
    trace_id         text,
    PRIMARY KEY (event_id, channel, attempt)
);

CREATE TABLE alert_deliveries (
    id               uuid        PRIMARY KEY,
    tenant_id        text        NOT NULL,
    event_id         uuid        NOT NULL,
    channel          text        NOT NULL,
    alert_id         text        NOT NULL,
    user_id          text        NOT NULL,
    content_hash     text        NOT NULL,
    delivery_methods jsonb       NOT NULL,
    attempts         integer     NOT NULL,
    accepted_at      timestamptz NOT NULL,
    delivered_at     timestamptz NOT NULL,
    trace_id         text,
    UNIQUE (event_id, channel)
);
CREATE INDEX alert_deliveries_delivered ON alert_deliveries (delivered_at DESC);

CREATE TABLE alert_dlq (
    id            uuid        PRIMARY KEY, -- version 7: ordered by first failure
    tenant_id     text        NOT NULL,
    event_id      uuid        NOT NULL,
    channel       text        NOT NULL,
    alert_id      text        NOT NULL,
    user_id       text        NOT NULL,
    content_hash  text        NOT NULL,
    alert_data    jsonb       NOT NULL, -- everything needed to send it again
    state         text        NOT NULL CHECK (state IN ('pending', 'exhausted')),
    cause         text        NOT NULL,
    error_message text        NOT NULL,
    retry_count   integer     NOT NULL DEFAULT 0, -- retries made and failed; the first send is none
    attempts      integer     NOT NULL,           -- attempts recorded, the first send included
    interruptions integer     NOT NULL DEFAULT 0, -- retries that a dying worker left without outcome
    accepted_at   timestamptz NOT NULL,
    created_at    timestamptz NOT NULL,
    last_retry_at timestamptz,
    next_retry_at timestamptz, -- null once exhausted
    -- The one River job that may attempt this row. A job that finds another id here is outdated
    -- and ends without sending.
    job_id        bigint,
    trace_id      text,
    traceparent   text,
    UNIQUE (event_id, channel),
    CHECK ((state = 'pending') = (next_retry_at IS NOT NULL))
);
CREATE INDEX alert_dlq_list ON alert_dlq (tenant_id, id DESC);
CREATE INDEX alert_dlq_pending ON alert_dlq (next_retry_at) WHERE state = 'pending';

CREATE TABLE notifications (
    id         uuid        PRIMARY KEY,
    tenant_id  text        NOT NULL,
    user_id    text        NOT NULL,
    event_id   uuid        NOT NULL UNIQUE,
    alert_id   text        NOT NULL,
    title      text        NOT NULL,
    message    text        NOT NULL,
    severity   text        NOT NULL,
    data       jsonb       NOT NULL,
    created_at timestamptz NOT NULL,
    read_at    timestamptz
);
CREATE INDEX notifications_inbox ON notifications (tenant_id, user_id, id DESC);

-- +goose Down
DROP TABLE notifications, alert_dlq, alert_deliveries, alert_attempts, alert_inflight, alert_events;
