package loadtest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/devpg"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/internal/store/migrate"
)

// namedPlace returns a place whose database is named as in the documented commands, on a server of its own,
// with the sample data.
func namedPlace(t *testing.T) Place {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o711)) // PostgreSQL's account has to pass through
	server, err := devpg.Start(t.Context(), devpg.Options{Dir: filepath.Join(dir, "pg"), Ephemeral: true})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, server.Stop(ctx))
		require.NoError(t, devpg.Remove(filepath.Join(dir, "pg")))
	})
	_, err = another(t.Context(), server.URL("postgres"), databaseName)
	require.NoError(t, err)
	p := place(t)
	p.DatabaseURL = server.URL(databaseName)
	_, err = migrate.Up(t.Context(), p.DatabaseURL)
	require.NoError(t, err)
	_, err = sample.Load(t.Context(), dbtest.Connect(t, p.DatabaseURL), filepath.Join(p.Root, "configs/sample"), func(string) {})
	require.NoError(t, err)
	return p
}

func TestRestore(t *testing.T) {
	t.Parallel()
	r, err := Restore(t.Context(), namedPlace(t), RestoreOptions{Events: 150, Concurrency: 8, Limit: 2 * time.Minute})
	require.NoError(t, err)
	require.True(t, r.OK(), r.String())
	require.Equal(t, 150, r.Account.Acknowledged)
	require.Positive(t, r.Account.DeadLetters)
	require.Greater(t, r.Tables, 25)
	require.Greater(t, r.Rows, int64(10_000))
	require.Contains(t, r.String(), r.DataHash[:12])
}

func TestRestoreNeedsTheDocumentedName(t *testing.T) {
	t.Parallel()
	_, err := Restore(t.Context(), place(t), RestoreOptions{})
	require.ErrorContains(t, err, "must be named dawsos")
}

// A row that is gone, changed or new, and an account that is not what it was, are found.
func TestInventoryDetects(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ctx := t.Context()
	before, err := inventory(ctx, pool)
	require.NoError(t, err)
	require.NotContains(t, before.tables, "processes")
	same, err := inventory(ctx, pool)
	require.NoError(t, err)
	require.Empty(t, differing(before, same))
	for _, change := range []struct{ statement, says string }{
		{`INSERT INTO tenants (id) VALUES ('other')`, "the table tenants held"},
		{`INSERT INTO alert_accounts SELECT * FROM (SELECT (jsonb_populate_record(NULL::alert_accounts, '{"tenant_id":"default","channel":"webhook","account":"accepted","balance":1}')).*) AS a`, "the account accepted was 0 and is 1"},
	} {
		tx, err := pool.Begin(ctx)
		require.NoError(t, err)
		_, err = tx.Exec(ctx, change.statement)
		require.NoError(t, err, change.statement)
		require.NoError(t, tx.Commit(ctx))
		after, err := inventory(ctx, pool)
		require.NoError(t, err)
		require.Contains(t, differing(before, after)[0], change.says)
		before = after
	}
}

func TestDocumented(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "page.md")
	require.NoError(t, os.WriteFile(file, []byte("# Page\n\n```sh\nnot this\n```\n\n### Restoring\n\nText.\n\n```sh\nthis\nand that\n```\n\n```sh\nnor this\n```\n"), 0o600))
	script, err := documented(file, "### Restoring")
	require.NoError(t, err)
	require.Equal(t, "this\nand that", script)
	_, err = documented(file, "### Other")
	require.ErrorContains(t, err, `no heading "### Other"`)
}

// The release before is this one here: what is tested is the drill. task drill-upgrade builds an older one.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	p := place(t)
	r, err := Upgrade(t.Context(), p, UpgradeOptions{OldBin: p.Bin, OldRoot: p.Root, Rate: 20, Concurrency: 8, Phase: 2 * time.Second, Drain: 90 * time.Second})
	drop := func() {
		conn, err := pgx.Connect(context.Background(), p.DatabaseURL)
		require.NoError(t, err)
		defer func() { _ = conn.Close(context.Background()) }()
		_, err = conn.Exec(context.Background(), `DROP DATABASE IF EXISTS `+upgradeName+` WITH (FORCE)`)
		require.NoError(t, err)
	}
	drop()
	require.NoError(t, err)
	require.True(t, r.OK(), r.String())
	require.Equal(t, r.SchemaBefore, r.SchemaAfter)
	for _, phase := range r.Phases {
		require.Positive(t, phase.Acknowledged)
	}
	require.Contains(t, r.String(), "old and new")
}

func TestUpgradeJudges(t *testing.T) {
	t.Parallel()
	good := func() ([3]Sent, *UpgradeReport) {
		var all [3]Sent
		for i := range all {
			all[i].Acknowledged = make([]Acknowledgement, 2)
		}
		return all, &UpgradeReport{SchemaBefore: 1, SchemaAfter: 2, Account: Account{Acknowledged: 6, Received: 6}}
	}
	all, r := good()
	r.judge(all, true, UpgradeOptions{})
	require.True(t, r.OK(), r.Account.Wrong)
	for says, spoil := range map[string]func(all *[3]Sent, r *UpgradeReport){
		"1 requests failed with old and new":       func(all *[3]Sent, _ *UpgradeReport) { all[1].Refused = 1 },
		"2 requests failed with the new alone":     func(all *[3]Sent, _ *UpgradeReport) { all[2].Unanswered = 2 },
		"nothing was accepted by the old alone":    func(all *[3]Sent, _ *UpgradeReport) { all[0].Acknowledged = nil },
		"1 events were delivered twice":            func(_ *[3]Sent, r *UpgradeReport) { r.Account.Repeated = 1 },
		"6 events were acknowledged and 5 arrived": func(_ *[3]Sent, r *UpgradeReport) { r.Account.Received = 5 },
		"the schema went from 1 to 0":              func(_ *[3]Sent, r *UpgradeReport) { r.SchemaAfter = 0 },
	} {
		all, r := good()
		spoil(&all, r)
		r.judge(all, true, UpgradeOptions{})
		require.Len(t, r.Account.Wrong, 1, says)
		require.Contains(t, r.Account.Wrong[0], says)
	}
	all, r = good()
	r.judge(all, false, UpgradeOptions{})
	require.False(t, r.OK())
}

func TestSize(t *testing.T) {
	t.Parallel()
	// A server of its own: what others write to theirs is in its WAL, too.
	r, err := Size(t.Context(), harshPlace(t), SizeOptions{Events: 300, Concurrency: 8, Limit: 90 * time.Second})
	require.NoError(t, err)
	require.Len(t, r.Kinds, 2)
	for _, k := range r.Kinds {
		require.Greater(t, k.Disk, 500.0, k.Kind)
		require.Greater(t, k.WAL, 500.0, k.Kind)
	}
	require.Greater(t, r.Kinds[1].WAL, r.Kinds[0].WAL, "a failure costs more")
	require.Positive(t, r.Connections)
	require.Contains(t, r.String(), "alert_events")
}
