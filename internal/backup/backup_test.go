package backup

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/dawsos/dawsos/internal/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

func write(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	_, err := pool.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// database is one with a portfolio and a booking in it.
func database(t *testing.T) (address string, pool *pgxpool.Pool) {
	t.Helper()
	address = dbtest.URL(t)
	pool = dbtest.Connect(t, address)
	write(t, pool, `INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash) VALUES ('default', 1, 'test', 1, 'h')`)
	write(t, pool, `INSERT INTO securities (id, tenant_id, symbol, name, asset_class, sector, currency, role)
		VALUES (gen_random_uuid(), 'default', 'CAL', 'CAL', 'index', 'x', 'CHF', 'benchmark')`)
	write(t, pool, `INSERT INTO portfolios (id, tenant_id, name, base_currency, calendar, ledger_seq, ledger_version)
		VALUES ('0b9a7e52-4f9b-4c5e-8f5a-6f9b3e0c1d2a', 'default', 'p', 'CHF', 'CAL', 1, 'v1')`)
	write(t, pool, `INSERT INTO transactions (id, tenant_id, portfolio_id, seq, date, type, currency, amount, ledger_version)
		VALUES (gen_random_uuid(), 'default', '0b9a7e52-4f9b-4c5e-8f5a-6f9b3e0c1d2a', 1, '2005-01-03', 'DEPOSIT', 'CHF', 100, 'v1')`)
	return address, pool
}

// databases counts scratch databases on the server.
func scratches(t *testing.T, pool *pgxpool.Pool) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_database WHERE datname LIKE 'dawsos_verify_%'`).Scan(&n))
	return n
}

func TestBackup(t *testing.T) {
	address, pool := database(t)
	dir := filepath.Join(t.TempDir(), "dumps")
	now := time.Date(2026, 5, 1, 22, 30, 0, 0, time.UTC)
	log := &bytes.Buffer{}
	b := New(Options{
		DatabaseURL: address, Dir: dir, Keep: 2, Log: slog.New(slog.NewTextHandler(log, nil)), Now: func() time.Time { return now },
	})
	var files []string
	for i := range 3 {
		report, err := b.Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("dawsos-2026050%dT223000Z.dump", i+1), report.File)
		require.Positive(t, report.Bytes)
		require.EqualValues(t, 1, report.Ledgers)
		require.Greater(t, report.Tables, 20)
		require.GreaterOrEqual(t, report.Rows, int64(5))
		files = append(files, report.File)
		if i == 2 {
			require.Equal(t, files[:1], report.Removed)
		}
		now = now.AddDate(0, 0, 1)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "two are kept, and nothing unfinished lies about")
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "who may read the database may read its dump")
	}
	folder, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), folder.Mode().Perm())
	require.Zero(t, scratches(t, pool))
	u, err := url.Parse(address)
	require.NoError(t, err)
	if password, ok := u.User.Password(); ok && password != "" {
		require.NotContains(t, log.String(), password)
	}
}

// Ledgers are portfolios'; revisions of market data are none.
func TestLedgersAreCounted(t *testing.T) {
	address, pool := database(t)
	write(t, pool, `TRUNCATE portfolios CASCADE`)
	report, err := New(Options{
		DatabaseURL: address, Dir: t.TempDir(), Keep: 1, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}).Run(t.Context())
	require.NoError(t, err)
	require.Zero(t, report.Ledgers)
}

// A dump that does not hold what its snapshot held is none, whatever it lacks.
func TestVerificationFindsWhatIsMissing(t *testing.T) {
	address, pool := database(t)
	conn, err := pgx.Connect(t.Context(), address)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	major, err := serverMajor(t.Context(), conn)
	require.NoError(t, err)
	tools, err := find(t.Context(), major)
	require.NoError(t, err)
	b := New(Options{DatabaseURL: address, Dir: t.TempDir(), Keep: 1, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	file := filepath.Join(b.opts.Dir, "x")
	held, err := b.dump(t.Context(), conn, tools, file)
	require.NoError(t, err)
	require.NoError(t, b.verify(t.Context(), conn, tools, file, held))

	more := inventory{rows: map[string]int64{"public.portfolios": 2, "public.gone": 1}, heads: held.heads}
	for table, n := range held.rows {
		if table != "public.portfolios" {
			more.rows[table] = n
		}
	}
	err = b.verify(t.Context(), conn, tools, file, more)
	require.EqualError(t, err, "the restored database lacks the table public.gone\nthe restored table public.portfolios has 1 rows instead of 2")

	write(t, pool, `UPDATE portfolios SET ledger_version = 'v2'`)
	var changed inventory
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		changed, err = take(t.Context(), tx)
		return err
	}))
	require.EqualError(t, b.verify(t.Context(), conn, tools, file, changed), "the restored ledgers, or the chain of market data, have other heads")

	require.NoError(t, os.Truncate(file, 2000))
	require.ErrorContains(t, b.verify(t.Context(), conn, tools, file, held), "restore the dump: pg_restore:")
	require.Zero(t, scratches(t, pool), "a scratch database goes also when it is of no use")
}

func TestAUserWithoutTheRightIsToldWhatToDo(t *testing.T) {
	address, pool := database(t)
	role := "backup_" + strings.ToLower(t.Name()[:8])
	write(t, pool, `CREATE ROLE `+role+` LOGIN BYPASSRLS PASSWORD 'hunter2'`)
	write(t, pool, `GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+role)
	write(t, pool, `GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO `+role)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		conn, err := pgx.Connect(ctx, address)
		require.NoError(t, err)
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, `DROP OWNED BY `+role)
		require.NoError(t, err)
		_, err = conn.Exec(ctx, `DROP ROLE `+role)
		require.NoError(t, err)
	})
	u, err := url.Parse(address)
	require.NoError(t, err)
	u.User = url.UserPassword(role, "hunter2")
	dir := t.TempDir()
	b := New(Options{DatabaseURL: u.String(), Dir: dir, Keep: 1, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	_, err = b.Run(t.Context())
	require.EqualError(t, err, `backup: the dump can't be verified: the database user "`+role+`" may not create databases; allow it with ALTER ROLE ... CREATEDB`)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "what is not verified is not kept")
}

func TestChoose(t *testing.T) {
	t.Parallel()
	of := func(majors ...int) (all []tools) {
		for _, m := range majors {
			all = append(all, tools{major: m, version: fmt.Sprintf("%d.1", m)})
		}
		return all
	}
	for _, test := range []struct {
		there  []tools
		server int
		want   int
		err    string
	}{
		{there: of(17, 15, 16), server: 15, want: 15},
		{there: of(17, 16), server: 15, want: 16},
		{there: of(14, 13), server: 15, err: "pg_dump 14.1 is older than the server, which is PostgreSQL 15: install client programs of version 15 or newer"},
		{server: 15, err: "pg_dump and pg_restore are not there: install PostgreSQL's client programs, version 15 or newer (Debian: postgresql-client)"},
	} {
		got, err := choose(test.there, test.server)
		if test.err != "" {
			require.EqualError(t, err, test.err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, test.want, got.major)
	}
}

// The password goes by the environment alone.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	const address = "postgres://u:hun%20ter2@db.example.org:6432/dawsos?sslmode=verify-full&sslrootcert=/etc/ca.pem"
	config, err := pgx.ParseConfig("postgres://u:hun%20ter2@db.example.org:6432/dawsos?sslmode=disable")
	require.NoError(t, err)
	env := New(Options{DatabaseURL: address}).environment(config)
	for _, want := range []string{
		"PGHOST=db.example.org", "PGPORT=6432", "PGUSER=u", "PGDATABASE=dawsos", "PGPASSWORD=hun ter2", "PGSSLMODE=verify-full", "PGSSLROOTCERT=/etc/ca.pem",
	} {
		require.Contains(t, env, want)
	}
}

// A worker that is killed drops no scratch database and removes no file: the next backup does. What is of
// another database stays.
func TestWhatAKilledBackupHasLeftGoes(t *testing.T) {
	address, pool := database(t)
	var oid uint32
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT oid FROM pg_database WHERE datname = current_database()`).Scan(&oid))
	left, others := fmt.Sprintf("dawsos_verify_%d_left", oid), fmt.Sprintf("dawsos_verify_%d_others", oid+1)
	write(t, pool, `CREATE DATABASE `+left)
	write(t, pool, `CREATE DATABASE `+others)
	t.Cleanup(func() {
		_, err := pool.Exec(context.Background(), `DROP DATABASE `+others)
		require.NoError(t, err)
	})
	dir := t.TempDir()
	for _, name := range []string{"dawsos-20260501T223000Z.dump.partial", "mine.partial"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600))
	}
	now := time.Date(2026, 5, 1, 22, 30, 0, 0, time.UTC) // the second in which the other began, even
	report, err := New(Options{DatabaseURL: address, Dir: dir, Keep: 1, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }}).Run(t.Context())
	require.NoError(t, err)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	require.Equal(t, report.File, entries[0].Name())
	require.Equal(t, "mine.partial", entries[1].Name())
	var names []string
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT array_agg(datname::text) FROM pg_database WHERE datname IN ($1, $2)`, left, others).Scan(&names))
	require.Equal(t, []string{others}, names)
}

// Two workers make one backup after the other, and neither drops what the other restores into.
func TestBackupsTakeTurns(t *testing.T) {
	address, _ := database(t)
	dir := t.TempDir()
	base := time.Date(2026, 5, 1, 22, 30, 0, 0, time.UTC)
	var g errgroup.Group
	for i := range 3 {
		g.Go(func() error {
			_, err := New(Options{
				DatabaseURL: address, Dir: dir, Keep: 3, Log: slog.New(slog.DiscardHandler),
				Now: func() time.Time { return base.Add(time.Duration(i) * time.Second) },
			}).Run(t.Context())
			return err
		})
	}
	require.NoError(t, g.Wait())
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Len(t, files, 3)
}

// What the pool understands in an address, and PostgreSQL does not, must not keep a backup from being made.
func TestAnAddressWithSettingsOfThePool(t *testing.T) {
	address, _ := database(t)
	u, err := url.Parse(address)
	require.NoError(t, err)
	q := u.Query()
	q.Set("pool_max_conns", "7")
	u.RawQuery = q.Encode()
	_, err = New(Options{DatabaseURL: u.String(), Dir: t.TempDir(), Keep: 1, Log: slog.New(slog.DiscardHandler), Now: time.Now}).Run(t.Context())
	require.NoError(t, err)
}

// Two databases can have the same name, rows and even server's identifier, as one was made of the other. A
// backup of the one that nobody works with any more would be verified and kept like a good one.
func TestABackupIsOfTheDatabaseThatTheProcessWorksWith(t *testing.T) {
	address, owner := database(t)
	const role = "backup_process" // which may do nothing but come in
	write(t, owner, `CREATE ROLE `+role+` LOGIN PASSWORD 'hunter2'`)
	t.Cleanup(func() {
		_, err := owner.Exec(context.Background(), `DROP ROLE `+role)
		require.NoError(t, err)
	})
	process := func(address string) *pgxpool.Pool {
		u, err := url.Parse(address)
		require.NoError(t, err)
		u.User = url.UserPassword(role, "hunter2")
		return dbtest.Connect(t, u.String())
	}
	dir := t.TempDir()
	run := func(process *pgxpool.Pool) error {
		_, err := New(Options{
			DatabaseURL: address, Process: process, Dir: dir, Keep: 1, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		}).Run(t.Context())
		return err
	}
	files := func() []os.DirEntry {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		return entries
	}
	other, _ := database(t)
	require.EqualError(t, run(process(other)), "backup: BACKUP_DATABASE_URL and DATABASE_URL lead to different databases: "+
		"the backup would not be of the one that is worked with. Let both lead to that one, each with its own login")
	require.Empty(t, files())
	gone := process(address)
	gone.Close()
	require.ErrorContains(t, run(gone), "backup: whether BACKUP_DATABASE_URL and DATABASE_URL lead to the same database:")
	require.Empty(t, files())

	require.NoError(t, run(process(address)))
	require.Len(t, files(), 1)
	require.Zero(t, scratches(t, owner))
}

func TestAnAddressThatCannotBeUsedIsNotShown(t *testing.T) {
	t.Parallel()
	b := New(Options{DatabaseURL: "postgres://u:hunter2@127.0.0.1:1/x?connect_timeout=1", Dir: t.TempDir(), Keep: 1, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	_, err := b.Run(t.Context())
	require.EqualError(t, err, "backup: the database does not answer")
}
