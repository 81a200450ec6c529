package agents

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel/trace"

	"github.com/dawsos/dawsos/internal/fault"
)

// Values of the label "status".
const (
	statusSuccess = "success"
	statusError   = "error"
)

// refusal says which of an agent's policies kept a call from being made; "" means none. It is the
// label "reason".
type refusal string

const (
	refusedByBreaker   refusal = "breaker"
	refusedByRateLimit refusal = "rate_limit"
	refusedByBulkhead  refusal = "bulkhead"
)

// Metrics counts and times what agents do. Deliveries and their retries are counted in the same
// two families, so a process makes one Metrics and shares it.
type Metrics struct {
	invocations *prometheus.CounterVec
	latency     *prometheus.HistogramVec
	refusals    *prometheus.CounterVec
	retries     *prometheus.CounterVec
}

// NewMetrics registers agent_invocations_total, agent_latency, dawsos_agent_refusals_total and
// dawsos_agent_retries_total with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	factory := promauto.With(reg)
	return &Metrics{
		invocations: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "agent_invocations_total",
			Help: "Capability calls, by outcome; one a call, however often it was retried. A call that was refused, by an open circuit breaker for instance, is an error.",
		}, []string{"agent_name", "capability", "status"}),
		latency: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name:                            "agent_latency",
			Help:                            "Seconds that a capability call took, with its retries and the waits between; refused calls are not in it.",
			Buckets:                         []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  160,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"agent_name", "capability"}),
		refusals: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "dawsos_agent_refusals_total",
			Help: "Capability calls that one of the agent's policies refused before the agent was asked.",
		}, []string{"agent_name", "reason"}),
		retries: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "dawsos_agent_retries_total",
			Help: "Attempts at capability calls after the first.",
		}, []string{"agent_name"}),
	}
}

// Init makes the series of a capability appear at zero, so that a rate over them sees the first
// call.
func (m *Metrics) Init(agentName, capability string) { m.of(agentName, capability) }

// Observe records one call that took d and ended with err. The latency of a call in a sampled
// trace carries the trace's id as exemplar. A call that a circuit breaker refused counts as an
// error but has no latency: an open breaker must not make its agent look fast.
func (m *Metrics) Observe(ctx context.Context, agentName, capability string, err error, d time.Duration) {
	c := m.of(agentName, capability)
	c.count(err)
	if fault.CodeOf(err) != fault.BreakerOpen {
		c.time(ctx, d)
	}
}

// capabilityMetrics are the series of one capability.
type capabilityMetrics struct {
	succeeded, failed prometheus.Counter
	latency           prometheus.Observer
}

func (m *Metrics) of(agentName, capability string) capabilityMetrics {
	return capabilityMetrics{
		succeeded: m.invocations.WithLabelValues(agentName, capability, statusSuccess),
		failed:    m.invocations.WithLabelValues(agentName, capability, statusError),
		latency:   m.latency.WithLabelValues(agentName, capability),
	}
}

// forget removes the series of a capability that is no longer there, so that a remote agent that
// keeps renaming its own does not fill the registry.
func (m *Metrics) forget(agentName, capability string) {
	m.invocations.DeleteLabelValues(agentName, capability, statusSuccess)
	m.invocations.DeleteLabelValues(agentName, capability, statusError)
	m.latency.DeleteLabelValues(agentName, capability)
}

func (c capabilityMetrics) count(err error) {
	if err != nil {
		c.failed.Inc()
		return
	}
	c.succeeded.Inc()
}

func (c capabilityMetrics) time(ctx context.Context, d time.Duration) {
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		if eo, ok := c.latency.(prometheus.ExemplarObserver); ok {
			eo.ObserveWithExemplar(d.Seconds(), prometheus.Labels{"trace_id": sc.TraceID().String()})
			return
		}
	}
	c.latency.Observe(d.Seconds())
}
