package delivery

import (
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// By says who acts on dead letters, and why.
type By struct {
	Actor  string // such as "api" or "cli"
	Reason string // in the words of who does it; "" where none is given
}

// OperationKind is what an operation does to its letters.
type OperationKind string

// The kinds.
const (
	// Replay sends letters again from the start of their schedule.
	Replay OperationKind = "replay"
	// Discard closes letters unsent.
	Discard OperationKind = "discard"
	// Drain retries what waits for an endpoint that has recovered, ahead of its schedule. It uses up
	// a retry as any other does.
	Drain OperationKind = "drain"
)

// OperationState is how an operation stands.
type OperationState string

// The states.
const (
	OperationRunning   OperationState = "running"
	OperationDone      OperationState = "done"      // no letter is left, and every released one was attempted
	OperationStopped   OperationState = "stopped"   // too many failed, or nothing moved any more: see StopReason
	OperationCancelled OperationState = "cancelled" // by somebody
)

// Operation works on many dead letters at a pace. Letters that it has released stay on their
// schedule, however it ends.
type Operation struct {
	ID                uuid.UUID // version 7: ordered by start
	TenantID          string
	Kind              OperationKind
	Filter            LetterFilter // none for Drain
	Endpoint          string       // for Drain
	By                By
	PerSecond         int // letters a second; a drain starts below it
	StopAfterFailures int // letters that fail until it stops; 0 means that it goes on
	State             OperationState
	StopReason        string // for OperationStopped and OperationCancelled
	Total             int    // letters that matched at its start; MaxCounted+1 stands for more
	Released          int    // letters that it has made due, or discarded
	Delivered         int    // of those, delivered, under this operation or since
	Failed            int    // of those, failed and not delivered since
	Waiting           int    // of those, without an outcome yet
	Closed            int    // of those, discarded, expired or superseded before they had one
	StartedAt         time.Time
	EndedAt           *time.Time // nil while it runs
}

// Remaining is how many letters of Total have not been released.
func (o Operation) Remaining() int { return max(0, o.Total-o.Released) }

// Elsewhere is how many released letters the other figures don't tell of: another operation took them
// over before they had an outcome, or their events are past their retention.
func (o Operation) Elsewhere() int {
	return max(0, o.Released-o.Delivered-o.Failed-o.Waiting-o.Closed)
}

// MaxCounted is where the counting of letters ends.
const MaxCounted = 100_000

// Preview is what an operation would work on.
type Preview struct {
	Total  int         // MaxCounted+1 stands for more
	Sample []uuid.UUID // the oldest of the letters
}

// The defaults and bounds of operations that somebody asks for.
const (
	DefaultPerSecond         = 50
	MaxPerSecond             = 1000
	DefaultStopAfterFailures = 20
)

// A drain's pace and patience.
const (
	drainStart    = 5   // letters in the first second
	drainMost     = 200 // letters a second in the end
	DrainFailures = 5   // letters that fail until a drain stops
	DrainMost     = drainMost
)

// Pace returns how many letters an operation may release in a slice of a second: slices have gone
// before, and waiting of the released letters have not been attempted. As long as an answer is
// outstanding for more than two slices' worth, nothing is added: a receiver that fails is to be
// noticed before all of the queue has been thrown at it.
func (o Operation) Pace(slices, waiting int) int {
	rate := o.PerSecond
	if o.Kind == Drain && slices < 6 { // 5, 10, 20, 40, 80, 160, then all
		rate = min(rate, drainStart<<slices)
	}
	return max(0, min(rate, 2*rate-waiting))
}

// Stats tells what is in the queue.
type Stats struct {
	Balances     []LetterBalance // by channel and state: what is open now, and all that was ever closed
	Channels     []LetterGroup   // open letters by channel
	Causes       []LetterGroup   // open letters by cause of the latest failure
	Destinations []TargetGroup   // open letters by target
	Complete     bool            // false: only the oldest MaxCounted open letters were looked at
}

// LetterBalance is how many letters of a channel are in a state.
type LetterBalance struct {
	Channel string
	State   State
	Letters int64
}

// LetterGroup counts open letters that have something in common.
type LetterGroup struct {
	Name    string
	Letters int
	Oldest  time.Time // when the oldest of them first failed
}

// LetterCount is how many letters are in a state for a cause.
type LetterCount struct {
	State   State
	Cause   Cause
	Letters int
	Oldest  time.Time // when the oldest of them first failed
}

// TargetGroup counts open letters that are bound for one target.
type TargetGroup struct {
	Target  string // Target.Key
	Channel string
	Cause   Cause // that most of them have
	Letters int
	Oldest  time.Time
}

// ReleaseScope is how many letters somebody acted on. It is the value of a label.
type ReleaseScope string

// The scopes.
const (
	ReleasedSingly      ReleaseScope = "single"    // one letter, at once
	ReleasedByOperation ReleaseScope = "operation" // many, at a pace
)

// Releases counts the letters that were made due or discarded.
type Releases struct {
	scope    ReleaseScope
	released *prometheus.CounterVec // kind, scope
}

// NewReleases registers the count of what a process releases in a scope. The series of kinds exist from
// the start.
func NewReleases(reg prometheus.Registerer, scope ReleaseScope, kinds ...OperationKind) *Releases {
	r := &Releases{scope: scope, released: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "dawsos_dead_letters_released_total",
		Help: "Dead letters that were made due or discarded, by kind (replay, discard, drain) and by whether each was acted on singly or an operation took it on.",
	}, []string{"kind", "scope"})}
	for _, k := range kinds {
		r.Add(k, 0)
	}
	return r
}

// Add counts n letters.
func (r *Releases) Add(kind OperationKind, n int) {
	r.released.WithLabelValues(string(kind), string(r.scope)).Add(float64(n))
}
