// Package breakers keeps the history of circuit breakers: those of agents, in API processes, and those of
// delivery endpoints, in all of them. A breaker lives in the memory of one process, so that there can be
// several of one name, each with a state of its own.
package breakers

import (
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Kind says what a breaker guards.
type Kind string

// The kinds.
const (
	Agent    Kind = "agent"
	Endpoint Kind = "endpoint" // where deliveries go: "destination:NAME", "webhook:" and a hash, or a channel
)

// State of a breaker.
type State string

// The states.
const (
	Closed   State = "CLOSED"
	Open     State = "OPEN"
	HalfOpen State = "HALF_OPEN"
	Gone     State = "GONE" // no breaker any more: its process has ended or has forgotten it
)

// Process is where breakers live.
type Process struct {
	Role string // api or worker
	Host string
	PID  int
}

// String names the process for people.
func (p Process) String() string { return fmt.Sprintf("%s on %s, process %d", p.Role, p.Host, p.PID) }

// Change is a breaker that went from one state to another.
type Change struct {
	ID       uuid.UUID // of version 7; ids of one process are in the order of its changes
	TenantID string    // whose endpoint it is; "" of agents, which serve everybody
	Process  Process
	Kind     Kind
	Name     string // the agent's name, or the endpoint's id
	From, To State
	At       time.Time
	Reason   string // fit for everybody, at most MaxReason characters
}

// MaxReason bounds a reason, in characters.
const MaxReason = 500

// Standing is the present state of a breaker in one process.
type Standing struct {
	TenantID string // as in Change
	Process  Process
	Kind     Kind
	Name     string
	State    State // never Gone
	Since    time.Time
}

// Filter chooses changes; what is zero chooses all.
type Filter struct {
	Kind Kind
	Name string // within a kind
	To   State
}
