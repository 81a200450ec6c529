// Package migrate brings a database to the schema that this binary needs, and tells whether it is
// there. The schema has two halves with versions of their own: ours (goose, package sqlfiles) and
// that of River, the job queue.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	sqlfiles "github.com/dawsos/dawsos/sql"
)

const (
	// lockKey is the session-level advisory lock that every migrating process takes ("dawsos" in
	// ASCII). Advisory locks belong to one database, so the key need not differ between databases.
	lockKey int64 = 0x646177736f73

	lockPoll = 50 * time.Millisecond

	// undefinedTable is PostgreSQL's code for a table that does not exist.
	undefinedTable = "42P01"
)

// Step is one applied migration.
type Step struct {
	Part    string // "schema" or "river"
	Version int64
	Name    string
}

func (s Step) String() string { return fmt.Sprintf("%s %d (%s)", s.Part, s.Version, s.Name) }

// Report says what Up found and did.
type Report struct {
	Applied []Step // in the order applied; empty when the database was current
	Schema  int64  // version that our schema stands at now
	River   int64  // version that River's schema stands at now
}

// BehindError says that a database lacks migrations which this binary needs.
type BehindError struct {
	Schema, SchemaNeeded int64
	River, RiverNeeded   int64
}

func (e *BehindError) Error() string {
	var parts []string
	if e.Schema < e.SchemaNeeded {
		parts = append(parts, fmt.Sprintf("schema is at %d, this binary needs %d", e.Schema, e.SchemaNeeded))
	}
	if e.River < e.RiverNeeded {
		parts = append(parts, fmt.Sprintf("River's schema is at %d, this binary needs %d", e.River, e.RiverNeeded))
	}
	return strings.Join(parts, "; ") + ": run `api migrate`"
}

// Up applies what the database lacks and returns what that was. Processes that migrate the same
// database at once take turns; the later ones find nothing left to do. When a migration fails, those
// before it stay applied and are in the report.
//
// It takes an address rather than a pool because it needs connections of its own: one holds the lock
// while others migrate, which would starve in a pool of one.
func Up(ctx context.Context, databaseURL string) (Report, error) {
	var report Report
	err := locked(ctx, databaseURL, func(pool *pgxpool.Pool) (err error) {
		report, err = up(ctx, pool)
		return err
	})
	return report, err
}

// Check returns a *BehindError when migrations are missing, and nil when the schema is current. A
// schema newer than this binary passes too: in a rolling upgrade the old binaries keep serving while
// the first new one has already migrated, so a migration may only take away what the release before
// it no longer uses. It costs two reads of tables with a few rows each.
func Check(ctx context.Context, pool *pgxpool.Pool) error {
	needed, err := latest()
	if err != nil {
		return err
	}
	schema, river, err := versions(ctx, pool)
	if err != nil {
		return err
	}
	if schema < needed.schema || river < needed.river {
		return &BehindError{
			Schema: schema, SchemaNeeded: needed.schema,
			River: river, RiverNeeded: needed.river,
		}
	}
	return nil
}

// up migrates our schema, then River's. The caller holds the lock.
func up(ctx context.Context, pool *pgxpool.Pool) (Report, error) {
	var report Report
	ours, err := newProvider(pool)
	if err != nil {
		return report, err
	}
	results, err := ours.Up(ctx)
	if partial, ok := errors.AsType[*goose.PartialError](err); ok {
		results = partial.Applied
	}
	for _, r := range results {
		report.Applied = append(report.Applied, Step{Part: "schema", Version: r.Source.Version, Name: r.Source.Path})
	}
	if err = errors.Join(err, ours.Close()); err != nil {
		return report, fmt.Errorf("migrate the schema: %w%s", err, statementOf(err))
	}

	river, err := newRiver(pool)
	if err != nil {
		return report, fmt.Errorf("prepare River's migrations: %w", err)
	}
	result, err := river.Migrate(ctx, rivermigrate.DirectionUp, nil)
	if result != nil {
		for _, v := range result.Versions {
			report.Applied = append(report.Applied, Step{Part: "river", Version: int64(v.Version), Name: v.Name})
		}
	}
	if err != nil {
		return report, fmt.Errorf("migrate River's schema: %w", err)
	}
	// The roles of the processes reach what is new of either, and policies say whose its rows are.
	if _, err := pool.Exec(ctx, "CALL grant_dawsos_roles()"); err != nil {
		return report, fmt.Errorf("grant the processes' roles their rights: %w%s", err, statementOf(err))
	}
	report.Schema, report.River, err = versions(ctx, pool)
	return report, err
}

// statementOf names the statement within a procedure that an error comes from, which its text does not: a lock
// that was not had in time is a table's.
func statementOf(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Where != "" {
		statement, _, _ := strings.Cut(pg.Where, "\n")
		return ", at " + statement
	}
	return ""
}

// locked runs work on a pool of its own while holding the advisory lock.
func locked(ctx context.Context, databaseURL string, work func(*pgxpool.Pool) error) error {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return fmt.Errorf("read the database address: %w", err)
	}
	config.MinConns, config.MaxConns = 0, 4
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer pool.Close()

	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return fmt.Errorf("connect to migrate: %w", err)
	}
	defer func() {
		// Ending the session gives the lock back, whatever state the connection is in; the caller's
		// context may be over by now.
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if err := lock(ctx, conn); err != nil {
		return err
	}
	return work(pool)
}

// lock waits for the advisory lock. It asks again and again instead of letting the server queue it:
// a session queued in pg_advisory_lock holds a snapshot, for which CREATE INDEX CONCURRENTLY in the
// session at work would wait for ever.
func lock(ctx context.Context, conn *pgx.Conn) error {
	ticker := time.NewTicker(lockPoll)
	defer ticker.Stop()
	for {
		var got bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", lockKey).Scan(&got); err != nil {
			return fmt.Errorf("take the migration lock: %w", err)
		}
		if got {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for another process to finish migrating: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}

// newProvider returns goose's view of the pool. Closing it leaves the pool open.
func newProvider(pool *pgxpool.Pool) (*goose.Provider, error) {
	files, err := fs.Sub(sqlfiles.Migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("open the embedded migrations: %w", err)
	}
	db := stdlib.OpenDBFromPool(pool)
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the embedded migrations: %w", err), db.Close())
	}
	return p, nil
}

// newRiver returns River's migrator; without a pool it only lists what it carries.
func newRiver(pool *pgxpool.Pool) (*rivermigrate.Migrator[pgx.Tx], error) {
	// Silent: what it did is in the report, what went wrong in the error.
	return rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
}

// versions reads what the database stands at; 0 where nothing has been migrated yet.
func versions(ctx context.Context, pool *pgxpool.Pool) (schema, river int64, err error) {
	schema, err = version(ctx, pool, "SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied")
	if err != nil {
		return 0, 0, fmt.Errorf("read the schema's version: %w", err)
	}
	river, err = version(ctx, pool, "SELECT coalesce(max(version), 0) FROM river_migration WHERE line = 'main'")
	if err != nil {
		return 0, 0, fmt.Errorf("read the version of River's schema: %w", err)
	}
	return schema, river, nil
}

func version(ctx context.Context, pool *pgxpool.Pool, query string) (int64, error) {
	var v int64
	err := pool.QueryRow(ctx, query).Scan(&v)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == undefinedTable {
		return 0, nil
	}
	return v, err
}

type versionPair struct{ schema, river int64 }

// latest returns the newest versions that this binary carries.
var latest = sync.OnceValues(func() (versionPair, error) {
	var newest versionPair
	files, err := fs.Glob(sqlfiles.Migrations, "migrations/*.sql")
	if err != nil {
		return newest, fmt.Errorf("list the embedded migrations: %w", err)
	}
	for _, file := range files {
		v, err := goose.NumericComponent(file)
		if err != nil {
			return newest, fmt.Errorf("read the version in the name of %s: %w", file, err)
		}
		newest.schema = max(newest.schema, v)
	}
	river, err := newRiver(nil)
	if err != nil {
		return newest, fmt.Errorf("read River's migrations: %w", err)
	}
	for _, m := range river.AllVersions() {
		newest.river = max(newest.river, int64(m.Version))
	}
	return newest, nil
})
