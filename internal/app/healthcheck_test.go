package app

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHealthcheck: alive is who answers 200 at the address that the settings say.
func TestHealthcheck(t *testing.T) {
	t.Parallel()
	status := make(chan int, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(<-status)
	}))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)

	for _, c := range []struct {
		name   string
		run    func(env map[string]string) error
		listen string
	}{
		{"api", func(env map[string]string) error {
			return RunAPI(t.Context(), []string{"healthcheck"}, from(env))
		}, "API_ADDR"},
		{"worker", func(env map[string]string) error {
			return RunWorker(t.Context(), []string{"healthcheck"}, from(env))
		}, "WORKER_ADDR"},
	} {
		for _, host := range []string{"", "0.0.0.0", "127.0.0.1", "localhost"} {
			// Production: what it asks of a process that serves, nobody has to have for asking.
			env := map[string]string{"ENVIRONMENT": "production", c.listen: net.JoinHostPort(host, port), "HTTP_PROXY": "http://127.0.0.1:1"}
			status <- http.StatusOK
			require.NoError(t, c.run(env), "%s at %q", c.name, host)
			status <- http.StatusInternalServerError
			require.ErrorContains(t, c.run(env), "/healthz answers 500", "%s at %q", c.name, host)
		}
		require.ErrorContains(t, c.run(map[string]string{c.listen: "nowhere"}), c.listen+`="nowhere"`)
		require.ErrorContains(t, c.run(map[string]string{c.listen: freeAddr(t)}), "connection refused", c.name)
	}
	require.ErrorContains(t, RunAPI(t.Context(), []string{"healthcheck", "x"}, from(nil)), "usage: api")
	require.ErrorContains(t, RunWorker(t.Context(), []string{"healthcheck", "x"}, from(nil)), "usage: worker")
}

func from(env map[string]string) func(string) string {
	return func(name string) string { return env[name] }
}
