package agents

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/timeout"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Options are what a Runtime needs from its process.
type Options struct {
	// Registerer receives circuit_breaker_state. Required.
	Registerer prometheus.Registerer
	// Metrics counts the calls. Required; one a process, see NewMetrics.
	Metrics *Metrics
	// Logger receives panics and changes of breakers. Nil means nothing is logged.
	Logger *slog.Logger
	// Tracer makes a span of each call. Nil means none.
	Tracer trace.Tracer
	// Now is the clock that calls are timed with. Nil means time.Now.
	Now func() time.Time
}

// Runtime runs capabilities by name. It is safe for concurrent use.
type Runtime struct {
	capabilities map[string]*capability
	metrics      *Metrics
	log          *slog.Logger
	tracer       trace.Tracer
	now          func() time.Time
}

// guard is one agent's policies.
type guard struct {
	name     string
	timeout  time.Duration
	breaker  circuitbreaker.CircuitBreaker[agent.Result]
	executor failsafe.Executor[agent.Result]
}

// capability is one declared capability with the agent that it belongs to.
type capability struct {
	agent.Capability
	guard     *guard
	spanName  string
	spanAttrs trace.SpanStartEventOption
}

// New returns a runtime for the given agents. It is an error when two of them declare the same
// capability, or when cfg names an agent that is not there: the settings would silently guard
// nothing.
func New(cfg Config, agents []agent.Agent, opts Options) (*Runtime, error) {
	r := &Runtime{
		capabilities: make(map[string]*capability),
		metrics:      opts.Metrics,
		log:          cmp.Or(opts.Logger, slog.New(slog.DiscardHandler)),
		tracer:       opts.Tracer,
		now:          opts.Now,
	}
	if r.tracer == nil {
		r.tracer = noop.NewTracerProvider().Tracer("")
	}
	if r.now == nil {
		r.now = time.Now
	}

	guards := make(map[string]*guard, len(agents))
	for _, a := range agents {
		name := a.Name()
		if guards[name] != nil {
			return nil, fmt.Errorf("two agents are named %q", name)
		}
		g, err := newGuard(name, cfg.Agents[name].withDefaults(), r.log)
		if err != nil {
			return nil, err
		}
		guards[name] = g
		for _, c := range a.Capabilities() {
			if other := r.capabilities[c.Name]; other != nil {
				return nil, fmt.Errorf("capability %q is declared by agent %s and by agent %s", c.Name, other.guard.name, name)
			}
			r.capabilities[c.Name] = newCapability(c, g)
		}
	}
	for name := range cfg.Agents {
		if guards[name] == nil {
			return nil, fmt.Errorf("the settings name an agent %q that does not exist; there are %v",
				name, slices.Sorted(maps.Keys(guards)))
		}
	}

	if err := opts.Registerer.Register(newStateCollector(slices.Collect(maps.Values(guards)))); err != nil {
		return nil, fmt.Errorf("register circuit_breaker_state: %w", err)
	}
	for _, c := range r.capabilities {
		r.metrics.Init(c.guard.name, c.Name)
	}
	return r, nil
}

func newGuard(name string, cfg AgentConfig, log *slog.Logger) (*guard, error) {
	if cfg.Timeout < 0 || cfg.Breaker.Delay < 0 || cfg.Breaker.Failures < 0 || cfg.Breaker.Successes < 0 {
		return nil, fmt.Errorf("agent %s: negative settings: %+v", name, cfg)
	}
	g := &guard{name: name, timeout: cfg.Timeout, breaker: newBreaker(name, cfg.Breaker, log)}
	// From outside in: the breaker sees the timeouts.
	g.executor = failsafe.With(failsafe.Policy[agent.Result](g.breaker), timeout.New[agent.Result](cfg.Timeout))
	return g, nil
}

func newCapability(c agent.Capability, g *guard) *capability {
	return &capability{
		Capability: c,
		guard:      g,
		spanName:   "agent " + g.name + "/" + c.Name,
		spanAttrs: trace.WithAttributes(
			attribute.String("dawsos.agent", g.name),
			attribute.String("dawsos.capability", c.Name),
		),
	}
}

// Capabilities returns the names of all capabilities, sorted.
func (r *Runtime) Capabilities() []string {
	return slices.Sorted(maps.Keys(r.capabilities))
}

// AgentOf returns the name of the agent that has the capability.
func (r *Runtime) AgentOf(capabilityName string) (string, bool) {
	c, ok := r.capabilities[capabilityName]
	if !ok {
		return "", false
	}
	return c.guard.name, true
}

// Run calls one capability under its agent's timeout and circuit breaker. Besides the capability's
// own errors it returns
//
//   - fault.BreakerOpen, with RetryAfter, when the breaker refuses the call
//   - fault.Timeout when the agent's timeout, or the caller's, ends the call
//   - fault.Canceled when the caller has gone away
//   - fault.Internal when the capability panics or does not exist.
func (r *Runtime) Run(ctx context.Context, req agent.Request) (agent.Result, error) {
	c, ok := r.capabilities[req.Capability]
	if !ok {
		return agent.Result{}, fault.New(fault.Internal, "no agent has the capability %q", req.Capability)
	}
	ctx, span := r.tracer.Start(ctx, c.spanName, c.spanAttrs)
	defer span.End()

	start := r.now()
	result, err := r.guarded(ctx, span, c, req)
	r.metrics.Observe(ctx, c.guard.name, c.Name, err, r.now().Sub(start))
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, string(fault.CodeOf(err)))
		return agent.Result{}, err
	}
	return result, nil
}

// guarded makes the call within the agent's policies.
func (r *Runtime) guarded(ctx context.Context, span trace.Span, c *capability, req agent.Request) (agent.Result, error) {
	// The breaker's listener can't tell which call has changed its state, so the state is looked at
	// before, within and after the call: one call may half-open the breaker and close it again.
	last := c.guard.breaker.State()
	watch := func() {
		if !span.IsRecording() {
			return
		}
		if state := c.guard.breaker.State(); state != last {
			span.AddEvent("circuit breaker changed", trace.WithAttributes(
				attribute.String("from", stateLabel(last)), attribute.String("to", stateLabel(state))))
			last = state
		}
	}

	result, err := c.guard.executor.WithContext(ctx).GetWithExecution(
		func(exec failsafe.Execution[agent.Result]) (agent.Result, error) {
			watch()
			result, err := r.call(exec.Context(), c, req)
			if err != nil && ctx.Err() != nil {
				err = abandoned(ctx, err)
			}
			return result, err
		})
	watch()

	switch {
	case errors.Is(err, circuitbreaker.ErrOpen):
		// While trial calls are under way nothing remains of the delay.
		wait := cmp.Or(c.guard.breaker.RemainingDelay(), time.Second)
		refused := fault.New(fault.BreakerOpen, "agent %s is not called at the moment, since its last calls failed", c.guard.name)
		refused.RetryAfter = wait
		return agent.Result{}, refused
	case errors.Is(err, timeout.ErrExceeded):
		return agent.Result{}, fault.Wrap(err, fault.Timeout, "agent %s did not finish %s within %v", c.guard.name, c.Name, c.guard.timeout)
	}
	return result, err
}

// call runs the capability and turns a panic into an error: this is the boundary that keeps one
// agent's defect from ending the process.
func (r *Runtime) call(ctx context.Context, c *capability, req agent.Request) (result agent.Result, err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		r.log.ErrorContext(ctx, "capability panicked", "agent", c.guard.name, "capability", c.Name,
			"request_id", req.Context.RequestID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		err = fault.Wrap(fmt.Errorf("panic: %v", p), fault.Internal, "%s of agent %s broke off", c.Name, c.guard.name)
	}()
	return c.Run(ctx, req)
}

// abandoned says how the caller's context ended, whatever the capability made of it.
func abandoned(ctx context.Context, err error) error {
	code, detail := fault.Canceled, "the caller went away"
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		code, detail = fault.Timeout, "the request's time was up"
	}
	return &abandonedError{err: fault.Wrap(err, code, "%s", detail)}
}
