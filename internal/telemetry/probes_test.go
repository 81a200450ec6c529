package telemetry

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func probe(t *testing.T, h http.HandlerFunc) (status int, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	h(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	return w.Code, w.Body.String()
}

func TestProbes(t *testing.T) {
	t.Parallel()

	good := Check{"database", func(context.Context) error { return nil }}
	bad := Check{"schema", func(context.Context) error { return errors.New("version 1, want 2") }}
	worse := Check{"patterns", func(context.Context) error { return errors.New("none") }}
	slow := Check{"database", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}

	tests := []struct {
		name   string
		checks []Check
		status int
		body   string
	}{
		{"nothing to check", nil, 200, `{"status":"ready"}`},
		{"good", []Check{good}, 200, `{"status":"ready"}`},
		{
			"reasons in order",
			[]Check{bad, good, worse},
			503,
			`{"status":"not_ready","reasons":[{"check":"schema","error":"version 1, want 2"},{"check":"patterns","error":"none"}]}`,
		},
		{
			"too slow",
			[]Check{slow, bad},
			503,
			`{"status":"not_ready","reasons":[{"check":"database","error":"no answer within 20ms"},{"check":"schema","error":"version 1, want 2"}]}`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := NewProbes(20*time.Millisecond, test.checks...)
			status, body := probe(t, p.Readyz)
			require.Equal(t, test.status, status)
			require.JSONEq(t, test.body, body)

			p.Stop()
			status, body = probe(t, p.Readyz)
			require.Equal(t, http.StatusServiceUnavailable, status)
			require.JSONEq(t, `{"status":"stopping"}`, body)

			status, body = probe(t, p.Healthz)
			require.Equal(t, http.StatusOK, status, "a process that stops still lives")
			require.JSONEq(t, `{"status":"ok"}`, body)
		})
	}
}

// TestReadyzDoesNotWaitForADeafCheck uses a check that ignores its context.
func TestReadyzDoesNotWaitForADeafCheck(t *testing.T) {
	t.Parallel()

	release := make(chan struct{})
	defer close(release)
	deaf := Check{"database", func(context.Context) error { <-release; return nil }}
	status, body := probe(t, NewProbes(10*time.Millisecond, deaf).Readyz)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "no answer within 10ms")
}
