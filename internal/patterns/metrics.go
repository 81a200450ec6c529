package patterns

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// metrics are the families of all patterns.
type metrics struct {
	executions   *prometheus.CounterVec
	stepDuration *prometheus.HistogramVec
	memoHits     prometheus.Counter
	memoMisses   prometheus.Counter
	loaded       prometheus.Gauge
	invalid      prometheus.Gauge
	reloads      map[string]prometheus.Counter // by outcome
	reloadedAt   prometheus.Gauge
}

// patternMetrics are the series of one pattern. Only loaded patterns have any, so what a caller
// writes in a request never becomes a label.
type patternMetrics struct {
	succeeded, failed prometheus.Counter
	steps             []prometheus.Observer
}

func newMetrics(reg prometheus.Registerer) *metrics {
	factory := promauto.With(reg)
	memo := factory.NewCounterVec(prometheus.CounterOpts{
		Name: "dawsos_pattern_memo_requests_total",
		Help: "Calls of capabilities within runs, by whether the run had made the same call before: hit or miss.",
	}, []string{"outcome"})
	reloads := factory.NewCounterVec(prometheus.CounterOpts{
		Name: "dawsos_pattern_reloads_total",
		Help: "Times that the patterns were loaded: applied, or refused because a changed file has errors or the directory can't be read.",
	}, []string{"outcome"})
	return &metrics{
		memoHits: memo.WithLabelValues("hit"), memoMisses: memo.WithLabelValues("miss"),
		reloads: map[string]prometheus.Counter{
			reloadApplied: reloads.WithLabelValues(reloadApplied), reloadRefused: reloads.WithLabelValues(reloadRefused),
		},
		loaded: factory.NewGauge(prometheus.GaugeOpts{
			Name: "dawsos_patterns_loaded", Help: "Patterns that are served.",
		}),
		invalid: factory.NewGauge(prometheus.GaugeOpts{
			Name: "dawsos_pattern_files_invalid", Help: "Files of the pattern directory, as last read, that can't be served.",
		}),
		reloadedAt: factory.NewGauge(prometheus.GaugeOpts{
			Name: "dawsos_pattern_last_reload_success_timestamp_seconds", Help: "When the patterns that are served were loaded.",
		}),
		executions: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "pattern_executions_total",
			Help: "Pattern runs that have begun, by outcome; requests refused for their inputs are not in it.",
		}, []string{"pattern_id", "status"}),
		stepDuration: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name:                            "pattern_step_duration",
			Help:                            "Seconds that a step took, failed and cached ones included; skipped ones are not in it.",
			Buckets:                         []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  160,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"pattern_id", "step_index", "capability"}),
	}
}

// Values of the label "outcome" of reloads.
const (
	reloadApplied = "applied"
	reloadRefused = "refused"
)

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

// statusAttribute tells in a step's span how it ended.
func statusAttribute(s StepStatus) attribute.KeyValue {
	return attribute.String("dawsos.step.status", string(s))
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
