// Package runs keeps the history of pattern runs: a [Recorder] takes them off the engine's hands and
// writes them in batches, a [Replayer] runs one again in the circumstances that it had then.
package runs

import (
	"time"

	"github.com/dawsos/dawsos/internal/patterns"
)

// Outcome is how a run ended.
type Outcome string

// The ways in which a run ends.
const (
	Success Outcome = "success"
	Error   Outcome = "error"
)

// OutcomeOf returns how a run ended.
func OutcomeOf(r patterns.Run) Outcome {
	if r.ErrorCode != "" {
		return Error
	}
	return Success
}

// Filter selects runs of a list. Its zero value selects all.
type Filter struct {
	PatternID   string    // "" for every pattern
	PortfolioID string    // UUID; "" for every run, those about no portfolio included
	Outcome     Outcome   // "" for both
	Since       time.Time // started at or after it; the zero time for no bound
	Until       time.Time // started before it; the zero time for no bound
}

// Cursor is a place in the list of runs, which stands newest first: behind the run with these
// values. The zero value is the list's start.
type Cursor struct {
	StartedAt time.Time
	ID        string // UUID
}
