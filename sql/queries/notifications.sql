-- name: Notifications :many
-- Newest first; before is the last id of the page before. The data stays with the event: a page of it
-- would not fit into memory.
SELECT id, user_id, event_id, alert_id, title, message, severity, created_at, read_at FROM notifications
WHERE tenant_id = @tenant_id AND user_id = @user_id AND id < @before
ORDER BY id DESC
LIMIT @row_limit;

-- name: UnreadNotifications :many
-- A statement of its own, so that the index of unread ones serves it.
SELECT id, user_id, event_id, alert_id, title, message, severity, created_at, read_at FROM notifications
WHERE tenant_id = @tenant_id AND user_id = @user_id AND id < @before AND read_at IS NULL
ORDER BY id DESC
LIMIT @row_limit;

-- name: CountUnread :one
-- Up to most: an inbox that nobody reads must not be counted whole with every look at it.
SELECT count(*) FROM (
    SELECT FROM notifications
    WHERE tenant_id = @tenant_id AND user_id = @user_id AND read_at IS NULL
    LIMIT @most
) AS unread;

-- name: ReadNotification :one
UPDATE notifications SET read_at = coalesce(read_at, @now::timestamptz)
WHERE tenant_id = @tenant_id AND id = @id
RETURNING id, user_id, event_id, alert_id, title, message, severity, created_at, read_at;

-- name: ReadNotifications :execrows
-- At most row_limit at a time, oldest first. Of two such requests at the same time the second leaves
-- out what the first has.
UPDATE notifications SET read_at = @now::timestamptz
WHERE id IN (
    SELECT n.id FROM notifications n
    WHERE n.tenant_id = @tenant_id AND n.user_id = @user_id AND n.read_at IS NULL AND n.created_at <= @now::timestamptz
    ORDER BY n.id
    LIMIT @row_limit
    FOR UPDATE SKIP LOCKED
);
