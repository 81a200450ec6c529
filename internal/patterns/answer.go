package patterns

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/dawsos/dawsos/pkg/agent"
)

// Answer is what a run yields.
type Answer struct {
	RunID     string            `json:"run_id"` // UUID of version 7
	PatternID string            `json:"pattern_id"`
	Data      json.RawMessage   `json:"data"`     // an object: the outputs by name, in the definition's order
	Charts    []json.RawMessage `json:"charts"`   // Vega-Lite specifications; never null
	Warnings  []string          `json:"warnings"` // in the steps' order; never null
	Trace     Trace             `json:"trace"`
	DataHash  string            `json:"data_hash"` // SHA-256 of Data's bytes, in hex
}

// Trace says how an answer, or a failure, came about.
type Trace struct {
	RequestID     string `json:"request_id"`
	TraceID       string `json:"trace_id"` // W3C, in hex; "" when tracing is off
	PatternID     string `json:"pattern_id"`
	PricingPackID string `json:"pricing_pack_id"`
	LedgerVersion string `json:"ledger_version,omitempty"` // absent when the run is about no portfolio
	// LedgerVersions are those of other portfolios that patterns within were about, by portfolio; nil when
	// there was none.
	LedgerVersions   map[string]string `json:"ledger_versions,omitempty"`
	Asof             string            `json:"asof"` // YYYY-MM-DD
	DurationSeconds  float64           `json:"duration_seconds"`
	Steps            []StepTrace       `json:"steps"`             // all, or those up to the one that failed
	AgentsUsed       []string          `json:"agents_used"`       // sorted
	CapabilitiesUsed []string          `json:"capabilities_used"` // sorted
	Sources          []string          `json:"sources"`           // all that the capabilities read, sorted
	Staleness        []Staleness       `json:"staleness"`         // one for each step that read dated sources
}

// StepStatus is how a step ended.
type StepStatus string

// The ways in which a step ends.
const (
	StatusSuccess StepStatus = "success"
	StatusCached  StepStatus = "cached"  // the result was there already
	StatusSkipped StepStatus = "skipped" // its condition was false
	StatusError   StepStatus = "error"
)

// StepTrace is one step of a run.
type StepTrace struct {
	Index           int        `json:"index"` // from 0
	Capability      string     `json:"capability"`
	Agent           string     `json:"agent"`
	As              string     `json:"as"`
	Status          StepStatus `json:"status"`
	StartedAt       time.Time  `json:"started_at"` // UTC
	DurationSeconds float64    `json:"duration_seconds"`
	Reason          string     `json:"reason,omitempty"` // why it was skipped
	Error           string     `json:"error,omitempty"`  // for the caller: no internals
	Items           int        `json:"items,omitempty"`  // of a for_each: how many it had
	// Steps are those of the pattern that the step ran; nil for every other step.
	Steps []StepTrace `json:"steps,omitempty"`
}

// Staleness is how old the oldest thing was that a step read.
type Staleness struct {
	As           string `json:"as"`
	Capability   string `json:"capability"`
	Asof         string `json:"asof"` // of the run
	OldestSource string `json:"oldest_source"`
	OldestAsof   string `json:"oldest_asof"` // of its newest observation
	AgeDays      int    `json:"age_days"`    // calendar days between the two dates
}

// RunError is the failure of a run that had begun, with the trace up to the step that failed.
// fault.CodeOf and fault.Detail see the step's failure through it.
type RunError struct {
	Trace Trace
	Err   error
}

func (e *RunError) Error() string { return e.Err.Error() }

func (e *RunError) Unwrap() error { return e.Err }

// TraceOf returns the partial trace that an error of Execute carries.
func TraceOf(err error) (Trace, bool) {
	e, ok := errors.AsType[*RunError](err)
	if !ok {
		return Trace{}, false
	}
	return e.Trace, true
}

// traceBuilder collects a run's trace.
type traceBuilder struct {
	trace        Trace
	asof         time.Time
	agents       map[string]struct{}
	capabilities map[string]struct{}
	sources      map[string]struct{}
}

// emptyTrace returns what is known of a run before its first step.
func emptyTrace(patternID string, c agent.Context) Trace {
	t := Trace{
		RequestID:     c.RequestID,
		TraceID:       c.TraceID,
		PatternID:     patternID,
		PricingPackID: c.PricingPack.ID,
		Asof:          c.Asof.Format(time.DateOnly),
		Steps:         []StepTrace{}, AgentsUsed: []string{}, CapabilitiesUsed: []string{}, Sources: []string{},
		Staleness: []Staleness{},
	}
	if c.Portfolio != nil {
		t.LedgerVersion = c.Portfolio.LedgerVersion
	}
	return t
}

func newTraceBuilder(patternID string, steps int, c agent.Context) *traceBuilder {
	b := &traceBuilder{
		trace:        emptyTrace(patternID, c),
		asof:         c.Asof,
		agents:       make(map[string]struct{}),
		capabilities: make(map[string]struct{}),
		sources:      make(map[string]struct{}),
	}
	b.trace.Steps = make([]StepTrace, 0, steps)
	return b
}

// step adds a step that has ended; sources are those of its result.
func (b *traceBuilder) step(s StepTrace, sources []agent.Source) {
	b.trace.Steps = append(b.trace.Steps, s)
	b.used(s)

	var oldest agent.Source
	for _, source := range sources {
		b.sources[source.Name] = struct{}{}
		if source.Asof.IsZero() {
			continue
		}
		if oldest.Asof.IsZero() || source.Asof.Before(oldest.Asof) ||
			source.Asof.Equal(oldest.Asof) && source.Name < oldest.Name {
			oldest = source
		}
	}
	if oldest.Asof.IsZero() {
		return
	}
	b.trace.Staleness = append(b.trace.Staleness, Staleness{
		As:           s.As,
		Capability:   s.Capability,
		Asof:         b.trace.Asof,
		OldestSource: oldest.Name,
		OldestAsof:   oldest.Asof.Format(time.DateOnly),
		AgeDays:      int(b.asof.Sub(oldest.Asof) / (24 * time.Hour)),
	})
}

// used notes the agents and capabilities of a step, and of the steps within it.
func (b *traceBuilder) used(s StepTrace) {
	if s.Status == StatusSkipped {
		return
	}
	b.agents[s.Agent] = struct{}{}
	b.capabilities[s.Capability] = struct{}{}
	for _, within := range s.Steps {
		b.used(within)
	}
}

// finish returns the trace of a run that took d.
func (b *traceBuilder) finish(d time.Duration) Trace {
	b.trace.DurationSeconds = d.Seconds()
	b.trace.AgentsUsed = sortedKeys(b.agents)
	b.trace.CapabilitiesUsed = sortedKeys(b.capabilities)
	b.trace.Sources = sortedKeys(b.sources)
	return b.trace
}

// sortedKeys never returns nil, which JSON would show as null.
func sortedKeys(set map[string]struct{}) []string {
	keys := slices.AppendSeq(make([]string, 0, len(set)), maps.Keys(set))
	slices.Sort(keys)
	return keys
}
