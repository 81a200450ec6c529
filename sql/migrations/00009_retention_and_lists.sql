-- The events of an alert, and those of a user, are listed without reading all others of the tenant.
-- Notifications that have been read are deleted by when they were read.

-- +goose Up
SET LOCAL lock_timeout = '5s';

CREATE INDEX alert_events_of_alert ON alert_events (tenant_id, alert_id, id DESC);
CREATE INDEX alert_events_of_user ON alert_events (tenant_id, user_id, id DESC);
-- Partial: what nobody has read costs nothing.
CREATE INDEX notifications_read ON notifications (read_at) WHERE read_at IS NOT NULL;

-- +goose Down
DROP INDEX notifications_read, alert_events_of_user, alert_events_of_alert;
