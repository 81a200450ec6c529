// Package inapp delivers into the users' inbox, a table of our own database.
package inapp

import (
	"context"
	"errors"

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
type Channel struct{ inbox Inbox }

// New returns the channel.
func New(inbox Inbox) *Channel { return &Channel{inbox: inbox} }

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
	default:
		return delivery.Outcome{Cause: delivery.Internal, Retry: true, Detail: "store notification: " + err.Error()}
	}
}

// Endpoint is the same for all: the inbox is a table of ours.
func (*Channel) Endpoint(delivery.Target) delivery.Endpoint {
	return delivery.Endpoint{ID: channelName}
}

// CheckEndpoint refuses every destination: an inbox has its user for an address.
func (*Channel) CheckEndpoint(delivery.Endpoint) error {
	return fault.InvalidField("/channel", "inapp has no destinations")
}
