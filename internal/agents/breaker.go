package agents

import (
	"errors"
	"log/slog"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

// abandonedError marks the error of a call whose caller went away, or ran out of its own time,
// before the agent had answered: it says nothing about the agent.
type abandonedError struct{ err error }

func (e *abandonedError) Error() string { return e.err.Error() }
func (e *abandonedError) Unwrap() error { return e.err }

// newBreaker returns an agent's circuit breaker; its changes of state are logged.
func newBreaker(agentName string, cfg BreakerConfig, log *slog.Logger) circuitbreaker.CircuitBreaker[agent.Result] {
	var breaker circuitbreaker.CircuitBreaker[agent.Result]
	breaker = circuitbreaker.NewBuilder[agent.Result]().
		HandleIf(func(_ agent.Result, err error) bool {
			if _, abandoned := errors.AsType[*abandonedError](err); abandoned {
				// A trial call without an answer proves nothing; closing on it would send the
				// traffic back to an agent that may still be broken.
				return breaker.IsHalfOpen()
			}
			return isFailure(err)
		}).
		WithFailureThreshold(uint(cfg.Failures)).
		WithSuccessThreshold(uint(cfg.Successes)).
		WithDelay(cfg.Delay).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) {
			level := slog.LevelInfo
			if e.NewState == circuitbreaker.OpenState {
				level = slog.LevelWarn
			}
			log.Log(e.Context(), level, "circuit breaker changed",
				"agent", agentName, "from", stateLabel(e.OldState), "to", stateLabel(e.NewState))
		}).
		Build()
	return breaker
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
	guards []*guard
}

func newStateCollector(guards []*guard) *stateCollector {
	return &stateCollector{
		desc: prometheus.NewDesc("circuit_breaker_state",
			"State of each agent's circuit breaker: 0 CLOSED, 1 OPEN, 2 HALF_OPEN; one series an agent.",
			[]string{"agent_name", "state"}, nil),
		guards: guards,
	}
}

func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	for _, g := range c.guards {
		state := g.breaker.State()
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, stateValue(state), g.name, stateLabel(state))
	}
}
