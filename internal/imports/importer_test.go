package imports

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// held is a store whose imports last until they are let go.
type held struct {
	began chan struct{}
	let   chan struct{}
}

func (h held) Import(ctx context.Context, _ Request) (Summary, error) {
	h.began <- struct{}{}
	select {
	case <-h.let:
		return Summary{}, nil
	case <-ctx.Done():
		return Summary{}, ctx.Err()
	}
}

// Who waits for a slot may leave, and takes none; every import gives its own back, however it ends.
func TestSlots(t *testing.T) {
	t.Parallel()
	h := held{make(chan struct{}), make(chan struct{})}
	i := New(h, prometheus.NewRegistry())
	for range 2 { // again in the same slots
		ctx, leave := context.WithCancel(t.Context())
		var g, leaving errgroup.Group
		for range mostAtOnce / 2 {
			g.Go(func() error { _, err := i.Import(t.Context(), Request{Kind: FX}); return err })
			leaving.Go(func() error { _, err := i.Import(ctx, Request{Kind: FX}); return err })
		}
		for range mostAtOnce {
			<-h.began
		}
		late, leaveLate := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := i.Import(late, Request{Kind: FX}) // began would never be received
			left <- err
		}()
		leaveLate()
		require.ErrorIs(t, <-left, context.Canceled)
		leave()
		require.ErrorIs(t, leaving.Wait(), context.Canceled) // before others are let go: either would do for one that leaves
		for range mostAtOnce / 2 {
			h.let <- struct{}{}
		}
		require.NoError(t, g.Wait())
	}
}
