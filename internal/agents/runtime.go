package agents

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/schema"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Options are what a Runtime needs from its process.
type Options struct {
	// Registerer receives circuit_breaker_state. Required.
	Registerer prometheus.Registerer
	// Metrics counts the calls. Required; one a process, see NewMetrics.
	Metrics *Metrics
	// Logger receives panics, changes of breakers and of what remote agents are. Nil means nothing
	// is logged.
	Logger *slog.Logger
	// Tracer makes a span of each call. Nil means none.
	Tracer trace.Tracer
	// OnBreakerChange is told each change of a breaker, in their order for each breaker. It is called
	// while calls wait for the breaker, so it must return at once. Nil means that nobody is told.
	OnBreakerChange func(BreakerChange)
	// Now is the clock that calls are timed with; waits go by the real one. Nil means time.Now.
	Now func() time.Time
}

// Runtime runs capabilities by name. It is safe for concurrent use.
type Runtime struct {
	metrics *Metrics
	log     *slog.Logger
	tracer  trace.Tracer
	now     func() time.Time
	tell    func(BreakerChange)

	mu        sync.Mutex // held by those who change the directory
	directory atomic.Pointer[directory]
}

// directory is who can do what at one moment. It never changes; another takes its place.
type directory struct {
	capabilities map[string]*capability
	guards       map[string]*guard // by agent
}

// isRemote is what an agent says that is not part of this process. Its results are checked against
// the schemas that it declares.
type isRemote interface{ Remote() bool }

// describes is what an agent says of itself that is not part of this process.
type describes interface {
	Version() string
	Description() string
}

// about is what it said.
type about struct{ version, description string }

// New returns a runtime for the given agents, and for the remote ones that cfg names, which may
// follow later, see [Runtime.Replace]. It is an error when two of them declare the same capability,
// when a capability's declaration can't be used, or when cfg names an agent that neither is given
// nor remote: the settings would silently guard nothing.
func New(cfg Config, agents []agent.Agent, opts Options) (*Runtime, error) {
	r := &Runtime{
		metrics: opts.Metrics,
		log:     cmp.Or(opts.Logger, slog.New(slog.DiscardHandler)),
		tracer:  opts.Tracer,
		now:     opts.Now,
		tell:    opts.OnBreakerChange,
	}
	if r.tracer == nil {
		r.tracer = noop.NewTracerProvider().Tracer("")
	}
	if r.now == nil {
		r.now = time.Now
	}

	d := &directory{capabilities: map[string]*capability{}, guards: map[string]*guard{}}
	for _, a := range agents {
		name := a.Name()
		if d.guards[name] != nil {
			return nil, fmt.Errorf("two agents are named %q", name)
		}
		g, err := r.newGuard(name, cfg.Agents[name])
		if err != nil {
			return nil, err
		}
		d.guards[name] = g
		if err := r.declare(d, g, a); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Agents)) {
		if d.guards[name] != nil {
			continue
		}
		if cfg.Agents[name].Remote == nil {
			return nil, fmt.Errorf("the settings name an agent %q that does not exist; there are %v",
				name, slices.Sorted(maps.Keys(d.guards)))
		}
		g, err := r.newGuard(name, cfg.Agents[name])
		if err != nil {
			return nil, err
		}
		g.unavailable.Store(new("it has not said yet what it can do"))
		d.guards[name] = g
	}
	r.publish(nil, d)

	guards := func() map[string]*guard { return r.directory.Load().guards }
	if err := opts.Registerer.Register(newStateCollector(guards)); err != nil {
		return nil, fmt.Errorf("register circuit_breaker_state: %w", err)
	}
	return r, nil
}

func (r *Runtime) newGuard(name string, cfg AgentConfig) (*guard, error) {
	return newGuard(name, cfg, r.now, r.log, r.tell)
}

// Replace registers an agent, or puts all that it can do now in the place of what it could do
// before. Callers see either one or the other; calls under way go on. What is known of an agent by
// its name, its settings and its breaker's state, stays; one without settings gets the defaults.
//
// It is an error, and nothing changes, when one of the capabilities belongs to another agent or its
// declaration can't be used.
func (r *Runtime) Replace(a agent.Agent) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.directory.Load()
	d := &directory{capabilities: maps.Clone(old.capabilities), guards: old.guards}
	g := old.guards[a.Name()]
	if g == nil {
		var err error
		if g, err = r.newGuard(a.Name(), AgentConfig{}); err != nil {
			return err
		}
		d.guards = maps.Clone(old.guards)
		d.guards[g.name] = g
	}
	maps.DeleteFunc(d.capabilities, func(_ string, c *capability) bool { return c.guard == g })
	if err := r.declare(d, g, a); err != nil {
		return err
	}
	r.publish(old, d)
	r.setAvailable(g, nil)
	return nil
}

// publish makes d what everyone sees, and shows in the metrics what came and went.
func (r *Runtime) publish(old, d *directory) {
	if old == nil {
		old = &directory{}
	}
	for name, g := range d.guards {
		if old.guards[name] == nil {
			g.register(r.metrics)
		}
	}
	for name, c := range d.capabilities {
		if old.capabilities[name] != c { // those that stay are in use
			c.metrics = r.metrics.of(c.guard.name, name)
		}
	}
	r.directory.Store(d)
	for name, c := range old.capabilities {
		if now := d.capabilities[name]; now == nil || now.guard != c.guard {
			r.metrics.forget(c.guard.name, name)
		}
	}
}

// declare adds an agent's capabilities to d.
func (r *Runtime) declare(d *directory, g *guard, a agent.Agent) error {
	remote := g.cfg.Remote != nil
	if a, ok := a.(isRemote); ok {
		remote = remote || a.Remote()
	}
	for _, declared := range a.Capabilities() {
		if other := d.capabilities[declared.Name]; other != nil {
			return fmt.Errorf("capability %q is declared by agent %s and by agent %s", declared.Name, other.guard.name, g.name)
		}
		c, err := newCapability(declared, g, remote)
		if err != nil {
			return fmt.Errorf("agent %s, capability %q: %w", g.name, declared.Name, err)
		}
		d.capabilities[c.Name] = c
	}
	g.remote.Store(remote)
	if a, ok := a.(describes); ok {
		g.about.Store(&about{a.Version(), a.Description()})
	}
	return nil
}

func newCapability(declared agent.Capability, g *guard, remote bool) (*capability, error) {
	switch {
	case declared.Name == "":
		return nil, errors.New("it has no name")
	case declared.Run == nil:
		return nil, errors.New("there is nothing to run")
	case !slices.Contains([]agent.Purity{"", agent.Pure, agent.Reading, agent.Effectful}, declared.Purity):
		// One that is not understood could stand for effects, which must not be repeated.
		return nil, fmt.Errorf("there is no purity %q", declared.Purity)
	case !slices.Contains([]agent.Cost{"", agent.Low, agent.Medium, agent.High}, declared.Cost):
		return nil, fmt.Errorf("there is no cost class %q", declared.Cost)
	case declared.Timeout < 0 || declared.Timeout > maxTimeout:
		return nil, fmt.Errorf("a timeout of %v is not allowed; use up to %v", declared.Timeout, maxTimeout)
	}
	c := &capability{
		Capability: declared,
		guard:      g,
		timeout:    cmp.Or(declared.Timeout, g.cfg.Timeout),
		attempts:   1,
		spanName:   "agent " + g.name + "/" + declared.Name,
		spanAttrs: trace.WithAttributes(
			attribute.String("dawsos.agent", g.name),
			attribute.String("dawsos.capability", declared.Name),
		),
	}
	if declared.Repeatable() && !declared.Delegates {
		c.attempts = g.cfg.Retry.Attempts
	}
	var err error
	if c.args, err = compile(declared.Args); err != nil {
		return nil, fmt.Errorf("arguments: %w", err)
	}
	result, err := compile(declared.Result)
	if err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	if remote {
		c.result = result
	}
	return c, nil
}

// compile reads a schema; none takes anything.
func compile(raw json.RawMessage) (*schema.Schema, error) {
	if raw == nil {
		return nil, nil
	}
	return schema.Compile(raw)
}

// SetAvailable notes whether a remote agent can be reached, and why not when err is not nil. Its
// capabilities stay and calls of them are tried: it is the breaker that keeps calls away. An agent
// that there is none of is passed over.
func (r *Runtime) SetAvailable(agentName string, err error) {
	if g := r.directory.Load().guards[agentName]; g != nil {
		r.setAvailable(g, err)
	}
}

func (r *Runtime) setAvailable(g *guard, err error) {
	if err == nil {
		if g.unavailable.Swap(nil) != nil {
			r.log.Info("agent is available", "agent", g.name)
		}
		return
	}
	why := "it can't be reached"
	if _, coded := errors.AsType[*fault.Error](err); coded {
		why = fault.Detail(err) // what has no code may say more than callers should know
	}
	if before := g.unavailable.Swap(&why); before == nil || *before != why {
		r.log.Warn("agent is not available", "agent", g.name, "err", err)
	}
}

// Capabilities returns the names of all capabilities, sorted.
func (r *Runtime) Capabilities() []string {
	return slices.Sorted(maps.Keys(r.directory.Load().capabilities))
}

// Capability returns a capability as it was declared, and the name of the agent that has it.
func (r *Runtime) Capability(name string) (agentName string, c agent.Capability, ok bool) {
	found, ok := r.directory.Load().capabilities[name]
	if !ok {
		return "", agent.Capability{}, false
	}
	return found.guard.name, found.Capability, true
}

// Run calls one capability under its agent's policies. Besides the capability's own errors it
// returns
//
//   - fault.Invalid when the arguments are not those that the capability declares
//   - fault.BreakerOpen, with RetryAfter, when the breaker refuses the call
//   - fault.Unavailable, with RetryAfter, when the rate limit or the bulkhead does
//   - fault.Timeout when the capability's timeout, or the caller's, ends the call
//   - fault.Canceled when the caller has gone away
//   - fault.Internal when the capability panics or does not exist, and when a remote agent's result
//     is not what it declares; fault.Unavailable when it does not exist while a remote agent, which
//     may have it, can't be reached.
func (r *Runtime) Run(ctx context.Context, req agent.Request) (agent.Result, error) {
	d := r.directory.Load()
	c, ok := d.capabilities[req.Capability]
	if !ok {
		return agent.Result{}, d.missing(req.Capability)
	}
	ctx, span := r.tracer.Start(ctx, c.spanName, c.spanAttrs)
	defer span.End()

	g := c.guard
	g.inFlight.Add(1)
	defer g.inFlight.Add(-1)
	if err := c.checkArgs(req.Args); err != nil { // the agent is not asked: it has no latency
		g.failed.Add(1)
		return agent.Result{}, c.ended(span, err)
	}
	start := r.now()
	call := &call{capability: c, req: req, span: span}
	result, refused, err := call.run(ctx)
	end := r.now()
	switch {
	case refused != "": // no latency either: an open breaker must not make its agent look fast
		g.refused.Add(1)
		g.refusals[refused].Inc()
		span.SetAttributes(attribute.String("dawsos.refused_by", string(refused)))
		return agent.Result{}, c.ended(span, err)
	case err != nil:
		g.failed.Add(1)
		if call.outcome == failed {
			failure := LastError{
				TenantID: req.Context.TenantID, At: end.UTC(), Capability: c.Name, Code: fault.CodeOf(err), Detail: fault.Detail(err),
				RequestID: req.Context.RequestID,
			}
			if sc := span.SpanContext(); sc.IsSampled() {
				failure.TraceID = sc.TraceID().String()
			}
			g.errors.add(failure)
		}
	default:
		g.succeeded.Add(1)
	}
	c.metrics.time(ctx, end.Sub(start))
	return result, c.ended(span, err)
}

// missing says that there is no such capability.
func (d *directory) missing(name string) error {
	for _, g := range d.guards {
		if g.unavailable.Load() != nil {
			return fault.New(fault.Unavailable, "no agent that can be reached has the capability %q", name)
		}
	}
	return fault.New(fault.Internal, "no agent has the capability %q", name)
}

// ended counts a call and closes its span with how it went.
func (c *capability) ended(span trace.Span, err error) error {
	c.metrics.count(err)
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, string(fault.CodeOf(err)))
	}
	return err
}
