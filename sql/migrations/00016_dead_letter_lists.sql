-- The dead letters of a cause, and of a target, are listed without reading all others, and the queue is
-- counted by state and cause from an index alone: a page does so every two seconds.

-- +goose Up
SET LOCAL lock_timeout = '5s';

CREATE INDEX alert_dlq_cause ON alert_dlq (tenant_id, state, cause, created_at);
CREATE INDEX alert_dlq_target ON alert_dlq (tenant_id, target, id DESC);

-- +goose Down
DROP INDEX alert_dlq_target, alert_dlq_cause;
