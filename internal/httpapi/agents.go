package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"github.com/dawsos/dawsos/pkg/agent"
	"github.com/dawsos/dawsos/pkg/api"
)

// AgentState is an agent as it is at the moment.
type AgentState struct {
	Name         string
	Remote       bool
	URL          string // of a remote agent
	Available    bool
	Unavailable  string // why it is not, in words fit for callers
	Breaker      AgentBreaker
	Policies     AgentPolicies
	Calls        AgentCalls
	LastError    *AgentError        // nil when no call has failed
	Capabilities []agent.Capability // in order of name
}

// AgentBreaker is a circuit breaker and what makes it change.
type AgentBreaker struct {
	State       string // CLOSED, OPEN or HALF_OPEN
	Since       time.Time
	RetryAfter  time.Duration // of an open one: when it lets a trial call through
	Failures    int           // in a row that open it; 0 when it goes by rate
	FailureRate float64       // 0 when it goes by failures in a row; so are MinCalls and Window
	MinCalls    int
	Window      time.Duration
	Delay       time.Duration // how long it stays open
	Successes   int           // trial calls that close it
}

// AgentPolicies are what guards an agent's calls besides its breaker; nil stands for what does not.
type AgentPolicies struct {
	Timeout   time.Duration // of one attempt
	Retry     *AgentRetry
	RateLimit *AgentRateLimit
	Bulkhead  *AgentBulkhead
}

// AgentRetry is how often a call is attempted, and with which waits.
type AgentRetry struct {
	Attempts        int // in total
	Delay, MaxDelay time.Duration
}

// AgentRateLimit is how many calls there may be in a time, and how long one waits for its turn.
type AgentRateLimit struct {
	Calls     int
	Per, Wait time.Duration
}

// AgentBulkhead is how many calls there may be at the same time, and how long one waits for its turn.
type AgentBulkhead struct {
	Calls int
	Wait  time.Duration
}

// AgentCalls are counts since the process started.
type AgentCalls struct {
	Succeeded, Failed, Refused, Retried, InFlight int64
}

// AgentError is a call that failed.
type AgentError struct {
	At                       time.Time
	Capability, Code, Detail string // Detail is fit for callers
}

func (h *handlers) ListAgents(_ context.Context, r api.ListAgentsRequestObject) (api.ListAgentsResponseObject, error) {
	var after string
	if err := decodeCursor(r.Params.Cursor, &after); err != nil {
		return nil, err
	}
	limit := limitOf(r.Params.Limit)
	page := api.ListAgents200JSONResponse{Items: []api.Agent{}}
	for _, s := range h.Agents.States() {
		if s.Name <= after {
			continue
		}
		if len(page.Items) == limit {
			page.NextCursor = encodeCursor(page.Items[limit-1].Name)
			break
		}
		page.Items = append(page.Items, toAgent(s))
	}
	return page, nil
}

func toAgent(s AgentState) api.Agent {
	a := api.Agent{
		Name: s.Name, Remote: s.Remote, Url: shown(s.URL), Available: s.Available, UnavailableReason: orNull(s.Unavailable),
		Breaker: api.Breaker{
			State: api.BreakerState(s.Breaker.State), Since: s.Breaker.Since.UTC(),
			RetryAfterSeconds: orNull(s.Breaker.RetryAfter.Seconds()), Failures: orNull(s.Breaker.Failures),
			FailureRate: orNull(s.Breaker.FailureRate), MinCalls: orNull(s.Breaker.MinCalls),
			WindowSeconds: orNull(s.Breaker.Window.Seconds()), DelaySeconds: s.Breaker.Delay.Seconds(),
			Successes: s.Breaker.Successes,
		},
		Policies: api.AgentPolicies{TimeoutSeconds: s.Policies.Timeout.Seconds()},
		Calls: api.AgentCalls{
			Succeeded: s.Calls.Succeeded, Failed: s.Calls.Failed, Refused: s.Calls.Refused,
			Retried: s.Calls.Retried, InFlight: s.Calls.InFlight,
		},
		Capabilities: make([]api.Capability, len(s.Capabilities)),
	}
	if p := s.Policies.Retry; p != nil {
		a.Policies.Retry = &api.RetryPolicy{
			Attempts: p.Attempts, DelaySeconds: p.Delay.Seconds(), MaxDelaySeconds: p.MaxDelay.Seconds(),
		}
	}
	if p := s.Policies.RateLimit; p != nil {
		a.Policies.RateLimit = &api.RateLimit{Calls: p.Calls, PerSeconds: p.Per.Seconds(), WaitSeconds: p.Wait.Seconds()}
	}
	if p := s.Policies.Bulkhead; p != nil {
		a.Policies.Bulkhead = &api.Bulkhead{Calls: p.Calls, WaitSeconds: p.Wait.Seconds()}
	}
	if e := s.LastError; e != nil {
		a.LastError = &api.AgentError{At: e.At.UTC(), Capability: e.Capability, Code: e.Code, Detail: e.Detail}
	}
	for i, c := range s.Capabilities {
		a.Capabilities[i] = api.Capability{
			Name: c.Name, Description: c.Description, Args: schemaOrNull(c.Args), Result: schemaOrNull(c.Result),
			Purity: api.CapabilityPurity(cmp.Or(c.Purity, agent.Reading)), Repeatable: c.Repeatable(),
			TimeoutSeconds: cmp.Or(c.Timeout, s.Policies.Timeout).Seconds(),
			Cost:           api.CapabilityCost(cmp.Or(c.Cost, agent.Low)), Delegates: c.Delegates,
		}
	}
	return a
}

func schemaOrNull(schema json.RawMessage) *json.RawMessage {
	if len(schema) == 0 {
		return nil
	}
	return &schema
}
