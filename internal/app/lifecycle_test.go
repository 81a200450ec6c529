package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestStopsInReverse: what was started last depends on what was started before.
func TestStopsInReverse(t *testing.T) {
	t.Parallel()
	l := newLifecycle(quiet(), time.Minute)
	var order []string
	for _, name := range []string{"telemetry", "pool", "river", "http"} {
		l.onStop(name, func(context.Context) error {
			order = append(order, name)
			if name == "river" {
				return errors.New("jobs are still running")
			}
			return nil
		})
	}
	require.EqualError(t, l.shutdown(), "stop river: jobs are still running")
	require.Equal(t, []string{"http", "river", "pool", "telemetry"}, order, "one failing part does not keep the others")
	require.NoError(t, l.shutdown(), "a second shutdown has nothing to do")
}

// TestGraceIsShared: a part that hangs uses up the time of those after it, and no more.
func TestGraceIsShared(t *testing.T) {
	t.Parallel()
	l := newLifecycle(quiet(), time.Millisecond)
	l.onStop("after", func(ctx context.Context) error { return ctx.Err() })
	l.onStop("hangs", func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	err := l.shutdown()
	require.ErrorContains(t, err, "stop hangs: context deadline exceeded")
	require.ErrorContains(t, err, "stop after: context deadline exceeded")
}

// TestOnePartDying ends the process with the first reason.
func TestOnePartDying(t *testing.T) {
	t.Parallel()
	l := newLifecycle(quiet(), time.Minute)
	l.fail(errors.New("the listener is gone"))
	l.fail(errors.New("and so is another"))
	require.EqualError(t, l.wait(t.Context()), "the listener is gone")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, newLifecycle(quiet(), time.Minute).wait(ctx), "being told to stop is no failure")
}

// TestServeDrains: a request that is being answered when the process stops gets its answer.
func TestServeDrains(t *testing.T) {
	t.Parallel()
	l := newLifecycle(quiet(), time.Minute)
	addr := freeAddr(t)
	entered, proceed := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-proceed
		_, _ = io.WriteString(w, "done")
	})
	require.NoError(t, l.serve(t.Context(), "api", addr, handler, time.Minute, time.Minute))
	require.ErrorContains(t, l.serve(t.Context(), "second", addr, handler, time.Minute, time.Minute), "address already in use")

	answer := make(chan string, 1)
	go func() {
		req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, "http://"+addr, nil)
		if err != nil {
			answer <- err.Error()
			return
		}
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			answer <- err.Error()
			return
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		answer <- string(body)
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- l.shutdown() }()
	require.Eventually(t, func() bool { // no new connections
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, time.Minute, 5*time.Millisecond)
	close(proceed)
	require.Equal(t, "done", <-answer)
	require.NoError(t, <-stopped)
}

func TestQueryName(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"-- name: AcceptEvent :exec\nWITH event AS (...)": "sql AcceptEvent",
		"begin":                    "sql begin",
		"/* x */ SELECT 1":         "sql x",
		"":                         "sql",
		"SELECT 'secret' FROM t":   "sql SELECT",
		"-- name:broken\nSELECT 1": "sql name",
	} {
		require.Equal(t, want, queryName(sql), sql)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
