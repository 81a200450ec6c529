// Package packs is the life of pricing packs: what states there are, and how a pack is reconciled with the
// ledgers before anybody is given figures over it.
//
// A pack is a cut (date, revision) through append-only rows, not a copy of them, so that making one is
// cheap. It goes
//
//	warming -> fresh      built, reconciled, prewarmed: the nightly order is done with it
//	warming -> error      its hash is wrong, or a ledger does not reconcile with it: Reason says so
//	error   -> warming    somebody asked for another try (POST /v1/pricing-packs)
//	any     -> stale      a newer revision has rows on or before its date, and a pack of its own
//
// None of it depends on today's date: a fresh pack of 2007 stays fresh until its data are corrected.
//
// Imports make the packs of the dates that they change, and mark the ones before stale, in their own
// transaction. What they leave out, dates with a close and without a pack, the job build_packs makes.
package packs

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
)

// State says how far a pricing pack has come. It never depends on today's date.
type State string

// The states of a pricing pack.
const (
	Warming State = "warming" // made, on its way through the nightly order
	Fresh   State = "fresh"   // ready
	Error   State = "error"   // did not reconcile with the ledgers
	Stale   State = "stale"   // a newer revision exists for its date
)

// States returns all of them.
func States() []State { return []State{Warming, Fresh, Error, Stale} }

// Pack is a pricing pack: rows of market data dated up to Date and of revisions up to Revision.
type Pack struct {
	ID        uuid.UUID
	TenantID  string
	Date      time.Time // UTC midnight
	Revision  int64
	Hash      string // names all that it reads: store.PackHash
	State     State
	Reason    string // why it is in error
	CreatedAt time.Time

	// When the nightly order was done with a part; nil before. The sample's packs have none of them.
	BuiltAt, ReconciledAt, PrewarmedAt, FreshAt *time.Time
}

// Cut returns what the pack reads.
func (p Pack) Cut() portfolio.Cut {
	return portfolio.Cut{TenantID: p.TenantID, Date: p.Date, Revision: p.Revision}
}

// Filter chooses among packs; zero fields choose all.
type Filter struct {
	State    State
	From, To time.Time // dates, both included
}

// Cursor is a place in the list of packs, newest first: behind the one with these values. The zero Cursor
// is the list's start.
type Cursor struct {
	Date     time.Time
	Revision int64
}

// NotFreshError refuses a run that wants fresh data: the pack that would serve it is not ready.
type NotFreshError struct {
	Pack Pack
	// EstimatedReady is when it will be fresh, judged by the last nightly orders; nil when that can't be
	// told: nothing is under way, or none has ended yet.
	EstimatedReady *time.Time
	RetryAfter     time.Duration // 0: waiting does not help
}

func (e *NotFreshError) Error() string { return e.Unwrap().Error() }

// Unwrap gives the error its code and its text for the caller.
func (e *NotFreshError) Unwrap() error {
	f := fault.New(fault.PackNotFresh, "pricing pack %s of %s is %s%s; send require_fresh: false to use it all the same",
		e.Pack.ID, e.Pack.Date.Format(time.DateOnly), e.Pack.State, e.because())
	f.RetryAfter = e.RetryAfter
	return f
}

func (e *NotFreshError) because() string {
	switch {
	case e.Pack.Reason != "":
		return fmt.Sprintf(" (%s)", e.Pack.Reason)
	case e.EstimatedReady != nil:
		return fmt.Sprintf(" and about ready at %s", e.EstimatedReady.UTC().Format(time.RFC3339))
	}
	return ""
}
