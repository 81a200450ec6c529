package loadtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeAPI answers the nth request (from 1) as answer does, and keeps the bodies.
type fakeAPI struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []newDelivery
	prefer []string
}

func newFakeAPI(t *testing.T, answer func(n int, w http.ResponseWriter)) *fakeAPI {
	t.Helper()
	f := &fakeAPI{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var d newDelivery
		if err := json.NewDecoder(r.Body).Decode(&d); err != nil {
			t.Errorf("no event: %v", err)
		}
		f.mu.Lock()
		f.bodies = append(f.bodies, d)
		f.prefer = append(f.prefer, r.Header.Get("Prefer"))
		n := len(f.bodies)
		f.mu.Unlock()
		answer(n, w)
	}))
	t.Cleanup(f.Close)
	return f
}

func acknowledge(n int, w http.ResponseWriter) {
	fmt.Fprintf(w, `{"event_id": %q, "channels": {}}`, event(byte(n)))
}

func hook(n int) string { return fmt.Sprintf("http://127.0.0.1:1/%d", n) }

func TestLoadTellsAnswersApart(t *testing.T) {
	t.Parallel()
	api := newFakeAPI(t, func(n int, w http.ResponseWriter) {
		switch n {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(w, "oh")
		case 3:
			panic(http.ErrAbortHandler) // killed before it answered
		case 4:
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"event_id": `) // killed while it answered
		case 5:
			fmt.Fprint(w, `{}`)
		case 6:
			w.WriteHeader(http.StatusAccepted)
			acknowledge(n, w)
		default:
			acknowledge(n, w)
		}
	})
	sent := Load{Targets: []string{api.URL}, Webhook: hook, Run: "r", Events: 10, Concurrency: 1, Async: true}.Send(t.Context())
	require.Len(t, sent.Acknowledged, 5)
	require.Equal(t, []int{202, 200}, []int{sent.Acknowledged[0].Status, sent.Acknowledged[1].Status})
	require.Equal(t, []int{1, 2, 2}, []int{sent.Refused, sent.Unanswered, sent.Unexpected})
	require.Equal(t, []string{"answered 500: oh", "answered 200: {}"}, sent.Problems)
	require.Positive(t, sent.Latency(0.99))
	require.Positive(t, sent.Rate())
	require.Equal(t, "respond-async", api.prefer[0])

	said := map[string]bool{}
	for _, d := range api.bodies {
		said[d.Title] = true
		require.Contains(t, d.Channels.Webhook.URL, "http://127.0.0.1:1/")
	}
	require.Len(t, said, 10, "no two events say the same")
}

func TestLoadFindsNobody(t *testing.T) {
	t.Parallel()
	addr, err := freeAddr()
	require.NoError(t, err)
	sent := Load{Targets: []string{"http://" + addr}, Webhook: hook, Events: 3, Concurrency: 2}.Send(t.Context())
	require.Equal(t, 3, sent.Refused)
	require.Zero(t, sent.Unanswered, "what was refused was surely not taken on")
	require.Empty(t, sent.Acknowledged)
}

// TestLoadKeepsItsRate: at 200 a second, 40 events take a fifth of a second and not less, and both targets
// get their share.
func TestLoadKeepsItsRate(t *testing.T) {
	t.Parallel()
	one, two := newFakeAPI(t, acknowledge), newFakeAPI(t, acknowledge)
	sent := Load{Targets: []string{one.URL, two.URL}, Webhook: hook, Events: 40, Concurrency: 8, Rate: 200}.Send(t.Context())
	require.Len(t, sent.Acknowledged, 40)
	require.GreaterOrEqual(t, sent.Elapsed, 195*time.Millisecond)
	require.Len(t, one.bodies, 20)
	require.Len(t, two.bodies, 20)
}

// TestLoadAwaitsWhatHasBegun: the end of the context begins nothing new and breaks nothing off.
func TestLoadAwaitsWhatHasBegun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	api := newFakeAPI(t, func(n int, w http.ResponseWriter) {
		if n == 1 {
			cancel()
		}
		acknowledge(n, w)
	})
	sent := Load{Targets: []string{api.URL}, Webhook: hook, Concurrency: 1}.Send(ctx)
	require.Len(t, sent.Acknowledged, 1)
	require.Zero(t, sent.Unanswered)
}
