package agents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/ratelimiter"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/schema"
	"github.com/dawsos/dawsos/pkg/agent"
)

// guard is one agent's policies and what they have seen. It outlives the agent's capabilities when
// those are replaced.
//
// The policies are failsafe-go's, asked by hand instead of through its executor: that costs a call
// 6 allocations instead of 31 (BenchmarkRun), tells a refusal from the agent's own error, keeps the calls that a
// limit refused from using up an open breaker's trials, and does not begin a wait that the caller
// can't sit out.
type guard struct {
	name    string
	cfg     AgentConfig // complete
	breaker *breaker
	limiter ratelimiter.RateLimiter[agent.Result] // nil without a rate limit
	started time.Time                             // begin of the limiter's first period
	bulk    bulkhead.Bulkhead[agent.Result]       // nil without a bulkhead
	log     *slog.Logger

	refusals map[refusal]prometheus.Counter
	retries  prometheus.Counter

	remote      atomic.Bool
	about       atomic.Pointer[about]  // what a remote agent says of itself
	unavailable atomic.Pointer[string] // why it is not available; nil when it is

	succeeded, failed, refused, retried, inFlight atomic.Int64
	errors                                        recentErrors
}

func newGuard(name string, cfg AgentConfig, now func() time.Time, log *slog.Logger, tell func(BreakerChange)) (*guard, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("agent %s: %w", name, err)
	}
	cfg = cfg.withDefaults()
	g := &guard{
		name: name, cfg: cfg, log: log,
		breaker: newBreaker(name, cfg.Breaker, now, log, tell),
	}
	if l := cfg.RateLimit; l != nil {
		g.limiter = ratelimiter.NewBursty[agent.Result](uint(l.Calls), l.Per)
		g.started = time.Now()
	}
	if b := cfg.Bulkhead; b != nil {
		g.bulk = bulkhead.New[agent.Result](uint(b.Calls))
	}
	g.remote.Store(cfg.Remote != nil)
	return g, nil
}

// register makes the guard's series appear at zero.
func (g *guard) register(m *Metrics) {
	g.retries = m.retries.WithLabelValues(g.name)
	g.refusals = make(map[refusal]prometheus.Counter, 3)
	for _, reason := range []refusal{refusedByBreaker, refusedByRateLimit, refusedByBulkhead} {
		g.refusals[reason] = m.refusals.WithLabelValues(g.name, string(reason))
	}
}

// check refuses settings that no file could have held. LoadConfig has told its author already.
func (c AgentConfig) check() error {
	negative := c.Timeout < 0 || c.Retry.Attempts < 0 || c.Retry.Delay < 0 || c.Retry.MaxDelay < 0 ||
		c.Breaker.Failures < 0 || c.Breaker.FailureRate < 0 || c.Breaker.MinCalls < 0 ||
		c.Breaker.Window < 0 || c.Breaker.Delay < 0 || c.Breaker.Successes < 0
	switch l, b := c.RateLimit, c.Bulkhead; {
	case negative, l != nil && (l.Per < 0 || l.Wait < 0), b != nil && b.Wait < 0:
		return fmt.Errorf("negative settings: %+v", c)
	case c.Breaker.Failures > 0 && c.Breaker.FailureRate > 0, c.Breaker.FailureRate > 1:
		return fmt.Errorf("the breaker opens by failures or by a failure_rate of up to 1: %+v", c.Breaker)
	case l != nil && l.Calls < 1:
		return errors.New("the rate limit lets no call through")
	case b != nil && b.Calls < 1:
		return errors.New("the bulkhead lets no call through")
	}
	return nil
}

// capability is one declared capability with the agent that it belongs to.
type capability struct {
	agent.Capability

	guard     *guard
	args      *schema.Schema // nil takes anything
	result    *schema.Schema // of remote agents alone; nil takes anything
	timeout   time.Duration
	attempts  int // how often a call is made at most
	metrics   capabilityMetrics
	spanName  string
	spanAttrs trace.SpanStartEventOption
}

// call is one call under way.
type call struct {
	*capability

	req     agent.Request
	span    trace.Span
	outcome outcome // of the last attempt that was made
}

// run makes the call within the agent's policies: from outside in the retries, the breaker, the
// rate limit, the bulkhead and the timeout.
func (c *call) run(ctx context.Context) (agent.Result, refusal, error) {
	var failure error // of the attempt before
	for n := 1; ; n++ {
		result, refused, err := c.attempt(ctx)
		if refused != "" && failure != nil {
			// The agent was asked, and its own answer says more than that it isn't asked again.
			return agent.Result{}, "", failure
		}
		if err == nil || refused != "" || n >= c.attempts || c.guard.breaker.refuses() {
			return result, refused, err
		}
		wait, again := c.guard.cfg.Retry.wait(n, err, rand.Float64()) //nolint:gosec // spreading needs no secret
		if !again || !c.pause(ctx, wait) {
			return agent.Result{}, "", err
		}
		if ctx.Err() != nil {
			return agent.Result{}, "", c.abandoned(ctx, err)
		}
		failure = err
		c.guard.retried.Add(1)
		c.guard.retries.Inc()
		c.span.AddEvent("retry", trace.WithAttributes(
			attribute.Int("attempt", n+1),
			attribute.Float64("waited_seconds", wait.Seconds()),
			attribute.String("after", string(fault.CodeOf(err))),
		))
	}
}

// jitter is the part of a wait by which it is spread either way.
const jitter = 0.15

// wait returns the pause before another attempt after the nth has failed, and false when there is
// to be none. u in [0,1) spreads the waits.
func (c RetryConfig) wait(failures int, err error, u float64) (time.Duration, bool) {
	if fault.CodeOf(err) != fault.Unavailable {
		return 0, false
	}
	d := c.MaxDelay
	if shift := failures - 1; shift < 20 { // 2^20 times the shortest delay is longer than any
		d = min(c.Delay<<shift, c.MaxDelay)
	}
	d += time.Duration((2*u - 1) * jitter * float64(d))
	if e, ok := errors.AsType[*fault.Error](err); ok && e.RetryAfter > d {
		return e.RetryAfter, e.RetryAfter <= c.MaxDelay
	}
	return d, true
}

// pause waits for d or the end of ctx. It reports false, at once, when ctx will have ended by then.
func (*call) pause(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return true
}

// attempt makes the call once, unless the breaker or a limit refuses it.
func (c *call) attempt(ctx context.Context) (result agent.Result, refused refusal, err error) {
	g := c.guard
	if g.breaker.refuses() {
		return agent.Result{}, refusedByBreaker, c.refusedByBreaker()
	}
	if g.limiter != nil {
		if refused, err := c.takeTurn(ctx); err != nil {
			return agent.Result{}, refused, err
		}
	}
	if g.bulk != nil {
		if refused, err := c.enter(ctx); err != nil {
			return agent.Result{}, refused, err
		}
		defer g.bulk.ReleasePermit()
	}
	era, ok := g.breaker.admit(ctx, c.span)
	if !ok {
		return agent.Result{}, refusedByBreaker, c.refusedByBreaker()
	}
	// Whatever ends the attempt is recorded: a trial that did not give its place back would keep the breaker
	// half-open, and the agent refused, for as long as the process lives.
	c.outcome = failed // until it is known
	defer func() { g.breaker.record(ctx, c.span, era, c.outcome, err) }()
	result, err = c.timed(ctx)
	return result, "", err
}

func (c *call) refusedByBreaker() error {
	refused := fault.New(fault.BreakerOpen, "agent %s is not called at the moment, since its last calls failed", c.guard.name)
	refused.RetryAfter = c.guard.breaker.retryAfter()
	return refused
}

// takeTurn waits until the rate limit lets the call through. It does not wait for a turn that would
// come too late for the caller.
func (c *call) takeTurn(ctx context.Context) (refusal, error) {
	limit := c.guard.cfg.RateLimit
	longest := limit.Wait
	if deadline, ok := ctx.Deadline(); ok {
		longest = min(longest, max(0, time.Until(deadline)))
	}
	wait := c.guard.limiter.TryReservePermit(longest)
	if wait < 0 {
		refused := fault.New(fault.Unavailable, "agent %s takes %d calls in %v and has had them; try again later",
			c.guard.name, limit.Calls, limit.Per)
		refused.RetryAfter = limit.Per - time.Since(c.guard.started)%limit.Per // the next period
		return refusedByRateLimit, refused
	}
	if wait == 0 {
		return "", nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return "", nil
	case <-ctx.Done():
		return "", c.abandoned(ctx, fmt.Errorf("waiting for the rate limit of agent %s: %w", c.guard.name, ctx.Err()))
	}
}

// enter waits until the bulkhead has room for the call.
func (c *call) enter(ctx context.Context) (refusal, error) {
	limit := c.guard.cfg.Bulkhead
	err := c.guard.bulk.AcquirePermitWithMaxWait(ctx, limit.Wait)
	switch {
	case err == nil:
		return "", nil
	case errors.Is(err, bulkhead.ErrFull):
		refused := fault.New(fault.Unavailable, "agent %s is busy with %d calls, as many as it takes; try again later",
			c.guard.name, limit.Calls)
		refused.RetryAfter = time.Second // nobody knows when one of them ends
		return refusedByBulkhead, refused
	}
	return "", c.abandoned(ctx, fmt.Errorf("waiting for the bulkhead of agent %s: %w", c.guard.name, err))
}

// timed asks the capability within its time.
func (c *call) timed(ctx context.Context) (agent.Result, error) {
	inner, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	result, err := c.ask(inner)
	switch gone := ctx.Err() != nil; {
	case gone && err != nil:
		return agent.Result{}, c.abandoned(ctx, err)
	case !gone && inner.Err() != nil: // an answer that comes after all comes too late
		if err == nil {
			err = inner.Err()
		}
		err = fault.Wrap(err, fault.Timeout, "agent %s did not finish %s within %v", c.guard.name, c.Name, c.timeout)
	case err == nil && c.result != nil:
		err = c.checked(ctx, result)
	}
	c.outcome = c.outcomeOf(err)
	if err != nil {
		return agent.Result{}, err
	}
	return result, nil
}

// panicError is what became of a panic.
type panicError struct{ value any }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// ask runs the capability and turns a panic into an error: this is the boundary that keeps one
// agent's defect from ending the process.
func (c *call) ask(ctx context.Context) (result agent.Result, err error) {
	defer c.survive(ctx, &err)
	return c.Run(ctx, c.req)
}

// checked is checkResult, within the same boundary: the answer is the agent's too, whatever it does to those
// who look at it.
func (c *call) checked(ctx context.Context, result agent.Result) (err error) {
	defer c.survive(ctx, &err)
	return c.checkResult(result)
}

// survive is deferred: it makes an error of a panic.
func (c *call) survive(ctx context.Context, err *error) {
	p := recover()
	if p == nil {
		return
	}
	c.guard.log.ErrorContext(ctx, "capability panicked", "agent", c.guard.name, "capability", c.Name,
		"request_id", c.req.Context.RequestID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	*err = fault.Wrap(&panicError{p}, fault.Internal, "%s of agent %s broke off", c.Name, c.guard.name)
}

// abandoned ends a call whose caller went away, or ran out of its own time, before the agent had
// answered. It says how the caller's context ended, whatever the capability made of it.
func (c *call) abandoned(ctx context.Context, err error) error {
	c.outcome = unknown
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.Wrap(err, fault.Timeout, "the request's time was up")
	}
	return fault.Wrap(err, fault.Canceled, "the caller went away")
}
