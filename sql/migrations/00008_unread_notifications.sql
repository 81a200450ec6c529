-- A user's unread notifications are counted with every page of the inbox, and marked as read all
-- at once.

-- +goose Up
SET LOCAL lock_timeout = '5s';

CREATE INDEX notifications_unread ON notifications (tenant_id, user_id, id DESC) WHERE read_at IS NULL;

-- +goose Down
DROP INDEX notifications_unread;
