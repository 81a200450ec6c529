// Package inapp delivers into the users' inbox, a table of our own database.
package inapp

import (
	"context"
	"errors"
	"log/slog"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
)

// Inbox keeps notifications.
type Inbox interface {
	// AddNotification puts the event into its user's inbox. Doing so twice leaves one.
	AddNotification(ctx context.Context, e delivery.Event) error
}

const channelName = "inapp"

// Channel implements delivery.Channel.
type Channel struct {
	inbox Inbox
	log   *slog.Logger
}

// New returns the channel. log is told what the database says when it fails.
func New(inbox Inbox, log *slog.Logger) *Channel { return &Channel{inbox: inbox, log: log} }

// Name returns "inapp".
func (*Channel) Name() string { return channelName }

// Check accepts every target: the inbox is the event's user's.
func (*Channel) Check(delivery.Target) error { return nil }

// Send adds a notification. Only our own database can fail here, so a retry always makes sense.
func (c *Channel) Send(ctx context.Context, d delivery.Delivery) delivery.Outcome {
	err := c.inbox.AddNotification(ctx, d.Event)
	switch {
	case err == nil:
		return delivery.Outcome{}
	case errors.Is(err, context.DeadlineExceeded):
		return delivery.Outcome{Cause: delivery.Timeout, Retry: true, Detail: "the database did not take the notification in time"}
	case errors.Is(err, context.Canceled): // we are being stopped
		return delivery.Outcome{Cause: delivery.Interrupted, Retry: true, Detail: "given up before the database had taken the notification"}
	default:
		c.log.ErrorContext(ctx, "notification not stored", "event_id", d.Event.ID, "attempt", d.Attempt, "err", err)
		return delivery.Outcome{Cause: delivery.Internal, Retry: true, Detail: refusal(err)}
	}
}

// refusal tells as much of a failure of the database as everybody may know: the driver's own words name
// its host and user.
func refusal(err error) string {
	const text, seeLog = "the database did not take the notification", "; the log has the reason"
	if state, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return text + " (SQLSTATE " + state.SQLState() + ")" + seeLog
	}
	return text + seeLog
}

// Endpoint is the same for all: the inbox is a table of ours.
func (*Channel) Endpoint(delivery.Target) delivery.Endpoint {
	return delivery.Endpoint{ID: channelName}
}

// CheckEndpoint refuses every destination: an inbox has its user for an address.
func (*Channel) CheckEndpoint(delivery.Endpoint) error {
	return fault.InvalidField("/channel", "inapp has no destinations")
}
