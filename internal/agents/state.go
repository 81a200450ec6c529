package agents

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

// State is an agent as it is at one moment, for people who look at it. Its figures are read one
// after the other while calls go on, so that they may differ by those.
type State struct {
	Name   string
	Remote bool
	URL    string // of a remote agent; without user information
	// Version and Description are what a remote agent says of itself; "" of others.
	Version, Description string
	// Available is always true of an agent in this process. A remote one is once it has said what it
	// can do, until it can no longer be reached; it is called either way.
	Available bool
	// Unavailable says why Available is false, fit for callers; "" when it is true.
	Unavailable  string
	Breaker      BreakerState
	Policies     Policies
	Calls        Calls
	LastError    *LastError         // nil when there was none
	LastErrors   []LastError        // the newest ones since the process started, newest first; at most 20
	Capabilities []agent.Capability // by name
}

// BreakerState is a circuit breaker at one moment.
type BreakerState struct {
	// State is CLOSED, OPEN or HALF_OPEN. It is OPEN while calls are refused and no longer: from then on the
	// next call is a trial.
	State string
	Since time.Time
	// RetryAfter is how long calls are still refused; 0 unless State is OPEN.
	RetryAfter time.Duration
	Thresholds BreakerConfig // what it opens and closes at
}

// Policies are an agent's settings with the defaults filled in.
type Policies struct {
	Timeout   time.Duration // of capabilities that declare none
	Retry     RetryConfig
	RateLimit *RateLimitConfig // nil means no limit
	Bulkhead  *BulkheadConfig  // nil means no limit
}

// Calls counts an agent's calls since the process started. Each that has ended is in one of
// Succeeded, Failed and Refused.
type Calls struct {
	Succeeded int64
	Failed    int64 // callers' mistakes and cancellations included
	Refused   int64 // by the breaker, the rate limit or the bulkhead
	Retried   int64 // attempts after the first
	InFlight  int64
}

// LastError is the end of a call that failed for reasons of the agent's, callers' mistakes and
// refusals aside.
type LastError struct {
	TenantID   string // that the call was for; "" when it was for none
	At         time.Time
	Capability string
	Code       fault.Code
	Detail     string // fit for callers of that tenant
	RequestID  string // of the request that asked; "" when it has none
	TraceID    string // "" when the call was not traced
}

// notTheirs stands where the detail of another tenant's error would.
const notTheirs = "a call of another tenant; who runs the system may see more"

// For returns the state as a tenant may see it. Agents serve all tenants, and an error tells what one of them
// had asked: others see no more of it than that the agent failed, when, at what, and with which code.
func (s State) For(tenantID string) State {
	s.LastErrors = slices.Clone(s.LastErrors)
	for i, e := range s.LastErrors {
		if e.TenantID != tenantID {
			s.LastErrors[i] = LastError{At: e.At, Capability: e.Capability, Code: e.Code, Detail: notTheirs}
		}
	}
	if len(s.LastErrors) > 0 {
		s.LastError = &s.LastErrors[0]
	}
	return s
}

// keptErrors is how many errors of an agent are remembered.
const keptErrors = 20

// recentErrors holds the newest errors, oldest first.
type recentErrors struct {
	mu   sync.Mutex
	kept []LastError
}

func (r *recentErrors) add(e LastError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.kept) == keptErrors {
		r.kept = slices.Delete(r.kept, 0, 1)
	}
	r.kept = append(r.kept, e)
}

func (r *recentErrors) newestFirst() []LastError {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.Clone(r.kept)
	slices.Reverse(list)
	return list
}

// States returns all agents, by name.
func (r *Runtime) States() []State {
	d := r.directory.Load()
	states := make([]State, 0, len(d.guards))
	for _, name := range slices.Sorted(maps.Keys(d.guards)) {
		states = append(states, d.guards[name].state(d))
	}
	return states
}

func (g *guard) state(d *directory) State {
	s := State{
		Name:      g.name,
		Remote:    g.remote.Load(),
		Available: true,
		Breaker:   BreakerState{Thresholds: g.cfg.Breaker},
		Policies:  Policies{Timeout: g.cfg.Timeout, Retry: g.cfg.Retry, RateLimit: g.cfg.RateLimit, Bulkhead: g.cfg.Bulkhead},
		Calls: Calls{
			Succeeded: g.succeeded.Load(), Failed: g.failed.Load(), Refused: g.refused.Load(),
			Retried: g.retried.Load(), InFlight: g.inFlight.Load(),
		},
		LastErrors:   g.errors.newestFirst(),
		Capabilities: []agent.Capability{},
	}
	if len(s.LastErrors) > 0 {
		s.LastError = &s.LastErrors[0]
	}
	if said := g.about.Load(); said != nil {
		s.Version, s.Description = said.version, said.description
	}
	if g.cfg.Remote != nil {
		s.URL = g.cfg.Remote.URL
	}
	if why := g.unavailable.Load(); why != nil {
		s.Available, s.Unavailable = false, *why
	}
	s.Breaker.State, s.Breaker.Since, s.Breaker.RetryAfter = g.breaker.state()
	for _, c := range d.capabilities {
		if c.guard == g {
			s.Capabilities = append(s.Capabilities, c.Capability)
		}
	}
	slices.SortFunc(s.Capabilities, func(a, b agent.Capability) int { return cmp.Compare(a.Name, b.Name) })
	return s
}
