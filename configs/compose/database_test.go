package compose_test

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/app"
	"github.com/dawsos/dawsos/internal/backup"
	"github.com/dawsos/dawsos/internal/devpg"
	"github.com/dawsos/dawsos/internal/store/roles"
)

// record keeps what a server logs.
type record struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// server is a cluster as the image's first start finds it: its superuser is postgres.
type server struct {
	address *url.URL
	log     *record
}

func startServer(t *testing.T) server {
	t.Helper()
	s := server{log: &record{}}
	dir := filepath.Join(t.TempDir(), "server")
	t.Cleanup(func() { require.NoError(t, devpg.Remove(dir)) })
	pg, err := devpg.Start(t.Context(), devpg.Options{
		Dir: dir, Ephemeral: true, Log: s.log,
		Settings: map[string]string{"log_statement": "all", "log_min_error_statement": "error"}, // as talkative as can be
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pg.Stop(context.WithoutCancel(t.Context()))) })
	s.address, err = url.Parse(pg.URL("postgres"))
	require.NoError(t, err)

	// The private server's superuser and database have the names that DawsOS is to have here.
	conn, err := pgx.Connect(t.Context(), s.address.String())
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "CREATE ROLE postgres SUPERUSER LOGIN PASSWORD 'superuser'")
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	conn = s.connect(t, "postgres", "superuser", "postgres")
	_, err = conn.Exec(t.Context(), "ALTER ROLE dawsos RENAME TO machine")
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "DROP DATABASE IF EXISTS dawsos")
	require.NoError(t, err)
	return s
}

// url is the address of a database of the server for a login.
func (s server) url(login, password, database string) string {
	u := *s.address
	u.User, u.Path = url.UserPassword(login, password), "/"+database
	return u.String()
}

func (s server) connect(t *testing.T, login, password, database string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.url(login, password, database))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// psql runs one of the scripts as the containers do.
func (s server) psql(t *testing.T, file, database string, env ...string) {
	t.Helper()
	program, err := exec.LookPath("psql")
	if err != nil { // a server that was fetched comes without it
		require.Empty(t, os.Getenv("CI"), "psql is missing (Debian: postgresql-client)")
		t.Skip("needs psql (Debian: postgresql-client)")
	}
	cmd := exec.CommandContext(t.Context(), program, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file="+file,
		"--dbname="+s.url("postgres", "superuser", database))
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Empty(t, string(out))
}

// TestDatabase goes the way of compose.yaml on a real server: what a new volume gets, the migrations as
// DawsOS, which owns its database and may make others for its backups, one such backup, and the logins of
// what watches it.
func TestDatabase(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.psql(t, "initdb.sql", "postgres", "DATABASE_PASSWORD=owner0", "API_DB_PASSWORD=backend0", "WORKER_DB_PASSWORD=jobs0")

	migrate := func() {
		require.NoError(t, app.Migrate(t.Context(), func(name string) string {
			return map[string]string{"DATABASE_URL": s.url("dawsos", "owner0", "dawsos"), "ENVIRONMENT": "production"}[name]
		}))
	}
	migrate()
	migrate()
	var superuser, makesRoles, databases bool
	owner := s.connect(t, "dawsos", "owner0", "dawsos")
	require.NoError(t, owner.QueryRow(t.Context(),
		"SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user").Scan(&superuser, &makesRoles, &databases))
	require.False(t, superuser || makesRoles)
	require.True(t, databases)

	// The processes' logins are what production wants of them; the owner's is not.
	for login, as := range map[string]roles.Options{
		"dawsos_backend:backend0": {Role: roles.API, Strict: true}, "dawsos_jobs:jobs0": {Role: roles.Worker, Strict: true},
	} {
		name, password, _ := strings.Cut(login, ":")
		require.NoError(t, ping(t, s.url(name, password, "dawsos"), as))
		require.ErrorContains(t, ping(t, s.url("dawsos", "owner0", "dawsos"), as), "owns the tables")
		require.ErrorContains(t, ping(t, s.url("postgres", "superuser", "dawsos"), as), "is a superuser")
	}
	require.ErrorContains(t, ping(t, s.url("dawsos_backend", "backend0", "dawsos"), roles.Options{Role: roles.Worker}),
		"dawsos_backend is no member of dawsos_worker")

	// psql ran, so that PostgreSQL's other client programs are there too.
	dir := t.TempDir()
	report, err := backup.New(backup.Options{
		DatabaseURL: s.url("dawsos", "owner0", "dawsos"), Dir: dir, Keep: 1, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}).Run(t.Context())
	require.NoError(t, err)
	require.Positive(t, report.Tables)
	require.FileExists(t, filepath.Join(dir, report.File))
	var left int
	require.NoError(t, owner.QueryRow(t.Context(), "SELECT count(*) FROM pg_database WHERE datname LIKE 'dawsos_verify_%'").Scan(&left))
	require.Zero(t, left)
	s.restoreAsDocumented(t, filepath.Join(dir, report.File))

	for _, run := range []string{"first", "second"} { // a second run brings new passwords
		s.psql(t, "logins.sql", "dawsos", "GRAFANA_DB_PASSWORD=grafana"+run, "EXPORTER_DB_PASSWORD=exporter"+run)
		grafana := s.connect(t, "dawsos_grafana", "grafana"+run, "dawsos")
		exporter := s.connect(t, "dawsos_exporter", "exporter"+run, "dawsos")

		var n int
		require.NoError(t, grafana.QueryRow(t.Context(), "SELECT count(id) FROM alert_dlq WHERE state = 'pending'").Scan(&n))
		require.NoError(t, exporter.QueryRow(t.Context(), // other logins' statements are the monitor's to see
			"SELECT count(*) FROM pg_stat_activity WHERE usename = 'dawsos' AND query <> '<insufficient privilege>'").Scan(&n))
		require.Positive(t, n)
		require.NoError(t, exporter.QueryRow(t.Context(), "SELECT pg_database_size('dawsos')").Scan(&n))

		for _, refused := range []struct {
			conn *pgx.Conn
			sql  string
		}{
			{grafana, "SELECT * FROM destinations"},
			{grafana, "SELECT alert_data FROM alert_dlq"},
			{grafana, "SELECT * FROM river_job"},
			{exporter, "SELECT id FROM alert_dlq"},
			{exporter, "SELECT * FROM destinations"},
		} {
			_, err := refused.conn.Exec(t.Context(), refused.sql)
			require.ErrorContains(t, err, "permission denied", refused.sql)
		}
		_, err := grafana.Exec(t.Context(), "CREATE TABLE t ()")
		require.Error(t, err)
	}
	_, err = pgx.Connect(t.Context(), s.url("dawsos_grafana", "grafanafirst", "dawsos"))
	require.ErrorContains(t, err, "password authentication failed")

	for _, password := range []string{"owner0", "grafanafirst", "grafanasecond", "exporterfirst", "exportersecond"} {
		require.NotContains(t, s.log.String(), password, "a password is in the server's log")
	}
	require.Contains(t, s.log.String(), "CREATE TABLE t ()", "the server logs what it is sent")
}

// restoreAsDocumented restores a dump by the script that docs/deployment.md gives to the worker's container, and
// holds the outcome against what processes want.
func (s server) restoreAsDocumented(t *testing.T, dump string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/deployment.md")
	require.NoError(t, err)
	_, script, found := strings.Cut(string(page), "docker compose exec -T worker sh -e <<'END'\n")
	require.True(t, found)
	script, _, found = strings.Cut(script, "\nEND\n")
	require.True(t, found)
	const example = "/backups/dawsos-20261130T040000Z.dump"
	require.Contains(t, script, example)
	cmd := exec.CommandContext(t.Context(), "sh", "-e")
	cmd.Stdin = strings.NewReader(strings.Replace(script, example, dump, 1))
	cmd.Env = append(os.Environ(), "PATH="+clients(t)+":"+os.Getenv("PATH"),
		"DATABASE_URL="+s.url("dawsos_jobs", "jobs0", "dawsos"),
		"BACKUP_DATABASE_URL="+s.url("dawsos", "owner0", "dawsos"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))

	for address, role := range map[string]roles.Role{
		s.url("dawsos_backend", "backend0", "dawsos_restored"): roles.API, s.url("dawsos_jobs", "jobs0", "dawsos_restored"): roles.Worker,
	} {
		require.NoError(t, ping(t, address, roles.Options{Role: role, Strict: true}))
	}
	var secured int
	admin := s.connect(t, "postgres", "superuser", "dawsos_restored")
	require.NoError(t, admin.QueryRow(t.Context(),
		"SELECT count(*) FROM pg_class WHERE relrowsecurity AND relname IN ('alert_dlq', 'portfolios', 'api_keys')").Scan(&secured))
	require.Equal(t, 3, secured)

	// A login that is nothing to us calls nothing that runs with the owner's rights.
	_, err = admin.Exec(t.Context(), "CREATE ROLE stranger LOGIN PASSWORD 'stranger0'")
	require.NoError(t, err)
	for _, call := range []string{
		"use_api_key(text, bytea, timestamptz)", "use_session(bytea, timestamptz, timestamptz)", "end_session(bytea)",
		"count_active_api_keys(timestamptz)", "breakers_on(text, text)", "analyze_table(text)", "queue_depth()",
	} {
		var may bool
		require.NoError(t, admin.QueryRow(t.Context(), "SELECT has_function_privilege('stranger', $1, 'EXECUTE')", call).Scan(&may))
		require.False(t, may, call)
	}
	_, err = s.connect(t, "stranger", "stranger0", "dawsos_restored").Exec(t.Context(), "SELECT end_session('')")
	require.ErrorContains(t, err, "permission denied for function")
}

// clients is where createdb and pg_restore are.
func clients(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("pg_restore"); err == nil {
		return filepath.Dir(path)
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/pg_restore")
	require.NoError(t, err)
	require.NotEmpty(t, found)
	return filepath.Dir(found[len(found)-1])
}

// ping connects as a process does.
func ping(t *testing.T, address string, as roles.Options) error {
	t.Helper()
	config, err := pgxpool.ParseConfig(address)
	require.NoError(t, err)
	roles.Configure(config, as)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer pool.Close()
	// What an import and the staging of one need.
	_, err = pool.Exec(t.Context(), "CREATE TEMPORARY TABLE staged (n integer) ON COMMIT DROP")
	return err
}

// TestDatabaseScripts: what the containers are given is what was tried here.
func TestDatabaseScripts(t *testing.T) {
	t.Parallel()
	p := load(t, secrets(), observability)
	for service, want := range map[string]struct{ file, target, variable string }{
		"postgres":        {"initdb.sql", "/docker-entrypoint-initdb.d/10-dawsos.sql", "DATABASE_PASSWORD"},
		"postgres-logins": {"logins.sql", "/logins.sql", "GRAFANA_DB_PASSWORD"},
	} {
		s := p.Services[service]
		file, err := filepath.Abs(want.file)
		require.NoError(t, err)
		found := false
		for _, v := range s.Volumes {
			found = found || v.Source == file && v.Target == want.target
		}
		require.True(t, found, service)
		require.Equal(t, secrets()[want.variable], *s.Environment[want.variable])
	}
	logins := p.Services["postgres-logins"].Environment
	exporter, grafana := p.Services["postgres-exporter"].Environment, p.Services["grafana"].Environment
	require.Equal(t, *logins["EXPORTER_DB_PASSWORD"], *exporter["DATA_SOURCE_PASS"])
	require.Equal(t, "dawsos_exporter", *exporter["DATA_SOURCE_USER"])
	require.Equal(t, *logins["GRAFANA_DB_PASSWORD"], *grafana["GRAFANA_DB_PASSWORD"])
	require.Equal(t, "dawsos_grafana", *grafana["GRAFANA_DB_USER"])
}
