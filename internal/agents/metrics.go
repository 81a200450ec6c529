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

// Metrics counts and times what agents do. Deliveries and their retries are counted in the same
// two families, so a process makes one Metrics and shares it.
type Metrics struct {
	invocations *prometheus.CounterVec
	latency     *prometheus.HistogramVec
}

// NewMetrics registers agent_invocations_total and agent_latency with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	factory := promauto.With(reg)
	return &Metrics{
		invocations: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "agent_invocations_total",
			Help: "Capability calls, by outcome; a call that an open circuit breaker refused is an error.",
		}, []string{"agent_name", "capability", "status"}),
		latency: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name:                            "agent_latency",
			Help:                            "Seconds that a capability call took; refused calls are not in it.",
			Buckets:                         []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  160,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"agent_name", "capability"}),
	}
}

// Init makes the series of a capability appear at zero, so that a rate over them sees the first
// call.
func (m *Metrics) Init(agentName, capability string) {
	m.invocations.WithLabelValues(agentName, capability, statusSuccess)
	m.invocations.WithLabelValues(agentName, capability, statusError)
	m.latency.WithLabelValues(agentName, capability)
}

// Observe records one call that took d and ended with err. The latency of a call in a sampled
// trace carries the trace's id as exemplar. A call that a circuit breaker refused counts as an
// error but has no latency: an open breaker must not make its agent look fast.
func (m *Metrics) Observe(ctx context.Context, agentName, capability string, err error, d time.Duration) {
	status := statusSuccess
	if err != nil {
		status = statusError
	}
	m.invocations.WithLabelValues(agentName, capability, status).Inc()
	if fault.CodeOf(err) == fault.BreakerOpen {
		return
	}
	observer := m.latency.WithLabelValues(agentName, capability)
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		if eo, ok := observer.(prometheus.ExemplarObserver); ok {
			eo.ObserveWithExemplar(d.Seconds(), prometheus.Labels{"trace_id": sc.TraceID().String()})
			return
		}
	}
	observer.Observe(d.Seconds())
}
