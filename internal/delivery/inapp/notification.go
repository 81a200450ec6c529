package inapp

import (
	"time"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/delivery"
)

// Notification is an item of a user's inbox.
type Notification struct {
	ID        uuid.UUID // version 7: ordered by arrival
	UserID    string
	EventID   uuid.UUID
	AlertID   string
	Title     string
	Message   string
	Severity  delivery.Severity
	CreatedAt time.Time  // when its event was accepted
	ReadAt    *time.Time // nil while it is unread
}

// Filter selects the notifications of one user.
type Filter struct {
	UserID string
	Unread bool // only those that have not been read
}

// Count says how many notifications of a user are unread.
type Count struct {
	UserID string
	Unread int
}
