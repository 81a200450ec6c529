// Package store keeps the domain's state in PostgreSQL. It is the only package that speaks SQL:
// what it returns are domain values, what it refuses are [fault.Error]s.
//
// Every method takes the tenant whose rows it may see. A row of another tenant does not exist for
// it, so that ids from outside need no further check. The database sees to it once more, by who calls in the
// context (package roles): a method that forgets its tenant shows nothing of others.
package store

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/store/db"
)

// DefaultTenant is the tenant that the first migration creates: the one of who operates the system, see
// [auth.OperatingTenant]. The sample is its.
const DefaultTenant = "default"

// DB is what a store works on: a *pgxpool.Pool, or a pgx.Tx when its writes are part of a larger
// transaction.
type DB interface {
	db.DBTX
	Begin(ctx context.Context) (pgx.Tx, error)
}

// Options configure a Store.
type Options struct {
	Now   func() time.Time // clock for created_at; nil: time.Now
	NewID func() uuid.UUID // ids of new rows; nil: random UUIDs of version 7
}

// Store reads and writes one database. It is safe for concurrent use when its DB is.
type Store struct {
	db    DB
	q     *db.Queries
	now   func() time.Time
	newID func() uuid.UUID
}

// New returns a store on d.
func New(d DB, opts Options) *Store {
	s := &Store{db: d, q: db.New(d), now: opts.Now, newID: opts.NewID}
	if s.now == nil {
		s.now = time.Now
	}
	if s.newID == nil {
		s.newID = func() uuid.UUID { return uuid.Must(uuid.NewV7()) }
	}
	return s
}

// orNotFound turns a missing row into [fault.NotFound] saying what was looked for, and leaves
// every other error alone.
func orNotFound(err error, format string, args ...any) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return fault.Wrap(err, fault.NotFound, format, args...)
	}
	return err
}

// orForbidden turns a row that would belong to somebody whose rows the caller may not see into
// [fault.Forbidden]. A right that our role lacks is a defect, and stays one.
func orForbidden(err error) error {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if ok && pg.Code == insufficientPrivilege && strings.Contains(pg.Message, "row-level security") {
		return fault.Wrap(err, fault.Forbidden, "this would belong to somebody else")
	}
	return err
}

// insufficientPrivilege is PostgreSQL's code for what row level security refuses, and for rights that are
// missing.
const insufficientPrivilege = "42501"

// storable reports whether PostgreSQL has a form for a text: it takes neither zero bytes nor what is
// not UTF-8.
func storable(s string) bool { return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) }

// asStorable returns the text with U+FFFD for what PostgreSQL has no form for.
func asStorable(s string) string {
	if storable(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// in returns s working inside a transaction.
func (s *Store) in(tx pgx.Tx) *Store {
	return &Store{db: tx, q: s.q.WithTx(tx), now: s.now, newID: s.newID}
}
