package patterns

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel/trace"
)

// metrics are the families of all patterns.
type metrics struct {
	executions   *prometheus.CounterVec
	stepDuration *prometheus.HistogramVec
}

// patternMetrics are the series of one pattern. Only loaded patterns have any, so what a caller
// writes in a request never becomes a label.
type patternMetrics struct {
	succeeded, failed prometheus.Counter
	steps             []prometheus.Observer
}

func newMetrics(reg prometheus.Registerer) *metrics {
	factory := promauto.With(reg)
	return &metrics{
		executions: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "pattern_executions_total",
			Help: "Pattern runs that have begun, by outcome; requests refused for their inputs are not in it.",
		}, []string{"pattern_id", "status"}),
		stepDuration: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name:                            "pattern_step_duration",
			Help:                            "Seconds that a step took, its failures included.",
			Buckets:                         []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  160,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"pattern_id", "step_index", "capability"}),
	}
}

// of makes the series of a pattern, all at zero.
func (m *metrics) of(p *plan) patternMetrics {
	id := p.definition.ID
	pm := patternMetrics{
		succeeded: m.executions.WithLabelValues(id, "success"),
		failed:    m.executions.WithLabelValues(id, "error"),
	}
	for i, s := range p.steps {
		pm.steps = append(pm.steps, m.stepDuration.WithLabelValues(id, strconv.Itoa(i), s.capability))
	}
	return pm
}

// observe records a duration, with the trace's id as exemplar when the trace is sampled.
func observe(ctx context.Context, observer prometheus.Observer, d time.Duration) {
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		if eo, ok := observer.(prometheus.ExemplarObserver); ok {
			eo.ObserveWithExemplar(d.Seconds(), prometheus.Labels{"trace_id": sc.TraceID().String()})
			return
		}
	}
	observer.Observe(d.Seconds())
}
