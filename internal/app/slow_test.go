package app

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/admission"
)

// The server's own limits hold over real connections: whoever sends or reads too slowly is cut off. The
// clients below never give up by themselves, and a minute is the test's patience, not the server's.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	const quick = 300 * time.Millisecond
	type outcome struct {
		body []byte
		err  error
	}
	outcomes := make(chan outcome, 1)
	written := make(chan error, 1)
	handler := http.NewServeMux()
	handler.HandleFunc("POST /read", func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		outcomes <- outcome{body, err}
	})
	handler.HandleFunc("GET /write", func(w http.ResponseWriter, _ *http.Request) {
		chunk := bytes.Repeat([]byte("x"), 1<<20)
		for range 1 << 10 { // more than all buffers of a connection hold
			if _, err := w.Write(chunk); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	})
	l := newLifecycle(quiet(), time.Minute)
	addr := freeAddr(t)
	require.NoError(t, l.serve(t.Context(), "api", addr, handler, quick, quick, func(inner net.Listener) net.Listener {
		return admission.Bound(inner, 100, prometheus.NewRegistry())
	}))
	t.Cleanup(func() { require.NoError(t, l.shutdown()) })
	dial := func() net.Conn {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
		return conn
	}
	send := func(conn net.Conn, text string) {
		_, err := io.WriteString(conn, text)
		require.NoError(t, err)
	}

	t.Run("a header that does not end", func(t *testing.T) {
		conn := dial()
		send(conn, "POST /read HTTP/1.1\r\nHost: api.test\r\nX-Slow: a")
		_, err := io.ReadAll(conn)
		require.NoError(t, err, "the server hangs up")
	})
	t.Run("nothing at all", func(t *testing.T) {
		_, err := io.ReadAll(dial())
		require.NoError(t, err)
	})
	t.Run("a body byte by byte", func(t *testing.T) {
		conn := dial()
		send(conn, "POST /read HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1000000\r\n\r\n")
		stopped := make(chan struct{})
		defer close(stopped)
		go func() { // each byte resets nothing
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stopped:
					return
				case <-tick.C:
					if _, err := conn.Write([]byte("a")); err != nil {
						return
					}
				}
			}
		}()
		o := <-outcomes
		require.ErrorIs(t, o.err, os.ErrDeadlineExceeded, "got %d bytes", len(o.body))
		require.Less(t, len(o.body), 1_000_000)
	})
	t.Run("a reader that does not read", func(t *testing.T) {
		conn := dial()
		send(conn, "GET /write HTTP/1.1\r\nHost: api.test\r\n\r\n")
		require.ErrorIs(t, <-written, os.ErrDeadlineExceeded)
	})
	t.Run("headers of more than 64 KiB", func(t *testing.T) {
		conn := dial()
		go func() {
			_, _ = io.WriteString(conn, "POST /read HTTP/1.1\r\nHost: api.test\r\nX-Large: "+strings.Repeat("a", 1<<20)+"\r\n\r\n")
		}()
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, answer.StatusCode)
	})
}
