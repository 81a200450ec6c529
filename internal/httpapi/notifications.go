package httpapi

import (
	"context"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery/inapp"
	"github.com/dawsos/dawsos/pkg/api"
)

// Notifications keeps the users' inboxes.
type Notifications interface {
	Notifications(ctx context.Context, tenantID string, f inapp.Filter, before uuid.UUID, limit int) ([]inapp.Notification, error)
	CountUnread(ctx context.Context, tenantID, userID string, most int) (int, error)
	ReadNotification(ctx context.Context, tenantID string, id uuid.UUID) (inapp.Notification, error)
	ReadNotifications(ctx context.Context, tenantID, userID string) (int64, error)
}

// mostUnread is how far unread notifications are counted; the document says so too.
const mostUnread = 1000

func (h *handlers) ListNotifications(ctx context.Context, r api.ListNotificationsRequestObject) (api.ListNotificationsResponseObject, error) {
	before, limit := uuid.Max, limitOf(r.Params.Limit)
	if err := decodeCursor(r.Params.Cursor, &before); err != nil {
		return nil, err
	}
	if err := forOneself(ctx, "/query/user_id", r.Params.UserId); err != nil {
		return nil, err
	}
	filter := inapp.Filter{UserID: r.Params.UserId, Unread: value(r.Params.Unread)}
	found, err := h.Notifications.Notifications(ctx, auth.Tenant(ctx), filter, before, limit+1) // one more tells of a next page
	if err != nil {
		return nil, err
	}
	var page api.ListNotifications200JSONResponse
	if page.UnreadCount, err = h.Notifications.CountUnread(ctx, auth.Tenant(ctx), r.Params.UserId, mostUnread); err != nil {
		return nil, err
	}
	if len(found) > limit {
		found = found[:limit]
		page.NextCursor = encodeCursor(found[limit-1].ID)
	}
	page.Items = make([]api.Notification, len(found))
	for i, n := range found {
		page.Items[i] = toNotification(n)
	}
	return page, nil
}

func (h *handlers) ReadNotification(ctx context.Context, r api.ReadNotificationRequestObject) (api.ReadNotificationResponseObject, error) {
	n, err := h.Notifications.ReadNotification(ctx, auth.Tenant(ctx), r.Id)
	if err != nil {
		return nil, err
	}
	return api.ReadNotification200JSONResponse(toNotification(n)), nil
}

func (h *handlers) ReadNotifications(ctx context.Context, r api.ReadNotificationsRequestObject) (api.ReadNotificationsResponseObject, error) {
	if err := forOneself(ctx, "/user_id", r.Body.UserId); err != nil {
		return nil, err
	}
	n, err := h.Notifications.ReadNotifications(ctx, auth.Tenant(ctx), r.Body.UserId)
	if err != nil {
		return nil, err
	}
	return api.ReadNotifications200JSONResponse{Read: int(n)}, nil
}

func toNotification(n inapp.Notification) api.Notification {
	return api.Notification{
		Id: n.ID, UserId: n.UserID, EventId: n.EventID, AlertId: n.AlertID, Title: n.Title, Message: n.Message,
		Severity: api.Severity(n.Severity), CreatedAt: n.CreatedAt, ReadAt: n.ReadAt,
	}
}
