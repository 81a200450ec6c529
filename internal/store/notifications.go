package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/inapp"
	"github.com/dawsos/dawsos/internal/store/db"
)

// Notifications returns up to limit notifications that precede before (newest first); uuid.Max
// starts.
func (s *Store) Notifications(ctx context.Context, tenantID string, f inapp.Filter, before uuid.UUID, limit int) ([]inapp.Notification, error) {
	p := db.NotificationsParams{TenantID: tenantID, UserID: f.UserID, Before: before, RowLimit: int32(limit)} //nolint:gosec // bounded by the API
	if f.Unread {
		rows, err := s.q.UnreadNotifications(ctx, db.UnreadNotificationsParams(p))
		if err != nil {
			return nil, fmt.Errorf("list unread notifications: %w", err)
		}
		return answers(rows, func(r db.UnreadNotificationsRow) inapp.Notification { return notification(db.NotificationsRow(r)) }), nil
	}
	rows, err := s.q.Notifications(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("list notifications: %w", err)
	}
	return answers(rows, notification), nil
}

// Inboxes returns up to limit users who have notifications, those behind after, in order of their names. Of
// each the unread notifications are counted, up to most.
func (s *Store) Inboxes(ctx context.Context, tenantID, after string, most, limit int) ([]inapp.Count, error) {
	rows, err := s.q.Inboxes(ctx, db.InboxesParams{
		TenantID: tenantID, After: after, Most: int32(most), RowLimit: int32(limit), //nolint:gosec // constants of the console
	})
	if err != nil {
		return nil, fmt.Errorf("list inboxes: %w", err)
	}
	return answers(rows, func(r db.InboxesRow) inapp.Count { return inapp.Count{UserID: r.UserID, Unread: int(r.Unread)} }), nil
}

// CountUnread counts a user's unread notifications, up to most.
func (s *Store) CountUnread(ctx context.Context, tenantID, userID string, most int) (int, error) {
	n, err := s.q.CountUnread(ctx, tenantID, userID, int32(most)) //nolint:gosec // a constant of the API
	if err != nil {
		return 0, fmt.Errorf("count unread notifications: %w", err)
	}
	return int(n), nil
}

// ReadNotification marks one as read, unless it is already, and returns it.
func (s *Store) ReadNotification(ctx context.Context, tenantID string, id uuid.UUID) (inapp.Notification, error) {
	row, err := s.q.ReadNotification(ctx, s.now().UTC(), tenantID, id)
	if err != nil {
		return inapp.Notification{}, orNotFound(fmt.Errorf("notification %s: %w", id, err), "no notification %s", id)
	}
	return notification(db.NotificationsRow(row)), nil
}

// readAtOnce is how many notifications one statement marks as read: it holds their locks to its end.
const readAtOnce = 5000

// ReadNotifications marks those of a user as read that are there now. It returns their number.
func (s *Store) ReadNotifications(ctx context.Context, tenantID, userID string) (int64, error) {
	p := db.ReadNotificationsParams{Now: s.now().UTC(), TenantID: tenantID, UserID: userID, RowLimit: readAtOnce}
	for read := int64(0); ; {
		n, err := s.q.ReadNotifications(ctx, p)
		read += n
		if err != nil || n < readAtOnce {
			if err != nil {
				err = fmt.Errorf("read notifications: %w", err)
			}
			return read, err
		}
	}
}

func notification(r db.NotificationsRow) inapp.Notification {
	return inapp.Notification{
		ID: r.ID, UserID: r.UserID, EventID: r.EventID, AlertID: r.AlertID, Title: r.Title, Message: r.Message,
		Severity: delivery.Severity(r.Severity), CreatedAt: r.CreatedAt.UTC(), ReadAt: utc(r.ReadAt),
	}
}

// PruneReadNotifications deletes up to limit notifications that were read before a time, and returns how
// many.
func (s *Store) PruneReadNotifications(ctx context.Context, readBefore time.Time, limit int) (int, error) {
	n, err := s.q.PruneReadNotifications(ctx, readBefore, int32(limit)) //nolint:gosec // a small constant
	return int(n), err
}

// PruneNotifications deletes up to limit notifications that came before a time, read or not, and returns
// how many.
func (s *Store) PruneNotifications(ctx context.Context, cameBefore time.Time, limit int) (int, error) {
	n, err := s.q.PruneNotifications(ctx, idAt(cameBefore), int32(limit)) //nolint:gosec // a small constant
	return int(n), err
}
