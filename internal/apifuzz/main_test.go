package apifuzz_test

import (
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/app"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/sample"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// startAPI starts API and worker, as they are wired for operators, over the sample data, and returns the
// API's address.
func startAPI(t *testing.T) string {
	t.Helper()
	databaseURL := dbtest.URL(t)
	configs := filepath.Join("..", "..", "configs")
	_, err := sample.Load(t.Context(), dbtest.Connect(t, databaseURL), filepath.Join(configs, "sample"), func(string) {})
	require.NoError(t, err)
	api, worker := freeAddr(t), freeAddr(t)
	settings := map[string]string{
		"DATABASE_URL": databaseURL, "API_ADDR": api, "WORKER_ADDR": worker, "LOG_LEVEL": "error", "AUTH_ANONYMOUS": "admin",
		"SECRETS_KEY":    base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"WEBHOOK_SECRET": "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"PATTERNS_DIR":   filepath.Join(configs, "patterns"), "AGENTS_FILE": filepath.Join(configs, "agents.yaml"),
		"ANALYTICS_DIR": filepath.Join(configs, "analytics"),
	}
	getenv := func(name string) string { return settings[name] }
	run(t, api, func(ctx context.Context) error { return app.RunAPI(ctx, nil, getenv) })
	run(t, worker, func(ctx context.Context) error { return app.RunWorker(ctx, nil, getenv) })
	return "http://" + api
}

// run runs a process within this one until the test ends, and waits until it is ready.
func run(t *testing.T, addr string, process func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- process(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	require.Eventually(t, func() bool {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", http.NoBody)
		require.NoError(t, err)
		answer, err := client.Do(r)
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}, time.Minute, 20*time.Millisecond)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}
