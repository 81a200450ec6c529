package delivery

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Acceptance asks for an event to be taken on.
type Acceptance struct {
	Event Event // with id and time set
	// Keys are the deduplication keys of Event.Targets, in their order: SHA-256 over what must not be
	// delivered twice to the same target until KeepUntil. nil means that nothing is a duplicate.
	Keys      [][]byte
	KeepUntil time.Time
	// Later leaves the first attempts to the worker: a job for each target commits with the event.
	Later bool
}

// delivery returns the first attempt on the i-th target.
func (a Acceptance) delivery(i int) Delivery {
	d := Delivery{Event: a.Event, Target: a.Event.Targets[i], Attempt: 1}
	if a.Keys != nil && a.Event.Dedup.Occasion == "" { // the key is the content's hash
		d.hash = hex.EncodeToString(a.Keys[i])
	}
	return d
}

// Accepted is what became of an acceptance, target by target in the event's order.
type Accepted struct {
	// Duplicates holds for each target the event that has its key, zero for those taken on.
	Duplicates []uuid.UUID
}

// Duplicate reports whether every target has had the same before: nobody hears of the event.
func (a Accepted) Duplicate() bool { return !slices.Contains(a.Duplicates, uuid.Nil) }

// Idempotency ties acceptances to a caller's Idempotency-Key.
type Idempotency struct {
	TenantID  string
	Key       string
	Request   []byte // SHA-256 of what was asked
	ExpiresAt time.Time
}

// Earlier is what a request with the same Idempotency-Key came to before.
type Earlier struct {
	EventIDs []uuid.UUID
	Answer   json.RawMessage // nil while the first request has not been answered
}

// Journal is where a Service writes down what it has taken on.
type Journal interface {
	// Accept makes events and their targets durable, all or none. Once it returns without an error
	// none of them can be lost: each is delivered, a duplicate, or stands in the dead letter queue.
	// With an idempotency whose key was used before, nothing is accepted: it returns what came of
	// it then, or fault.Invalid when the request was another.
	Accept(ctx context.Context, as []Acceptance, idem *Idempotency) ([]Accepted, *Earlier, error)
	// Earlier returns what came of the request that has used the key, nil when none has. It is
	// fault.Invalid when that request was another.
	Earlier(ctx context.Context, idem Idempotency) (*Earlier, error)
	// RecordAnswer keeps the first answer to an idempotent request.
	RecordAnswer(ctx context.Context, idem Idempotency, answer json.RawMessage) error
	// RecordFirst moves an event and target from in flight to where v says, dead letter and job
	// in one transaction, and returns the dead letter's id (zero when delivered).
	RecordFirst(ctx context.Context, v Verdict) (uuid.UUID, error)
}

// Destinations knows the stored destinations.
type Destinations interface {
	// Destination returns one by name, or fault.NotFound.
	Destination(ctx context.Context, tenantID, name string) (Destination, error)
}

// Gate keeps the state of endpoints: their breakers, rates and concurrency.
type Gate interface {
	// Enter asks to make an attempt at an endpoint of a tenant, waiting up to patience for its rate and concurrency.
	// It returns a pass, whose Leave must be called with the attempt's outcome, or why not now.
	Enter(ctx context.Context, tenantID string, e Endpoint, patience time.Duration) (Pass, *Hold)
}

// Pass is the right to make one attempt.
type Pass interface {
	// Leave tells how the attempt went. It reports whether the endpoint has just recovered: its
	// breaker was open, and this was the probe that succeeded.
	Leave(o Outcome) (recovered bool)
}

// Recoveries is told of endpoints that work again.
type Recoveries interface {
	// EndpointRecovered starts a drain of the endpoint's pending letters, unless one is under way.
	EndpointRecovered(ctx context.Context, tenantID, endpoint string) error
}
