package inapp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/channeltest"
	"github.com/dawsos/dawsos/internal/delivery/inapp"
	"github.com/dawsos/dawsos/internal/fault"
)

// inbox fails as the real one does when the database does; the real one is tested in
// internal/store.
type inbox func(context.Context, delivery.Event) error

func (i inbox) AddNotification(ctx context.Context, e delivery.Event) error { return i(ctx, e) }

var quiet = slog.New(slog.DiscardHandler)

// sqlError is what the database answers with, its code for a text.
type sqlError string

func (e sqlError) Error() string    { return "ERROR: host=db.internal user=dawsos " + string(e) }
func (e sqlError) SQLState() string { return string(e) }

// What the driver says names host and user: it is for the log alone.
func TestADatabaseErrorIsForTheLog(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		says string
	}{
		{fmt.Errorf("insert: %w", sqlError("53100")), "the database did not take the notification (SQLSTATE 53100); the log has the reason"},
		{errors.New("failed to connect to host=db.internal user=dawsos"), "the database did not take the notification; the log has the reason"},
	} {
		var log bytes.Buffer
		channel := inapp.New(inbox(func(context.Context, delivery.Event) error { return c.err }), slog.New(slog.NewTextHandler(&log, nil)))
		id := uuid.Must(uuid.NewV7())
		o := channel.Send(t.Context(), delivery.Delivery{Event: delivery.Event{ID: id}, Attempt: 2})
		require.Equal(t, c.says, o.Detail)
		require.Contains(t, log.String(), "host=db.internal")
		require.Contains(t, log.String(), "event_id="+id.String())
	}
}

func TestSend(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		err   error
		cause delivery.Cause
	}{
		{"stored", nil, delivery.None},
		{"stopped", fmt.Errorf("insert: %w", context.Canceled), delivery.Interrupted},
		{"out of time", fmt.Errorf("insert: %w", context.DeadlineExceeded), delivery.Timeout},
		{"the database is away", errors.New("connection refused"), delivery.Internal},
		{"the database refuses", fmt.Errorf("insert: %w", sqlError("53100")), delivery.Internal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			event := delivery.Event{UserID: "ada", Title: "NAV fell 3 %"}
			c := inapp.New(inbox(func(_ context.Context, got delivery.Event) error {
				require.Equal(t, event, got)
				return tt.err
			}), quiet)
			o := c.Send(t.Context(), delivery.Delivery{Event: event, Attempt: 1})
			require.Equal(t, tt.cause, o.Cause)
			require.Equal(t, tt.err != nil, o.Retry, "only our own database can fail here, and that passes")
		})
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	channeltest.Run(t, channeltest.Harness{
		Open: func(_ *testing.T, r channeltest.Receiver) (delivery.Channel, delivery.Target, delivery.Endpoint) {
			c := inapp.New(inbox(func(ctx context.Context, _ delivery.Event) error {
				if r.Silent {
					<-ctx.Done()
				}
				return ctx.Err()
			}), quiet)
			target := delivery.Target{Channel: "inapp"}
			return c, target, c.Endpoint(target)
		},
	})
}

func TestEveryTargetIsGood(t *testing.T) {
	t.Parallel()
	c := inapp.New(nil, quiet)
	require.Equal(t, "inapp", c.Name())
	require.NoError(t, c.Check(delivery.Target{Channel: "inapp"}))
	require.Equal(t, delivery.Endpoint{ID: "inapp"}, c.Endpoint(delivery.Target{Channel: "inapp"}), "one inbox, one breaker")
	require.Equal(t, fault.Invalid, fault.CodeOf(c.CheckEndpoint(delivery.Endpoint{})), "an inbox has its user for an address")
}
