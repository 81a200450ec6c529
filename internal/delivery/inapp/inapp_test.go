package inapp_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

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
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			event := delivery.Event{UserID: "ada", Title: "NAV fell 3 %"}
			c := inapp.New(inbox(func(_ context.Context, got delivery.Event) error {
				require.Equal(t, event, got)
				return tt.err
			}))
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
			}))
			target := delivery.Target{Channel: "inapp"}
			return c, target, c.Endpoint(target)
		},
	})
}

func TestEveryTargetIsGood(t *testing.T) {
	t.Parallel()
	c := inapp.New(nil)
	require.Equal(t, "inapp", c.Name())
	require.NoError(t, c.Check(delivery.Target{Channel: "inapp"}))
	require.Equal(t, delivery.Endpoint{ID: "inapp"}, c.Endpoint(delivery.Target{Channel: "inapp"}), "one inbox, one breaker")
	require.Equal(t, fault.Invalid, fault.CodeOf(c.CheckEndpoint(delivery.Endpoint{})), "an inbox has its user for an address")
}
