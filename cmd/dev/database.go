package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/devpg"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/internal/store/migrate"
)

const (
	databaseName = "dawsos"
	sampleDir    = "configs/sample"

	connectTimeout = 10 * time.Second

	// duplicateDatabase is PostgreSQL's code for a database that exists already.
	duplicateDatabase = "42P04"
)

// database is what the services use: the user's own, or a private server's.
type database struct {
	url     string
	private *devpg.Server // nil when DATABASE_URL was set
}

// checkDatabase reports a DATABASE_URL that can't be used, before anything takes time.
func (d *dev) checkDatabase(ctx context.Context) error {
	switch own := string(d.cfg.DatabaseURL); {
	case own == "":
		return nil
	case d.opts.reset:
		return errors.New("--reset wipes the private database only, but DATABASE_URL is set: unset it, or empty that database yourself")
	default:
		return tryConnect(ctx, own)
	}
}

// openDatabase returns the user's database, or starts or joins the private server.
func (d *dev) openDatabase(ctx context.Context) (*database, error) {
	if own := string(d.cfg.DatabaseURL); own != "" {
		d.out.say("using the database of DATABASE_URL, %s", redacted(own))
		return &database{url: own}, nil
	}

	dir := filepath.Join(d.state, "postgres")
	if d.opts.reset {
		if err := devpg.Remove(dir); err != nil {
			if errors.Is(err, devpg.ErrInUse) {
				return nil, errors.New("the private database is in use by another `go run ./cmd/dev`: stop that first, then --reset")
			}
			return nil, err
		}
		d.out.say("wiped the private database")
	}
	started := time.Now()
	server, err := devpg.Start(ctx, devpg.Options{
		Dir:      dir,
		Progress: func(step string) { d.out.say("%s", step) },
		Log:      d.out.stream("pg"),
	})
	if mismatch, ok := errors.AsType[*devpg.VersionError](err); ok {
		return nil, fmt.Errorf("%w: install PostgreSQL %d, or wipe the data with `go run ./cmd/dev --reset`", mismatch, mismatch.Data)
	}
	if err != nil {
		return nil, err
	}
	if server.Joined() {
		d.out.say("joined the private PostgreSQL that another process runs")
	} else {
		d.out.say("PostgreSQL is up after %.1f s", time.Since(started).Seconds())
	}
	db := &database{url: server.URL(databaseName), private: server}
	if err := createDatabase(ctx, server.URL("postgres")); err != nil {
		return db, err // to be stopped all the same
	}
	return db, nil
}

// tryConnect reports in one line, without the password, why a database can't be used.
func tryConnect(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return fmt.Errorf("DATABASE_URL, %s, can't be used: %s", redacted(address), oneLine(err, address))
	}
	return conn.Close(ctx)
}

// oneLine returns an error's text on one line and without the password of the address. pgx reports
// each way that it tried, with TLS and without, on a line of its own, which mostly say the same.
func oneLine(err error, address string) string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimSpace(line)
		if !slices.ContainsFunc(lines, func(said string) bool { return strings.HasSuffix(said, line) }) {
			lines = append(lines, line)
		}
	}
	text := strings.Join(lines, " ")
	if u, parseErr := url.Parse(address); parseErr == nil && u.User != nil {
		if password, ok := u.User.Password(); ok && password != "" {
			text = strings.ReplaceAll(text, password, "[redacted]")
		}
	}
	return text
}

// createDatabase makes the services' database unless it is there.
func createDatabase(ctx context.Context, admin string) error {
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return fmt.Errorf("connect to the private PostgreSQL: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var there bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", databaseName).Scan(&there)
	if err != nil {
		return fmt.Errorf("look for the database %s: %w", databaseName, err)
	}
	if there {
		return nil
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+databaseName)
	// Another process that joined this server may have been faster.
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == duplicateDatabase {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create the database %s: %w", databaseName, err)
	}
	return nil
}

// prepare migrates the database and loads the sample data.
func (d *dev) prepare(ctx context.Context, db *database) error {
	report, err := migrate.Up(ctx, db.url)
	if err != nil {
		return err
	}
	d.out.say("schema is at version %d, River's at %d (%d migrations applied)", report.Schema, report.River, len(report.Applied))

	if d.opts.runs() {
		if err := d.keepKeys(ctx, db.url); err != nil {
			return err
		}
	}

	switch {
	case d.opts.command == "migrate", d.opts.noSample && d.opts.command != "seed":
		return nil
	case db.private == nil && d.cfg.Environment == config.Production:
		d.out.say("no sample data: ENVIRONMENT is production")
		return nil
	}
	pool, err := pgxpool.New(ctx, db.url)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer pool.Close()
	summary, err := sample.Load(ctx, pool, sampleDir, func(step string) { d.out.say("sample data: %s", step) })
	if err != nil {
		return err
	}
	if summary.Loaded || d.opts.command == "seed" {
		d.out.say("%s", summary)
	}
	return nil
}
