package delivery

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel/trace"
)

// Metrics tell of attempts. A Service and a Retrier of one process share them.
type Metrics struct {
	attempts   *prometheus.CounterVec   // channel, outcome, cause
	duration   *prometheus.HistogramVec // channel
	latency    *prometheus.HistogramVec // channel
	queued     *prometheus.HistogramVec // channel
	duplicates *prometheus.CounterVec   // channel
}

// causes are all of the closed set but None.
var causes = []Cause{
	DNS, Connect, TLS, Timeout, HTTP4xx, HTTP429, HTTP5xx, SMTP4xx, SMTP5xx, BreakerOpen,
	Rejected, Payload, Interrupted, Internal,
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	return &Metrics{
		attempts: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dawsos_delivery_attempts_total",
			Help: "Attempts to deliver an event to a target, by outcome (delivered, failed) and, where it failed, cause.",
		}, []string{"channel", "outcome", "cause"}),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "dawsos_delivery_attempt_duration_seconds",
			Help:    "Time that one attempt took, from the moment it had its turn to the receiver's answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12), NativeHistogramBucketFactor: 1.1,
		}, []string{"channel"}),
		latency: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "dawsos_delivery_latency_seconds",
			Help:    "Time from an event's acceptance to its delivery on a target, retries and waits included.",
			Buckets: []float64{.005, .025, .1, .5, 2, 10, 60, 300, 1800, 7200, 43200, 86400, 259200}, NativeHistogramBucketFactor: 1.1,
		}, []string{"channel"}),
		queued: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "dawsos_delivery_queue_seconds",
			Help:    "Time that attempts of the worker waited in the queue, from when they were due to when they began.",
			Buckets: []float64{.005, .025, .1, .5, 2, 10, 60, 300, 1800}, NativeHistogramBucketFactor: 1.1,
		}, []string{"channel"}),
		duplicates: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dawsos_delivery_duplicates_total",
			Help: "Events and targets that were not sent because an earlier event says the same.",
		}, []string{"channel"}),
	}
}

// init makes the series of the channels exist before anything happens.
func (m *Metrics) init(channels []string) {
	for _, c := range channels {
		m.attempts.WithLabelValues(c, "delivered", "")
		for _, cause := range causes {
			m.attempts.WithLabelValues(c, "failed", string(cause))
		}
		m.duration.WithLabelValues(c)
		m.latency.WithLabelValues(c)
		m.queued.WithLabelValues(c)
		m.duplicates.WithLabelValues(c)
	}
}

// Queued tells how long an attempt of the worker waited behind others, from when it was due.
func (m *Metrics) Queued(channel string, wait time.Duration) {
	m.queued.WithLabelValues(channel).Observe(max(0, wait).Seconds())
}

// observe records an attempt, whose times carry the trace's id as exemplar when the trace is sampled.
func (m *Metrics) observe(ctx context.Context, v Verdict) {
	channel, outcome := v.Delivery.Target.Channel, "failed"
	if v.State == Delivered {
		outcome = "delivered"
		observeTime(ctx, m.latency.WithLabelValues(channel), v.DecidedAt.Sub(v.Delivery.Event.AcceptedAt))
	}
	m.attempts.WithLabelValues(channel, outcome, string(v.Attempt.Outcome.Cause)).Inc()
	observeTime(ctx, m.duration.WithLabelValues(channel), v.Attempt.Duration)
}

func observeTime(ctx context.Context, o prometheus.Observer, d time.Duration) {
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		o.(prometheus.ExemplarObserver).ObserveWithExemplar(d.Seconds(), prometheus.Labels{"trace_id": sc.TraceID().String()})
		return
	}
	o.Observe(d.Seconds())
}
