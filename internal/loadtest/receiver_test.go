package loadtest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func newTestReceiver(t *testing.T, b Behaviour) *Receiver {
	t.Helper()
	r, err := NewReceiver(b)
	require.NoError(t, err)
	require.NoError(t, r.Up())
	t.Cleanup(r.Down)
	return r
}

// attempt posts a webhook and returns the status of the answer.
func attempt(ctx context.Context, r *Receiver, n byte, id string) (int, error) {
	body := fmt.Sprintf(`{"type": "alert", "data": {"event_id": %q}}`, event(n))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL(), strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Close = true
	req.Header.Set("webhook-id", id)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}

func TestReceiverRemembers(t *testing.T) {
	t.Parallel()
	r := newTestReceiver(t, FailingFirst(1))
	for _, c := range []struct {
		event byte
		id    string
		want  int
	}{
		{1, "msg_1", 503}, {1, "msg_1", 200}, {2, "msg_2", 503}, {1, "msg_1", 200}, {2, "other", 200}, {3, "", 400}, {3, "msg_3", 503},
	} {
		status, err := attempt(t.Context(), r, c.event, c.id)
		require.NoError(t, err)
		require.Equal(t, c.want, status, "%+v", c)
	}
	seen := r.Messages()
	require.Len(t, seen, 3)
	one, two, three := seen[event(1)], seen[event(2)], seen[event(3)]
	require.Equal(t, []int{3, 2, 2, 1, 1, 0}, []int{one.Attempts, one.Accepted, two.Attempts, two.Accepted, three.Attempts, three.Accepted})
	require.Empty(t, one.OtherID)
	require.Equal(t, "other", two.OtherID)
	require.False(t, one.AcceptedAt.Before(one.FirstAt))
	require.Zero(t, three.AcceptedAt)
	sum := 0
	for _, n := range r.Rates(one.FirstAt) {
		sum += n
	}
	require.Equal(t, 2, sum, "each event counts once")
	require.Equal(t, 1, r.Busiest())
	r.Forget()
	require.Empty(t, r.Messages())
}

func TestReceiverGoesDownAndComesBack(t *testing.T) {
	t.Parallel()
	r := newTestReceiver(t, Accepting)
	url := r.URL()
	r.Down()
	_, err := attempt(t.Context(), r, 1, "msg_1")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.NoError(t, r.Up())
	require.Equal(t, url, r.URL())
	status, err := attempt(t.Context(), r, 1, "msg_1")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.Equal(t, 1, r.Messages()[event(1)].Attempts)
}

func TestReceiverHangsAndIsSlow(t *testing.T) {
	t.Parallel()
	r := newTestReceiver(t, func(string, int) Answer { return Answer{Status: 200, Never: true} })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := attempt(ctx, r, 1, "msg_1")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Zero(t, r.Messages()[event(1)].Accepted, "who got no answer has not delivered")

	r.Behave(func(string, int) Answer { return Answer{Status: 200, After: time.Hour} })
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = attempt(ctx, r, 1, "msg_1")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Zero(t, r.Messages()[event(1)].Accepted)

	r.Behave(func(string, int) Answer { return Answer{Status: 200, After: 20 * time.Millisecond} })
	began := time.Now()
	status, err := attempt(t.Context(), r, 1, "msg_1")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.GreaterOrEqual(t, time.Since(began), 20*time.Millisecond)
	require.Equal(t, 1, r.Messages()[event(1)].Accepted)
}

// TestUnreliable: what happens to an attempt depends on seed, message and number, in the parts asked for.
func TestUnreliable(t *testing.T) {
	t.Parallel()
	const draws = 20_000
	u := Unreliability{Seed: 7, Fail: 0.31, Hang: 0.02, Within: 30 * time.Millisecond}
	b, again := Unreliable(u), Unreliable(u)
	u.Seed = 8
	other := Unreliable(u)
	failed, hung, different := 0, 0, 0
	var slowest time.Duration
	for i := range draws {
		id := fmt.Sprintf("msg_%d", i)
		a := b(id, i%5+1)
		require.Equal(t, a, again(id, i%5+1))
		if a != other(id, i%5+1) {
			different++
		}
		if a.Status == http.StatusServiceUnavailable {
			failed++
		}
		if a.Never {
			hung++
		}
		slowest = max(slowest, a.After)
	}
	require.InDelta(t, 0.31, float64(failed)/draws, 0.02)
	require.InDelta(t, 0.02, float64(hung)/draws, 0.005)
	require.Greater(t, different, draws/2)
	require.Less(t, slowest, 30*time.Millisecond)
	require.Greater(t, slowest, 29*time.Millisecond)
}

func TestAddressesAreNotHandedOutTwice(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 50 {
		addr, err := freeAddr()
		require.NoError(t, err)
		require.False(t, seen[addr], addr)
		seen[addr] = true
	}
}
