package e2e

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
)

// TestRefusesToStart: what is wrong with the settings is said in a line each, without secrets, and
// the process ends with a failure.
func TestRefusesToStart(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	good := []string{
		"DATABASE_URL=" + dbtest.URL(t), "API_ADDR=127.0.0.1:0", "WORKER_ADDR=127.0.0.1:0",
		"PATTERNS_DIR=" + filepath.Join(root, "configs/patterns"), "AGENTS_FILE=" + filepath.Join(root, "configs/agents.yaml"),
		"ANALYTICS_DIR=" + filepath.Join(root, "configs/analytics"),
	}
	for _, c := range []struct {
		name, binary string
		env          []string
		says         []string
	}{
		{"api without a database", "api", []string{"DATABASE_URL="}, []string{"DATABASE_URL is not set"}},
		{"worker without a database", "worker", []string{"DATABASE_URL="}, []string{"DATABASE_URL is not set"}},
		{
			"several bad values", "worker",
			[]string{"RETRY_SCHEDULE=5m,soon", "DELIVERY_TIMEOUT=0s", "DATABASE_URL=mysql://root:hunter2@localhost/x"},
			[]string{`RETRY_SCHEDULE="5m,soon"`, `DELIVERY_TIMEOUT="0s"`, `DATABASE_URL="mysql://[redacted]@`},
		},
		{"port in use", "api", []string{"API_ADDR=" + taken.Addr().String()}, []string{"address already in use"}},
		{"no patterns", "api", []string{"PATTERNS_DIR=/nonexistent"}, []string{"PATTERNS_DIR=/nonexistent"}},
		{"no agents", "api", []string{"AGENTS_FILE=/nonexistent"}, []string{"AGENTS_FILE", "/nonexistent"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, c.binary, append(append([]string{}, good...), c.env...))
			require.Equal(t, 1, p.exitCode())
			for _, text := range c.says {
				require.Contains(t, p.log.String(), text)
			}
			require.NotContains(t, p.log.String(), "hunter2")
			require.NotContains(t, p.log.String(), "goroutine", "no stack for a mistake in the settings")
		})
	}
}

// TestReadyOnlyWithSchema: both processes start over an empty database, say what is missing, and
// work once it is there.
func TestReadyOnlyWithSchema(t *testing.T) {
	t.Parallel()
	s := prepare(t, dbtest.EmptyURL(t))
	s.api, s.worker = start(t, "api", s.env), start(t, "worker", s.env)
	for _, addr := range []string{s.apiAddr, s.workerAddr} {
		s.eventually("unready: "+addr, func(ctx context.Context) error {
			_, err := get(ctx, "http://"+addr+"/readyz")
			if err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "api migrate") {
				return errors.Join(errors.New("expected 503 naming the migration"), err)
			}
			_, err = get(ctx, "http://"+addr+"/healthz")
			return err
		})
	}
	migrate := start(t, "api", s.env, "migrate")
	require.Equal(t, 0, migrate.exitCode(), migrate.log.String())
	s.ready(s.apiAddr)
	s.ready(s.workerAddr)
	for _, p := range []*proc{s.api, s.worker} {
		require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
		require.Equal(t, 0, p.exitCode())
	}
}
