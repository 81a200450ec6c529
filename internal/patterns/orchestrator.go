package patterns

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// Runner is what the orchestrator needs from the agent runtime.
type Runner interface {
	Capabilities
	// Run asks a capability.
	Run(ctx context.Context, req agent.Request) (agent.Result, error)
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
	// LedgerVersions pin, by portfolio, what patterns within see of other portfolios, see
	// Trace.LedgerVersions. Those that are not in it are seen at their newest.
	LedgerVersions map[string]string
	// Recompute keeps the run from using results of earlier ones.
	Recompute bool
	// Recorded makes Execute return only after the run has been recorded, or with the error that
	// kept it from being.
	Recorded bool
	// Unrecorded keeps a look at what a run yields, such as a page that is opened, out of the records.
	Unrecorded bool
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
	DefinitionHash string         // names the definition's content, see Orchestrator.DefinitionHash
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
	// Logger receives what became of reloads. Nil means nothing is logged.
	Logger *slog.Logger
	// Tracer makes spans of runs and steps. Nil means none.
	Tracer trace.Tracer
	// Parallelism is how many calls of capabilities one run may have under way; 0 means 16.
	Parallelism int
	// CacheBytes bounds the results of pure capabilities that are kept for later runs; 0 keeps none.
	CacheBytes int64
	// Recorder keeps the runs. Nil keeps none.
	Recorder Recorder
	// Nesting is the agent through which patterns run patterns, when the runner has it.
	Nesting *Nesting
	// Now is the clock of traces and metrics; results don't depend on it. Nil means time.Now.
	Now func() time.Time
	// NewID makes the ids of runs. Nil means random UUIDs of version 7.
	NewID func() string
}

// Orchestrator runs the patterns of a directory. It is safe for concurrent use.
type Orchestrator struct {
	dir         string
	runner      Runner
	contexts    ContextSource
	recorder    Recorder
	log         *slog.Logger
	tracer      trace.Tracer
	tracing     bool
	parallelism int
	cache       *cache // nil: none
	metrics     *metrics
	now         func() time.Time
	newID       func() string

	serving atomic.Pointer[generation]
	reload  sync.Mutex             // one reload at a time
	found   []Problem              // by the last reload; under reload
	stale   atomic.Bool            // the last reload was refused
	unread  atomic.Pointer[string] // why the directory could not be loaded; nil when it was
	signs   atomic.Uint64          // of the directory when it was last loaded, see signature
}

// generation is what is served between two reloads. A run stays with the one that it began with.
type generation struct {
	*catalog
	programs map[string]*program
}

// program is a plan with what this process adds to it.
type program struct {
	*plan
	whole    string // names the content of the definition and of those that it names to be run, and so on
	metrics  patternMetrics
	spanName string
	spans    []stepSpan
	// waits are, by step, those that it begins after: those whose results it looks at, and for one that
	// reads what may change the last step before it that changes something.
	waits      [][]int
	dependents [][]int // by step, the steps that wait for it
	// barriers tells, by step, whether it runs only after all earlier ones have ended: an effect must
	// not happen in a run that a step before it has failed.
	barriers []bool
}

// stepSpan is what a step's span begins with in every run.
type stepSpan struct {
	name       string
	attributes trace.SpanStartEventOption
}

const defaultParallelism = 16

// New returns an orchestrator for the patterns in a directory, loaded. Files that can't be served are
// left out; see Problems. The error is about the directory itself.
func New(dir string, runner Runner, contexts ContextSource, opts Options) (*Orchestrator, error) {
	o := &Orchestrator{
		dir: dir, runner: runner, contexts: contexts, recorder: opts.Recorder, log: opts.Logger,
		tracer: opts.Tracer, tracing: opts.Tracer != nil, parallelism: opts.Parallelism,
		cache: newCache(opts.CacheBytes, opts.Registerer), now: opts.Now, newID: opts.NewID,
	}
	if o.log == nil {
		o.log = slog.New(slog.DiscardHandler)
	}
	if o.tracer == nil {
		o.tracer = noop.NewTracerProvider().Tracer("")
	}
	if o.parallelism <= 0 {
		o.parallelism = defaultParallelism
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.newID == nil {
		o.newID = func() string { return uuid.Must(uuid.NewV7()).String() }
	}
	o.metrics = newMetrics(opts.Registerer)
	if opts.Nesting != nil {
		opts.Nesting.orchestrator.Store(o)
	}
	if err := o.Reload(context.Background()); err != nil {
		return nil, err
	}
	return o, nil
}

// prepare adds to a catalog what this process needs to run it.
func (o *Orchestrator) prepare(c *catalog) *generation {
	g := &generation{catalog: c, programs: make(map[string]*program, len(c.plans))}
	n := natures{catalog: c, known: make(map[string]nature)}
	wholes := make(map[string]string)
	for id, p := range c.plans {
		prog := &program{
			plan: p, whole: c.whole(id, wholes), metrics: o.metrics.of(p), spanName: "pattern " + id, waits: make([][]int, len(p.steps)),
			dependents: make([][]int, len(p.steps)), barriers: make([]bool, len(p.steps)),
		}
		effect := -1 // the last step so far that changes something
		for i, s := range p.steps {
			is := n.ofStep(p, i)
			prog.barriers[i] = is.changes
			prog.waits[i] = s.needs
			if effect >= 0 && is.reads && !slices.Contains(s.needs, effect) {
				prog.waits[i] = append(slices.Clone(s.needs), effect)
			}
			if is.changes {
				effect = i
			}
			for _, earlier := range prog.waits[i] {
				prog.dependents[earlier] = append(prog.dependents[earlier], i)
			}
			prog.spans = append(prog.spans, stepSpan{
				name: "step " + strconv.Itoa(i) + " " + s.capability,
				attributes: trace.WithAttributes(
					attribute.Int("dawsos.step.index", i),
					attribute.String("dawsos.step.as", s.as),
					attribute.String("dawsos.capability", s.capability),
					attribute.String("dawsos.agent", s.agent),
				),
			})
		}
		g.programs[id] = prog
	}
	return g
}

// whole returns what names a definition with those that it runs. That they don't come back to it has been checked.
func (c *catalog) whole(id string, known map[string]string) string {
	p := c.plans[id]
	if len(p.nested) == 0 {
		return p.hash
	}
	if found, ok := known[id]; ok {
		return found
	}
	h := sha256.New()
	h.Write([]byte(p.hash))
	for _, n := range p.nested {
		h.Write([]byte(c.whole(n.pattern, known)))
	}
	known[id] = hex.EncodeToString(h.Sum(nil)[:16])
	return known[id]
}

// nature is what a step, or a pattern, has to do with what may change.
type nature struct {
	changes bool // something, by an effect
	reads   bool // what may change from one moment to the next
}

// natures finds those of the patterns in a catalog, each once.
type natures struct {
	*catalog
	known map[string]nature
}

// ofStep returns the nature of a step. One that runs a pattern has that of the pattern.
func (n natures) ofStep(p *plan, index int) nature {
	s := &p.steps[index]
	if s.capability != RunCapability {
		return nature{changes: s.effect, reads: !s.pure}
	}
	for _, nested := range p.nested {
		if nested.step == index {
			return n.ofPattern(nested.pattern)
		}
	}
	return nature{changes: true, reads: true} // which pattern is not known before the run
}

func (n natures) ofPattern(id string) nature {
	if found, ok := n.known[id]; ok {
		return found
	}
	var all nature
	for i := range n.plans[id].steps { // that patterns don't come back to themselves has been checked
		is := n.ofStep(n.plans[id], i)
		all.changes, all.reads = all.changes || is.changes, all.reads || is.reads
	}
	n.known[id] = all
	return all
}

// Definitions returns all definitions that are served, by id, sorted. They must not be changed.
func (o *Orchestrator) Definitions() []*pattern.Definition { return o.serving.Load().definitions() }

// Definition returns one definition, which must not be changed, or fault.NotFound.
func (o *Orchestrator) Definition(id string) (*pattern.Definition, error) {
	p, err := o.serving.Load().plan(id)
	if err != nil {
		return nil, err
	}
	return p.definition, nil
}

// Waits returns for each step of a pattern, by place, those that it begins after: whose results it looks at, and
// the last before it that changes what it reads. It must not be changed. It is fault.NotFound for an unknown
// pattern.
func (o *Orchestrator) Waits(id string) ([][]int, error) {
	g := o.serving.Load()
	if _, err := g.plan(id); err != nil {
		return nil, err
	}
	return g.programs[id].waits, nil
}

// DefinitionHash names the content of a definition and of those that it names to be run within it, and so on, or
// returns fault.NotFound. Which patterns a template names is not known before a run, and not in it.
func (o *Orchestrator) DefinitionHash(id string) (string, error) {
	g := o.serving.Load()
	if _, err := g.plan(id); err != nil {
		return "", err
	}
	return g.programs[id].whole, nil
}

// library returns what compiles definitions against the capabilities that there are now.
func (o *Orchestrator) library() *library {
	l := newLibrary(o.runner)
	l.log = o.log
	return l
}

// Validate checks the text of a definition as if it were in the directory, in the place of the one
// that has its id.
func (o *Orchestrator) Validate(data []byte) []Problem {
	return o.library().validate("", data, o.serving.Load().plans)
}

// Execute runs a pattern. It returns fault.NotFound for an unknown pattern or portfolio and
// fault.Invalid for wrong inputs. Once the first step has begun, errors are of type *RunError.
//
// A run that never began because the caller asked for something wrong is not counted as an
// execution; any other failure is, as an error.
func (o *Orchestrator) Execute(ctx context.Context, req Request) (*Answer, error) {
	g := o.serving.Load()
	p, ok := g.programs[req.PatternID]
	if !ok {
		_, err := g.plan(req.PatternID)
		return nil, err
	}
	inputs, err := checkInputs(p.definition.Inputs, req.Inputs)
	if err != nil {
		return nil, err
	}

	var span trace.Span
	if o.tracing {
		ctx, span = o.tracer.Start(ctx, p.spanName, trace.WithAttributes(
			attribute.String("dawsos.pattern", req.PatternID),
			attribute.String("dawsos.request_id", req.RequestID),
		))
	} else {
		span = noop.Span{}
	}
	defer span.End()

	answer, err := o.execute(ctx, span, g, p, inputs, req)
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

func (o *Orchestrator) execute(
	ctx context.Context, span trace.Span, g *generation, p *program, inputs map[string]any, req Request,
) (*Answer, error) {
	start := o.now()
	query := ContextQuery{
		TenantID: req.TenantID, RequestID: req.RequestID, Asof: req.Asof, RequireFresh: req.RequireFresh,
		PackID: req.PackID, LedgerVersion: req.LedgerVersion,
	}
	if p.aboutPortfolio {
		query.PortfolioID, _ = inputs[portfolioInput].(string) // null when optional and left out
	}
	circumstances, err := o.contexts.Resolve(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("pattern %s: resolve the context: %w", req.PatternID, err)
	}
	circumstances.TenantID, circumstances.RequestID, circumstances.UserID = req.TenantID, req.RequestID, req.UserID
	// Without spans of our own, the id is the caller's.
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		circumstances.TraceID = sc.TraceID().String()
	}

	id := o.newID()
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("dawsos.run_id", id),
			attribute.String("dawsos.asof", circumstances.Asof.Format(time.DateOnly)),
			attribute.String("dawsos.pricing_pack_id", circumstances.PricingPack.ID),
		)
	}
	r := newRun(o, g, p, circumstances, inputs)
	r.request = &requestScope{
		slots: make(chan struct{}, o.parallelism), recompute: req.Recompute,
		portfolios: portfolios{pinned: req.LedgerVersions},
	}
	r.request.portfolios.know(circumstances.Portfolio)
	if req.OnEvent != nil {
		var mu sync.Mutex
		r.emit = func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			e.RunID = id
			req.OnEvent(e)
		}
		header := emptyTrace(req.PatternID, circumstances)
		r.emit(Event{Type: RunStarted, Trace: &header})
	}
	answer, err := r.answer(ctx, start)
	if answer != nil {
		answer.RunID = id
	}
	if o.recorder != nil && !req.Unrecorded {
		if failed := o.record(ctx, r, req, id, start, answer, err); failed != nil && err == nil {
			return nil, failed
		}
	}
	return answer, err
}

// answer runs the steps, unless the answer is there already.
func (r *run) answer(ctx context.Context, start time.Time) (*Answer, error) {
	o := r.orchestrator
	// Whoever listens to steps wants to see them.
	if !r.program.pure || o.cache == nil || r.request.recompute || r.emit != nil {
		return r.execute(ctx, start)
	}
	k := r.answerKey()
	if kept := o.cache.peek(k); kept != nil {
		for i, s := range kept.answer.Trace.Steps {
			if s.Status != StatusSkipped {
				observe(ctx, r.program.metrics.steps[i], 0)
			}
		}
		return kept.answer.again(r.context, start, o.now().Sub(start)), nil
	}
	answer, err := r.execute(ctx, start)
	if err == nil && keepable(answer) {
		stored := *answer // the caller gives its own a run's id
		o.cache.add(k, kept(&stored))
	}
	return answer, err
}

// record hands the run to the recorder. The error says why a run that had to be recorded is not.
func (o *Orchestrator) record(ctx context.Context, r *run, req Request, id string, start time.Time, answer *Answer, err error) error {
	kept := Run{
		ID: id, TenantID: req.TenantID, RequestID: req.RequestID, UserID: req.UserID, PatternID: req.PatternID,
		DefinitionHash: r.program.whole, Inputs: r.scope.inputs, RequireFresh: req.RequireFresh, Context: r.context,
		StartedAt: start.UTC(), Warnings: []string{},
	}
	if answer != nil {
		kept.Trace, kept.Warnings, kept.DataHash = answer.Trace, answer.Warnings, answer.DataHash
	} else {
		kept.Trace, _ = TraceOf(err)
		kept.ErrorCode, kept.ErrorDetail = fault.CodeOf(err), fault.Detail(err)
	}
	kept.Duration = time.Duration(kept.Trace.DurationSeconds * float64(time.Second))
	if failed := o.recorder.Record(ctx, kept, req.Recorded); failed != nil {
		if _, coded := errors.AsType[*fault.Error](failed); coded {
			return fmt.Errorf("record run %s: %w", id, failed)
		}
		return fault.Wrap(failed, fault.Unavailable, "run %s of pattern %s has ended, but could not be recorded", id, req.PatternID)
	}
	return nil
}
