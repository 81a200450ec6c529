package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/pkg/api"
)

// newBouncer starts a pgbouncer in front of a database and returns the database's address through it.
func newBouncer(t *testing.T, databaseURL, mode string, size int) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			t.Skip("pgbouncer is not here; .ci/run installs it (Debian: pgbouncer)")
		}
	}
	u, err := url.Parse(databaseURL)
	require.NoError(t, err)
	password, _ := u.User.Password()
	dir := passable(t)
	users := filepath.Join(dir, "users.txt")
	require.NoError(t, os.WriteFile(users, []byte(fmt.Sprintf("%q %q\n", u.User.Username(), password)), 0o644))
	addr := freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	config := filepath.Join(dir, "pgbouncer.ini")
	require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf(`[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s
pool_mode = %s
default_pool_size = %d
max_client_conn = 500
`, u.Hostname(), u.Port(), port, users, mode, size)), 0o644))
	args := []string{config}
	if os.Geteuid() == 0 {
		account := "nobody"
		if _, err := user.Lookup("postgres"); err == nil {
			account = "postgres"
		}
		args = append([]string{"-u", account}, args...)
	}
	launch(t, "pgbouncer", exec.Command(program, args...), []string{"PATH=" + os.Getenv("PATH")})
	u.Host = addr
	(&system{t: t}).eventually("pgbouncer answers", func(ctx context.Context) error { return connect(ctx, u.String()) })
	return u.String()
}

// TestBehindSessionPooling: API and worker behind a pgbouncer that gives each client a session of its own.
func TestBehindSessionPooling(t *testing.T) {
	t.Parallel()
	pooled := newBouncer(t, dbtest.URL(t), "session", 100)
	migration := start(t, "api", []string{"DATABASE_URL=" + pooled, "PATH=" + os.Getenv("PATH")}, "migrate")
	require.Zero(t, migration.exitCode(), migration.log.String())
	s := newSystem(t, pooled, "RETRY_SCHEDULE=500ms,1s,2s", "AUTH_ANONYMOUS=admin", "DATABASE_POOL_MAX=20", "DATABASE_POOLER=session")
	r := newReceiver(t, func(n int) int { return map[bool]int{true: 503, false: 200}[n%3 != 0] })
	for range 5 {
		s.becomes(s.deliver(fmt.Sprintf("nav-%d", len(r.all())), r.URL).JSON200.EventId, api.ChannelHistoryStateDelivered)
	}
	accepted, delivered, _, _ := s.requireAccounted()
	require.Equal(t, []int{5, 5}, []int{accepted, delivered})
}

// leftByAnother has one client set who it is and leave, and returns what the next one finds.
func leftByAnother(t *testing.T, address string) string {
	t.Helper()
	first := dial(t, address)
	_, err := first.Exec(t.Context(), `SELECT set_config('dawsos.tenant', 'first', false)`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	require.NoError(t, first.Close(t.Context()))
	return tenantOf(t, dial(t, address))
}

func dial(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func tenantOf(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	var tenant string
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT coalesce(current_setting('dawsos.tenant', true), '')`, pgx.QueryExecModeSimpleProtocol).Scan(&tenant))
	return tenant
}

// TestPoolingAndSessions is why transaction pooling is refused: what a connection says of itself, such as
// whose rows it may see, and what it locks, is another client's with it. One server connection shows it.
func TestPoolingAndSessions(t *testing.T) {
	t.Parallel()
	t.Run("session", func(t *testing.T) {
		t.Parallel()
		address := newBouncer(t, dbtest.EmptyURL(t), "session", 1)
		require.Empty(t, leftByAnother(t, address), "pgbouncer has discarded it")
	})
	t.Run("transaction", func(t *testing.T) {
		t.Parallel()
		address := newBouncer(t, dbtest.EmptyURL(t), "transaction", 1)
		first, second := dial(t, address), dial(t, address)
		_, err := first.Exec(t.Context(), `SELECT set_config('dawsos.tenant', 'first', false)`, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
		require.Equal(t, "first", tenantOf(t, second), "one client's tenant is another's")

		for _, conn := range []*pgx.Conn{first, second} {
			var locked bool
			require.NoError(t, conn.QueryRow(t.Context(), `SELECT pg_try_advisory_lock(7)`, pgx.QueryExecModeSimpleProtocol).Scan(&locked))
			require.True(t, locked, "both have the lock that only one can have: migrations would run twice")
		}

		// pgx prepares statements by default; pgbouncer 1.21 and later can follow them, where
		// max_prepared_statements says so. Before, one client's are in another's way.
		var failed *pgconn.PgError
		for i := 0; i < 4 && failed == nil; i++ {
			for _, conn := range []*pgx.Conn{first, second} {
				var n int
				if err := conn.QueryRow(t.Context(), `SELECT $1::int`, i).Scan(&n); err != nil {
					require.ErrorAs(t, err, &failed)
				}
			}
		}
		if failed != nil {
			require.Contains(t, []string{"42P05", "26000"}, failed.Code, "a prepared statement is there already, or is gone: %v", failed)
		}
		t.Logf("prepared statements behind transaction pooling: %v", failed)
	})
}

// ping is a job that says when it was worked.
type ping struct {
	N int `json:"n"`
}

func (ping) Kind() string { return "ping" }

type pingWorker struct {
	river.WorkerDefaults[ping]
	worked chan time.Time
}

func (w *pingWorker) Work(context.Context, *river.Job[ping]) error {
	w.worked <- time.Now()
	return nil
}

// measurement is what a bare River client made of a pool.
type measurement struct {
	err    error
	waits  []time.Duration // from a job's insertion until it was worked
	leader bool
}

// riverPoll is long, so that a job that was told of and one that was found can be told apart.
const (
	riverPoll     = 3 * time.Second
	riverCooldown = 10 * time.Millisecond
)

// measureRiver works jobs one at a time over an address.
func measureRiver(t *testing.T, address, direct string, pollOnly bool) measurement {
	t.Helper()
	ctx := t.Context()
	config, err := pgxpool.ParseConfig(address)
	require.NoError(t, err)
	config.MaxConns = 6
	pool, err := pgxpool.NewWithConfig(ctx, config)
	require.NoError(t, err)
	defer pool.Close()
	w := &pingWorker{worked: make(chan time.Time, 1)}
	workers := river.NewWorkers()
	river.AddWorker(workers, w)
	var problems problemLog
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 4}},
		PollOnly: pollOnly, FetchPollInterval: riverPoll, FetchCooldown: riverCooldown, Logger: slog.New(&problems),
	})
	require.NoError(t, err)
	if err := client.Start(ctx); err != nil {
		return measurement{err: err}
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = client.StopAndCancel(stop)
	}()
	var m measurement
	watch := dial(t, direct)
	(&system{t: t}).eventually("a leader", func(ctx context.Context) error {
		err := watch.QueryRow(ctx, `SELECT count(*) > 0 FROM river_leader`).Scan(&m.leader)
		if err == nil && !m.leader && problems.first() == nil {
			return errors.New("nobody leads")
		}
		return err
	})
	for n := range 4 {
		// River announces one job of a queue within a cooldown, and leaves those that follow to the same fetch:
		// a job that comes after the fetch and within the cooldown is found by polling, however it is connected.
		<-time.After(10 * riverCooldown)
		started := time.Now()
		if _, err := client.Insert(ctx, ping{n}, nil); err != nil {
			m.err = err
			break
		}
		select {
		case at := <-w.worked:
			m.waits = append(m.waits, at.Sub(started))
		case <-time.After(5 * riverPoll):
			m.err = errors.Join(errors.New("a job was not worked"), problems.first())
			return m
		}
	}
	if m.err == nil {
		m.err = problems.first()
	}
	return m
}

// problemLog keeps the first error that River logs.
type problemLog struct {
	slog.Handler
	mu  sync.Mutex
	err error
}

func (*problemLog) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (p *problemLog) Handle(_ context.Context, r slog.Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		text := r.Message
		r.Attrs(func(a slog.Attr) bool {
			text += " " + a.String()
			return true
		})
		p.err = errors.New(text)
	}
	return nil
}

func (p *problemLog) WithAttrs([]slog.Attr) slog.Handler { return p }
func (p *problemLog) WithGroup(string) slog.Handler      { return p }

func (p *problemLog) first() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// quick tells whether all jobs but the first were worked because River was told of them.
func (m measurement) quick() bool {
	for _, w := range m.waits[1:] {
		if w > riverPoll/2 {
			return false
		}
	}
	return true
}

// TestRiverBehindPgbouncer measures a bare River client, nothing of DawsOS, in the ways to reach
// PostgreSQL. docs/postgresql.md tells what it found.
func TestRiverBehindPgbouncer(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]struct {
		mode, options string
		pollOnly      bool
		works, quick  bool
	}{
		"direct":                      {"", "", false, true, true},
		"session":                     {"session", "", false, true, true},
		"transaction, told, unnamed":  {"transaction", "&default_query_exec_mode=exec", false, true, false},
		"transaction, polls, unnamed": {"transaction", "&default_query_exec_mode=exec", true, true, false},
		"transaction, as it comes":    {"transaction", "", false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct := dbtest.URL(t)
			address := direct
			if way.mode != "" {
				address = newBouncer(t, direct, way.mode, 20)
			}
			m := measureRiver(t, address+way.options, direct, way.pollOnly)
			t.Logf("worked after %v; %v", m.waits, m.err)
			if !way.works {
				// pgbouncer 1.21 and later can be told to follow prepared statements; none before.
				if m.err != nil {
					require.Regexp(t, "42P05|26000", m.err.Error())
				}
				return
			}
			require.NoError(t, m.err)
			require.True(t, m.leader)
			require.Len(t, m.waits, 4)
			require.Equal(t, way.quick, m.quick(), "%v", m.waits)
		})
	}
}
