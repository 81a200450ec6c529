package agents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

// breaker is an agent's circuit breaker. It knows which call has changed its state, which the
// policy's listener alone can't tell, and which results are too old to count.
type breaker struct {
	policy circuitbreaker.CircuitBreaker[agent.Result]
	agent  string
	delay  time.Duration
	cfg    BreakerConfig
	now    func() time.Time
	log    *slog.Logger
	tell   func(BreakerChange) // nil when nobody listens

	// mu makes asking the policy and reading what it changed one step. Nothing slow is done in it.
	mu      sync.Mutex
	era     int       // counts the changes
	since   time.Time // of the present state
	changes []change  // not yet announced
	failure error     // of the outcome that is being recorded; nil for none
}

type change struct{ from, to circuitbreaker.State }

// BreakerChange is a circuit breaker that went from one state to another.
type BreakerChange struct {
	Agent    string
	From, To string // CLOSED, OPEN or HALF_OPEN
	At       time.Time
	Reason   string // fit for callers
}

func newBreaker(agentName string, cfg BreakerConfig, now func() time.Time, log *slog.Logger, tell func(BreakerChange)) *breaker {
	b := &breaker{agent: agentName, delay: cfg.Delay, cfg: cfg, now: now, log: log, tell: tell, since: now()}
	builder := circuitbreaker.NewBuilder[agent.Result]().
		WithSuccessThreshold(uint(cfg.Successes)).
		WithDelay(cfg.Delay).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) { // within b.mu
			b.era++
			b.since = b.now()
			b.changes = append(b.changes, change{e.OldState, e.NewState})
			if b.tell != nil {
				b.tell(BreakerChange{
					Agent: b.agent, From: stateLabel(e.OldState), To: stateLabel(e.NewState), At: b.since,
					Reason: b.reason(e.OldState, e.NewState),
				})
			}
		})
	if cfg.FailureRate > 0 {
		builder = builder.WithFailureRateThreshold(cfg.FailureRate, uint(cfg.MinCalls), cfg.Window)
	} else {
		builder = builder.WithFailureThreshold(uint(cfg.Failures))
	}
	b.policy = builder.Build()
	return b
}

// reason says in words why the breaker changes. b.mu is held.
func (b *breaker) reason(from, to circuitbreaker.State) string {
	switch to {
	case circuitbreaker.HalfOpenState:
		return fmt.Sprintf("The delay of %v is over; the next calls are trials.", b.delay)
	case circuitbreaker.ClosedState:
		if b.cfg.Successes == 1 {
			return "A trial call succeeded."
		}
		return fmt.Sprintf("%d trial calls in a row succeeded.", b.cfg.Successes)
	case circuitbreaker.OpenState:
	}
	why := "nobody waited for the answer"
	if b.failure != nil {
		// No more than the code: a breaker is everybody's, and the detail belongs to whose call it was.
		why = "code " + string(fault.CodeOf(b.failure))
	}
	switch {
	case from == circuitbreaker.HalfOpenState:
		return "A trial call failed: " + why
	case b.cfg.FailureRate > 0:
		return fmt.Sprintf("At least %v %% of the calls within %v failed, the last one: %s", math.Round(100*b.cfg.FailureRate), b.cfg.Window, why)
	case b.cfg.Failures == 1:
		return "A call failed: " + why
	}
	return fmt.Sprintf("%d calls in a row failed, the last one: %s", b.cfg.Failures, why)
}

// refuses reports whether a call would be refused at this moment. It takes nothing: a trial call's
// place is taken by admit alone, once nothing else can refuse the call.
func (b *breaker) refuses() bool { return b.policy.RemainingDelay() > 0 }

// retryAfter is when it is worth asking again. While trial calls are under way nothing remains of
// the delay.
func (b *breaker) retryAfter() time.Duration {
	if d := b.policy.RemainingDelay(); d > 0 {
		return d
	}
	return time.Second
}

// admit reports whether a call may be made. Its outcome must be recorded with the era that is
// returned.
func (b *breaker) admit(ctx context.Context, span trace.Span) (era int, ok bool) {
	b.mu.Lock()
	ok = b.policy.TryAcquirePermit()
	era = b.era
	changes := b.taken()
	b.mu.Unlock()
	b.announce(ctx, span, changes)
	return era, ok
}

// outcome is what a call says about its agent.
type outcome int

const (
	worked outcome = iota
	failed
	// unrelated: the agent has answered, and refused what it was asked, for reasons that lie with
	// the caller or with other agents.
	unrelated
	// unknown: nobody waited for the answer.
	unknown
)

// record counts a call that was admitted in an era. Calls that began before the last change of
// state are over and done with: their results belong to what was decided then. err is how the call
// ended, for the words of a change.
func (b *breaker) record(ctx context.Context, span trace.Span, era int, o outcome, err error) {
	b.mu.Lock()
	b.failure = err
	if era == b.era {
		switch {
		case o == worked:
			b.policy.RecordSuccess()
		case o == failed:
			b.policy.RecordFailure()
		case !b.policy.IsHalfOpen():
			// Not counted. Only trial calls have to give their place back, with a verdict:
		case o == unrelated:
			b.policy.RecordSuccess()
		default:
			// A trial call without an answer proves nothing; closing on it would send the traffic
			// back to an agent that may still be broken.
			b.policy.RecordFailure()
		}
	}
	b.failure = nil
	changes := b.taken()
	b.mu.Unlock()
	b.announce(ctx, span, changes)
}

func (b *breaker) taken() []change {
	changes := b.changes
	b.changes = nil
	return changes
}

// announce logs changes and puts them on the span of the call that caused them.
func (b *breaker) announce(ctx context.Context, span trace.Span, changes []change) {
	for _, c := range changes {
		from, to := stateLabel(c.from), stateLabel(c.to)
		attrs := []slog.Attr{slog.String("agent", b.agent), slog.String("from", from), slog.String("to", to)}
		event := []attribute.KeyValue{attribute.String("from", from), attribute.String("to", to)}
		level := slog.LevelInfo
		if c.to == circuitbreaker.OpenState {
			level = slog.LevelWarn
			attrs = append(attrs, slog.Duration("retry_after", b.delay))
			event = append(event, attribute.Float64("retry_after_seconds", b.delay.Seconds()))
		}
		b.log.LogAttrs(ctx, level, "circuit breaker changed", attrs...)
		span.AddEvent("circuit breaker changed", trace.WithAttributes(event...))
	}
}

// shown is the state as of now. The policy leaves the open one only for a call: a breaker whose delay is over
// waits for one that tries, refuses nothing meanwhile, and without anybody who asks that may be long.
func (b *breaker) shown() circuitbreaker.State {
	s := b.policy.State()
	if s == circuitbreaker.OpenState && !b.refuses() {
		return circuitbreaker.HalfOpenState
	}
	return s
}

// state returns the present state, since when it holds, and how long calls are still refused.
func (b *breaker) state() (label string, since time.Time, retryAfter time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	since = b.since
	shown := b.shown()
	if shown != b.policy.State() {
		since = since.Add(b.delay)
	}
	return stateLabel(shown), since, b.policy.RemainingDelay()
}

// outcomeOf judges a call that somebody waited for to the end.
func (c *capability) outcomeOf(err error) outcome {
	if err == nil {
		return worked
	}
	if !isFailure(err) {
		return unrelated
	}
	// What goes wrong while a capability asks others is theirs; a panic is its own.
	if _, panicked := errors.AsType[*panicError](err); c.Delegates && !panicked {
		return unrelated
	}
	return failed
}

// isFailure reports whether err shows that an agent, or what it depends on, is broken. A caller's
// mistake or data that is not there shows the opposite.
func isFailure(err error) bool {
	switch fault.CodeOf(err) {
	case fault.Internal, fault.Unavailable, fault.Timeout:
		return true
	}
	return false
}

// stateLabel names a state as metrics, logs and spans do.
func stateLabel(s circuitbreaker.State) string {
	switch s {
	case circuitbreaker.OpenState:
		return "OPEN"
	case circuitbreaker.HalfOpenState:
		return "HALF_OPEN"
	}
	return "CLOSED"
}

// stateValue is a state's number in circuit_breaker_state.
func stateValue(s circuitbreaker.State) float64 {
	switch s {
	case circuitbreaker.OpenState:
		return 1
	case circuitbreaker.HalfOpenState:
		return 2
	}
	return 0
}

// stateCollector exports circuit_breaker_state: for each agent exactly one series, whose label is
// the present state. A gauge vector would have to delete the former state's series while scrapes
// go on; reading the breakers at the scrape can't show two.
type stateCollector struct {
	desc   *prometheus.Desc
	guards func() map[string]*guard
}

func newStateCollector(guards func() map[string]*guard) *stateCollector {
	return &stateCollector{
		desc: prometheus.NewDesc("circuit_breaker_state",
			"State of each agent's circuit breaker: 0 CLOSED, 1 OPEN, 2 HALF_OPEN; one series an agent.",
			[]string{"agent_name", "state"}, nil),
		guards: guards,
	}
}

func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	for _, g := range c.guards() {
		state := g.breaker.shown()
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, stateValue(state), g.name, stateLabel(state))
	}
}
