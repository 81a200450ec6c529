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

-- name: Inboxes :many
-- Users who have notifications, by name, each with as many of the unread ones as most allows. The walk goes
-- from user to user through the index, however many notifications each has.
WITH RECURSIVE inbox AS (
    (SELECT n.user_id FROM notifications n WHERE n.tenant_id = @tenant_id AND n.user_id > @after ORDER BY n.user_id LIMIT 1)
    UNION ALL
    SELECT (SELECT n.user_id FROM notifications n WHERE n.tenant_id = @tenant_id AND n.user_id > i.user_id ORDER BY n.user_id LIMIT 1)
    FROM inbox i WHERE i.user_id IS NOT NULL
)
SELECT i.user_id::text AS user_id,
       (SELECT count(*) FROM (
           SELECT FROM notifications n WHERE n.tenant_id = @tenant_id AND n.user_id = i.user_id AND n.read_at IS NULL LIMIT @most
       ) AS unread) AS unread
FROM inbox i
WHERE i.user_id IS NOT NULL
LIMIT @row_limit;
