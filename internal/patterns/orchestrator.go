package patterns

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Runner is what the orchestrator needs from the agent runtime.
type Runner interface {
	// Run asks a capability.
	Run(ctx context.Context, req agent.Request) (agent.Result, error)
	// AgentOf returns the name of the agent that has a capability.
	AgentOf(capability string) (string, bool)
}

// ContextSource finds the circumstances of a run: which data it sees.
type ContextSource interface {
	// Resolve returns the context for a query, or fault.NotFound for an unknown portfolio,
	// fault.InsufficientData when there is no pricing pack, fault.PackNotFresh when there is only
	// one that RequireFresh rules out. Tenant, request and trace need not be filled in.
	Resolve(ctx context.Context, q ContextQuery) (agent.Context, error)
}

// ContextQuery asks for the circumstances of a run.
type ContextQuery struct {
	TenantID     string
	RequestID    string
	PortfolioID  string     // UUID; "" when the pattern is not about one portfolio
	Asof         *time.Time // UTC midnight; nil means the newest fresh pack's date
	RequireFresh bool
	// PackID and LedgerVersion, when not "", pin the pricing pack and the version of the
	// portfolio's ledger, whatever is newer. One that does not exist is fault.NotFound. A pinned
	// pack is used in whatever state it is.
	PackID        string
	LedgerVersion string
}

// Request asks for one run.
type Request struct {
	TenantID  string
	RequestID string
	UserID    string // "" when the caller is not a person
	PatternID string
	// Inputs are JSON values as the caller sent them, numbers best as json.Number, which alone
	// keeps their digits.
	Inputs       map[string]any
	Asof         *time.Time // UTC midnight; nil means the newest fresh pack's date
	RequireFresh bool       // refuse a pack that is not fresh
	// PackID and LedgerVersion pin what the run sees, see ContextQuery. "" means the newest.
	PackID, LedgerVersion string
	// Recompute keeps the run from using results of earlier ones.
	Recompute bool
	// Recorded makes Execute return only after the run has been recorded, or with the error that
	// kept it from being.
	Recorded bool
	// OnEvent, when not nil, is told how the run goes on while it does. Calls come one at a time and
	// hold up the run: it must return at once.
	OnEvent func(Event)
}

// EventType names what has happened in a run.
type EventType string

// The events of a run: RunStarted, then for each step one StepStarted and one of the others, or
// StepSkipped alone.
const (
	RunStarted  EventType = "run_started"
	StepStarted EventType = "step_started"
	StepEnded   EventType = "step_ended"
	StepSkipped EventType = "step_skipped"
	StepFailed  EventType = "step_failed" // whether the run goes on depends on the step's on_error
)

// Event is one thing that has happened in a run.
type Event struct {
	Type  EventType
	RunID string
	Trace *Trace     // of RunStarted: what is known before the first step; no steps yet
	Step  *StepTrace // of all others; only its first five fields are set when it starts
}

// Run is a run that has ended, as it is kept.
type Run struct {
	ID             string // UUID of version 7
	TenantID       string
	RequestID      string
	UserID         string
	PatternID      string
	DefinitionHash string         // names the definition's content, see Orchestrator.Definition
	Inputs         map[string]any // checked, with defaults
	RequireFresh   bool
	Context        agent.Context
	StartedAt      time.Time // UTC
	Duration       time.Duration
	Trace          Trace    // up to the step that failed, for a run that did
	Warnings       []string // never nil
	DataHash       string   // "" for a run that failed
	ErrorCode      fault.Code
	ErrorDetail    string // fit for the caller; "" for a run that succeeded
}

// Recorder keeps runs.
type Recorder interface {
	// Record takes a run on. With wait it returns once the run is durable, or why it is not;
	// without, it never blocks and returns nil, whether or not there is room for the run.
	Record(ctx context.Context, run Run, wait bool) error
}

// Options are what an Orchestrator needs from its process.
type Options struct {
	// Registerer receives the metrics. Required.
	Registerer prometheus.Registerer
	// Tracer makes spans of runs and steps. Nil means none.
	Tracer trace.Tracer
	// Now is the clock of traces and metrics; results don't depend on it. Nil means time.Now.
	Now func() time.Time
}

// Orchestrator runs patterns. It is safe for concurrent use.
type Orchestrator struct {
	catalog  *Catalog
	programs map[string]*program
	runner   Runner
	contexts ContextSource
	tracer   trace.Tracer
	now      func() time.Time
}

// program is a plan with what this process adds to it.
type program struct {
	*plan
	metrics  patternMetrics
	agents   []string // by step
	spanName string
	spans    []stepSpan
}

// stepSpan is what a step's span begins with in every run.
type stepSpan struct {
	name       string
	attributes trace.SpanStartEventOption
}

// New returns an orchestrator for the catalog's patterns. It is an error when runner does not have
// a capability that the catalog was loaded with.
func New(catalog *Catalog, runner Runner, contexts ContextSource, opts Options) (*Orchestrator, error) {
	o := &Orchestrator{
		catalog:  catalog,
		programs: make(map[string]*program, len(catalog.plans)),
		runner:   runner,
		contexts: contexts,
		tracer:   opts.Tracer,
		now:      opts.Now,
	}
	if o.tracer == nil {
		o.tracer = noop.NewTracerProvider().Tracer("")
	}
	if o.now == nil {
		o.now = time.Now
	}
	m := newMetrics(opts.Registerer)
	for id, p := range catalog.plans {
		prog := &program{plan: p, metrics: m.of(p), spanName: "pattern " + id}
		for i, s := range p.steps {
			name, ok := runner.AgentOf(s.capability)
			if !ok {
				return nil, fmt.Errorf("pattern %s, step %d (%s): no agent has the capability %q", id, i, s.as, s.capability)
			}
			prog.agents = append(prog.agents, name)
			prog.spans = append(prog.spans, stepSpan{
				name: "step " + strconv.Itoa(i) + " " + s.capability,
				attributes: trace.WithAttributes(
					attribute.Int("dawsos.step.index", i),
					attribute.String("dawsos.step.as", s.as),
					attribute.String("dawsos.capability", s.capability),
					attribute.String("dawsos.agent", name),
				),
			})
		}
		o.programs[id] = prog
	}
	return o, nil
}

// Execute runs a pattern: all its steps, in order. It returns fault.NotFound for an unknown
// pattern or portfolio and fault.Invalid for wrong inputs. Once the first step has begun, errors
// are of type *RunError.
//
// A run that never began because the caller asked for something wrong is not counted as an
// execution; any other failure is, as an error.
func (o *Orchestrator) Execute(ctx context.Context, req Request) (*Answer, error) {
	p, ok := o.programs[req.PatternID]
	if !ok {
		_, err := o.catalog.Definition(req.PatternID)
		return nil, err
	}
	inputs, err := checkInputs(p.definition.Inputs, req.Inputs)
	if err != nil {
		return nil, err
	}

	ctx, span := o.tracer.Start(ctx, p.spanName, trace.WithAttributes(
		attribute.String("dawsos.pattern", req.PatternID),
		attribute.String("dawsos.request_id", req.RequestID),
	))
	defer span.End()

	answer, err := o.execute(ctx, span, p, inputs, req)
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, string(fault.CodeOf(err)))
		if _, began := TraceOf(err); began || !isCallersMistake(err) {
			p.metrics.failed.Inc()
		}
		return nil, err
	}
	p.metrics.succeeded.Inc()
	return answer, nil
}

// isCallersMistake tells failures that say nothing about the pattern.
func isCallersMistake(err error) bool {
	switch fault.CodeOf(err) {
	case fault.Invalid, fault.NotFound:
		return true
	}
	return false
}

func (o *Orchestrator) execute(ctx context.Context, span trace.Span, p *program, inputs map[string]any, req Request) (*Answer, error) {
	start := o.now()
	query := ContextQuery{
		TenantID: req.TenantID, RequestID: req.RequestID, Asof: req.Asof, RequireFresh: req.RequireFresh,
	}
	if p.aboutPortfolio {
		query.PortfolioID, _ = inputs[portfolioInput].(string) // null when optional and left out
	}
	circumstances, err := o.contexts.Resolve(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("pattern %s: resolve the context: %w", req.PatternID, err)
	}
	circumstances.TenantID, circumstances.RequestID = req.TenantID, req.RequestID
	if sc := span.SpanContext(); sc.HasTraceID() {
		circumstances.TraceID = sc.TraceID().String()
	}
	span.SetAttributes(
		attribute.String("dawsos.asof", circumstances.Asof.Format(time.DateOnly)),
		attribute.String("dawsos.pricing_pack_id", circumstances.PricingPack.ID),
	)

	r := &run{
		engine:  o,
		program: p,
		context: circumstances,
		scope: scope{
			inputs:  inputs,
			ctx:     circumstances.Values(),
			results: make([]result, len(p.steps)),
		},
		trace:    newTraceBuilder(req.PatternID, len(p.steps), circumstances),
		warnings: []string{},
	}
	for i := range p.steps {
		if err := r.step(ctx, i); err != nil {
			return nil, &RunError{
				Trace: r.trace.finish(o.now().Sub(start)),
				Err:   fmt.Errorf("pattern %s, step %d (%s): %w", req.PatternID, i, p.steps[i].as, err),
			}
		}
	}

	data := r.data()
	sum := sha256.Sum256(data)
	return &Answer{
		PatternID: req.PatternID,
		Data:      data,
		Charts:    []json.RawMessage{},
		Warnings:  r.warnings,
		Trace:     r.trace.finish(o.now().Sub(start)),
		DataHash:  hex.EncodeToString(sum[:]),
	}, nil
}

// run is one execution under way.
type run struct {
	engine   *Orchestrator
	program  *program
	context  agent.Context
	scope    scope
	trace    *traceBuilder
	warnings []string
}

// result is what a step has yielded: its JSON, written once, and that JSON's value, read only when
// a template looks into it.
type result struct {
	raw   json.RawMessage
	value func() (any, error)
}

func newResult(v any) (result, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return result{}, err
	}
	return result{raw: raw, value: sync.OnceValues(func() (any, error) {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		var v any
		err := dec.Decode(&v)
		return v, err
	})}, nil
}

// step runs one step and puts down how it went.
func (r *run) step(ctx context.Context, i int) error {
	s := &r.program.steps[i]
	ctx, span := r.engine.tracer.Start(ctx, r.program.spans[i].name, r.program.spans[i].attributes)
	defer span.End()

	start := r.engine.now()
	answered, err := r.ask(ctx, s)
	if err == nil {
		r.scope.results[i], err = newResult(answered.Value)
		if err != nil {
			err = fault.Wrap(err, fault.Internal, "the result of %s can't be written as JSON", s.capability)
		}
	}
	d := r.engine.now().Sub(start)

	observe(ctx, r.program.metrics.steps[i], d)
	r.trace.step(StepTrace{
		Index: i, Capability: s.capability, Agent: r.program.agents[i], As: s.as,
		StartedAt: start.UTC(), DurationSeconds: d.Seconds(),
	}, answered.Sources, err)
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, string(fault.CodeOf(err)))
		return err
	}
	r.warnings = append(r.warnings, answered.Warnings...)
	return nil
}

// ask fills in the step's arguments and asks its capability.
func (r *run) ask(ctx context.Context, s *step) (agent.Result, error) {
	if err := ctx.Err(); err != nil {
		return agent.Result{}, err
	}
	args, err := s.args.fields(&r.scope)
	if err != nil {
		// The pattern does not fit what its capabilities return: its author's mistake, not the
		// caller's, and told in words of the pattern.
		return agent.Result{}, fault.New(fault.Internal, "the arguments of step %s can't be filled in: %v", s.as, err)
	}
	return r.engine.runner.Run(ctx, agent.Request{Capability: s.capability, Args: args, Context: r.context})
}

// data puts the outputs together. Results are compact JSON already, so equal results give equal
// bytes.
func (r *run) data() json.RawMessage {
	size := len("{}")
	for _, i := range r.program.outputs {
		size += len(`"":,`) + len(r.program.steps[i].as) + len(r.scope.results[i].raw)
	}
	data := append(make([]byte, 0, size), '{')
	for n, i := range r.program.outputs {
		if n > 0 {
			data = append(data, ',')
		}
		data = strconv.AppendQuote(data, r.program.steps[i].as) // of ASCII letters, digits and _
		data = append(data, ':')
		data = append(data, r.scope.results[i].raw...)
	}
	return append(data, '}')
}
