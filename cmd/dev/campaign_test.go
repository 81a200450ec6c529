package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/devpg"
	"github.com/dawsos/dawsos/internal/loadtest"
)

func TestCampaignPlan(t *testing.T) {
	t.Parallel()
	var one, two bytes.Buffer
	require.Zero(t, conduct(t.Context(), "chaos", strings.Fields("--campaign --seed 7 --plan 5"), &one))
	require.Zero(t, conduct(t.Context(), "chaos", strings.Fields("--campaign --seed 7 --plan 5"), &two))
	require.Equal(t, one.String(), two.String())
	require.Equal(t, 5, strings.Count(one.String(), "\n"))
	require.Contains(t, one.String(), "fault 5: disk_full, postgres, for 2.0 s (0.41), then 0.5 s of calm\n")
}

// TestDisk fills the disk under a database: what needs room fails with PostgreSQL's code for that, until there
// is room again. In the end the database is where it was.
func TestDisk(t *testing.T) {
	t.Parallel()
	parent, err := os.MkdirTemp("", "dawsos-disk-") //nolint:usetesting // PostgreSQL's account can't enter t.TempDir when root tests
	require.NoError(t, err)
	require.NoError(t, os.Chmod(parent, 0o711))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(parent)) })
	server := &postgres{opts: devpg.Options{Dir: filepath.Join(parent, "postgres"), Ephemeral: true}}
	require.NoError(t, server.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, server.Stop(context.Background())) })
	require.NoError(t, createDatabase(t.Context(), server.URL("postgres")))
	d, err := newDisk(t.Context(), loadtest.Place{Bin: parent, Server: server})
	if err != nil && (runtime.GOOS != "linux" || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES)) {
		t.Logf("no file system can be mounted here, and a campaign says so: %v", err)
		return
	}
	require.NoError(t, err)

	conn, err := pgx.Connect(t.Context(), server.URL(databaseName))
	require.NoError(t, err)
	execute := func(sql string) error {
		_, err := conn.Exec(t.Context(), sql)
		return err
	}
	const grow = `INSERT INTO stuff SELECT repeat('x', 1000) FROM generate_series(1, 20000)`
	require.NoError(t, execute(`CREATE TABLE stuff (text text)`))
	require.NoError(t, execute(grow))
	require.NoError(t, d.Fill())
	full, ok := errors.AsType[*pgconn.PgError](execute(grow))
	require.True(t, ok)
	require.Equal(t, "53100", full.Code, full.Message)
	require.NoError(t, d.Free())
	require.NoError(t, execute(grow))
	require.NoError(t, conn.Close(t.Context()))

	require.NoError(t, d.remove(t.Context()))
	left, err := os.ReadDir(d.dir)
	require.NoError(t, err)
	require.Empty(t, left, "nothing is mounted any more")
	conn, err = pgx.Connect(t.Context(), server.URL(databaseName))
	require.NoError(t, err)
	var rows int
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM stuff`).Scan(&rows))
	require.Equal(t, 40_000, rows)
	require.NoError(t, conn.Close(t.Context()))
}
