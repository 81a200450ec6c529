package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/pkg/agent"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// The stand-ins of what is behind the HTTP layer and is built at the same time as it.

// parsing knows what pattern.Parse does, and that a pattern without a description has a flaw.
type parsing struct{}

func (parsing) Validate(data []byte) []patterns.Problem {
	def, err := pattern.Parse(data)
	if all, ok := errors.AsType[pattern.Errors](err); ok {
		problems := make([]patterns.Problem, len(all))
		for i, e := range all {
			problems[i] = patterns.Problem{Severity: patterns.Error, Line: e.Line, Column: e.Column, Pointer: e.Path, Msg: e.Msg}
		}
		return problems
	}
	if def.Description == "" {
		return []patterns.Problem{{
			Severity: patterns.Warning, Pattern: def.ID, Step: def.Steps[0].As, Msg: "nobody will know", Suggestion: "description",
		}}
	}
	return nil
}

// states are agents in every state there is.
type states struct{}

var at = time.Date(2026, 3, 2, 9, 30, 0, 0, time.FixedZone("CET", 3600))

func (states) States() []httpapi.AgentState {
	return []httpapi.AgentState{
		{
			Name: "analyst", Available: true,
			Breaker:  httpapi.AgentBreaker{State: "CLOSED", Since: at, Failures: 5, Delay: time.Minute, Successes: 1},
			Policies: httpapi.AgentPolicies{Timeout: 1500 * time.Millisecond},
			Calls:    httpapi.AgentCalls{Succeeded: 7},
			Capabilities: []agent.Capability{
				{Name: "a.plain"},
				{
					Name: "a.rich", Description: "All of it.", Args: []byte(`{"type": "object"}`), Result: []byte(`true`),
					Purity: agent.Effectful, Timeout: 250 * time.Millisecond, Cost: agent.High, Delegates: true,
				},
			},
		},
		{
			Name: "quotes", Remote: true, URL: "https://user:secret@quotes.test/agent?token=secret#secret",
			Unavailable: "its capabilities have not been listed yet",
			Breaker: httpapi.AgentBreaker{
				State: "OPEN", Since: at, RetryAfter: 2500 * time.Millisecond, FailureRate: 0.5, MinCalls: 10,
				Window: 30 * time.Second, Delay: 5 * time.Second, Successes: 2,
			},
			Policies: httpapi.AgentPolicies{
				Timeout: time.Second, Retry: &httpapi.AgentRetry{Attempts: 3, Delay: 100 * time.Millisecond, MaxDelay: time.Second},
				RateLimit: &httpapi.AgentRateLimit{Calls: 50, Per: time.Second},
				Bulkhead:  &httpapi.AgentBulkhead{Calls: 8, Wait: 20 * time.Millisecond},
			},
			Calls:     httpapi.AgentCalls{Succeeded: 1, Failed: 2, Refused: 3, Retried: 4, InFlight: 5},
			LastError: &httpapi.AgentError{At: at, Capability: "quotes.latest", Code: "timeout", Detail: "no answer in 1s"},
		},
		{Name: "research", Available: true, Breaker: httpapi.AgentBreaker{State: "HALF_OPEN", Since: at}},
	}
}

// recorded are runs that were made some time ago.
type recorded struct{ runs []patterns.Run }

// runID returns the id of the nth run.
func runID(n int) string { return fmt.Sprintf("01958a3c-7a1e-7bb0-9d3c-0000000000%02d", n) }

func newRecorded() *recorded {
	r := &recorded{}
	for n := range 5 {
		run := patterns.Run{
			ID: runID(n), RequestID: fmt.Sprint("request-", n), PatternID: "overview", DefinitionHash: strings.Repeat("d", 64),
			RequireFresh: true, StartedAt: at.Add(time.Duration(n) * time.Second), Duration: 1500 * time.Microsecond,
			Context: agent.Context{
				Asof:        time.Date(2007, 5, 8, 0, 0, 0, 0, time.UTC),
				PricingPack: agent.Pack{ID: "pack", Date: time.Date(2007, 5, 7, 0, 0, 0, 0, time.UTC), Revision: 3, Hash: "h"},
			},
			Trace: patterns.Trace{
				RequestID: fmt.Sprint("request-", n), PatternID: "overview", PricingPackID: "pack", Asof: "2007-05-08",
				Steps: []patterns.StepTrace{{As: "x", Capability: "a.b", Agent: "analyst", Status: patterns.StatusSuccess, StartedAt: at}},
			},
			Warnings: []string{"old data"}, DataHash: strings.Repeat("c", 64),
		}
		switch n {
		case 1:
			run.PatternID, run.UserID, run.Inputs = "other", "ada", map[string]any{"n": json.Number("1.10"), "s": "<b>"}
			run.Context.Portfolio = &agent.Portfolio{ID: "p", BaseCurrency: "CHF", LedgerVersion: "v", LedgerSeq: 7}
			run.Context.TraceID = strings.Repeat("e", 32)
		case 2:
			run.DataHash, run.ErrorCode, run.ErrorDetail = "", fault.InsufficientData, "no prices of XYZ"
		}
		r.runs = append(r.runs, run)
	}
	return r
}

func (r *recorded) Run(_ context.Context, _ string, id uuid.UUID) (patterns.Run, error) {
	for _, run := range r.runs {
		if run.ID == id.String() {
			return run, nil
		}
	}
	return patterns.Run{}, fault.New(fault.NotFound, "there is no run %s", id)
}

func (r *recorded) Runs(_ context.Context, _ string, f httpapi.RunFilter, before uuid.UUID, limit int) ([]patterns.Run, error) {
	var found []patterns.Run
	for _, run := range slices.Backward(r.runs) {
		outcome := "success"
		if run.ErrorCode != "" {
			outcome = "error"
		}
		if run.ID < before.String() && len(found) < limit &&
			(f.PatternID == "" || f.PatternID == run.PatternID) && (f.Outcome == "" || f.Outcome == outcome) {
			run.Trace = patterns.Trace{}
			found = append(found, run)
		}
	}
	return found, nil
}

// Replay succeeds as before, but for the third run, which fails as before, and the fourth, which
// fails this time.
func (r *recorded) Replay(ctx context.Context, tenantID, requestID string, id uuid.UUID) (httpapi.Replay, error) {
	run, err := r.Run(ctx, tenantID, id)
	if err != nil {
		return httpapi.Replay{}, err
	}
	replay := httpapi.Replay{Recorded: run}
	switch run.ID {
	case runID(2):
		replay.Err, replay.Identical = fault.New(run.ErrorCode, "%s", run.ErrorDetail), true
	case runID(3):
		replay.Err, replay.DefinitionChanged = errors.New("secret of the agent"), true
	default:
		replay.Answer, replay.Identical = preparedAnswer(), true
		replay.Answer.Trace.RequestID, replay.Answer.DataHash = requestID, run.DataHash
	}
	return replay, nil
}

// engine is a stand-in for the orchestrator that does what a test wants.
type engine func(ctx context.Context, r patterns.Request) (*patterns.Answer, error)

func (e engine) Execute(ctx context.Context, r patterns.Request) (*patterns.Answer, error) {
	return e(ctx, r)
}

// wire is a ResponseWriter that tells what it has been given as it is flushed.
type wire struct {
	header  http.Header
	status  int
	flushed chan string

	mu      sync.Mutex
	pending strings.Builder
}

func newWire() *wire { return &wire{header: http.Header{}, flushed: make(chan string, 1000)} }

func (w *wire) Header() http.Header { return w.header }

func (w *wire) WriteHeader(status int) { w.status = status }

func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pending.Write(b)
}

func (w *wire) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushed <- w.pending.String()
	w.pending.Reset()
}
