package telemetry

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

const (
	// exportTimeout bounds one batch, its retries included. Meanwhile new spans wait in the
	// queue (2048, the SDK's default); beyond that they are dropped, requests never wait.
	exportTimeout = 10 * time.Second
	// complaintInterval is how often at most a failing export is logged.
	complaintInterval = time.Minute
)

func noTraces() trace.TracerProvider { return noop.NewTracerProvider() }

// traces is the pipeline from spans to the collector.
type traces struct {
	provider *sdktrace.TracerProvider
	exporter *exporter
}

func newTraces(ctx context.Context, o Options, res *resource.Resource, local *slog.Logger, spans *prometheus.CounterVec) (*traces, error) {
	otlp, err := otlptracegrpc.New(ctx,
		otlptracegrpc.WithEndpointURL(endpointURL(o.OTLPEndpoint)),
		otlptracegrpc.WithTimeout(exportTimeout),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{
			Enabled: true, InitialInterval: time.Second, MaxInterval: 5 * time.Second, MaxElapsedTime: exportTimeout,
		}),
	)
	if err != nil {
		return nil, err
	}
	exporter := newExporter(otlp, local, spans, time.Now)
	return &traces{
		provider: sdktrace.NewTracerProvider(
			sdktrace.WithSpanProcessor(newSpanAdmission(exporter, spanQueue)),
			sdktrace.WithResource(res),
			// Every trace is kept here; the collector decides what to drop.
			sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())),
		),
		exporter: exporter,
	}, nil
}

// shutdown drains the queue until ctx ends, and returns when nothing runs any more.
func (t *traces) shutdown(ctx context.Context) error {
	// Given ctx itself, the SDK would stop waiting at its end but leave the export running.
	// Aborting the exporter instead makes the rest of the queue fail at once.
	defer context.AfterFunc(ctx, t.exporter.abort)()
	err := t.provider.Shutdown(context.WithoutCancel(ctx))
	return cmp.Or(ctx.Err(), err)
}

// spanQueue is how many spans may wait for the collector, those being sent included. Beyond that they are dropped
// and counted; whoever is traced never waits.
const spanQueue = 2048

// spanAdmission lets a span into the queue while fewer than limit wait. The SDK's own queue would drop what comes
// then without a word that could be counted; with this in front it never fills up.
type spanAdmission struct {
	sdktrace.SpanProcessor
	exporter *exporter
	limit    int64
}

func newSpanAdmission(e *exporter, limit int) *spanAdmission {
	return &spanAdmission{
		SpanProcessor: sdktrace.NewBatchSpanProcessor(e, sdktrace.WithMaxQueueSize(limit)),
		exporter:      e, limit: int64(limit),
	}
}

// OnEnd implements sdktrace.SpanProcessor.
func (a *spanAdmission) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return // of somebody else's trace that is not kept
	}
	if a.exporter.waiting.Add(1) > a.limit {
		a.exporter.waiting.Add(-1)
		a.exporter.dropped.Inc()
		return
	}
	a.SpanProcessor.OnEnd(s)
}

// exporter sends spans, counts what became of them, and logs failures now and then. The SDK
// would hand each failure to a process-wide handler instead.
type exporter struct {
	sdktrace.SpanExporter
	local      *slog.Logger // not to the collector, which is what fails
	complaints *throttle
	waiting    atomic.Int64 // spans admitted whose fate is not known yet

	exported, failed, dropped prometheus.Counter

	aborted context.Context // ends with the exporter, not with one call
	abort   context.CancelFunc
}

// newSpanCounter registers what becomes of spans, at zero from the start, also when no collector is
// set.
func newSpanCounter(reg prometheus.Registerer) *prometheus.CounterVec {
	spans := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "dawsos_trace_spans_total",
		Help: "Spans for the collector, by outcome: exported, failed, or dropped because too many waited.",
	}, []string{"outcome"})
	for _, outcome := range []string{outcomeExported, outcomeFailed, outcomeDropped} {
		spans.WithLabelValues(outcome)
	}
	return spans
}

func newExporter(next sdktrace.SpanExporter, local *slog.Logger, spans *prometheus.CounterVec, now func() time.Time) *exporter {
	aborted, abort := context.WithCancel(context.Background())
	return &exporter{
		SpanExporter: next,
		local:        local,
		complaints:   newThrottle(complaintInterval, now),
		exported:     spans.WithLabelValues(outcomeExported),
		failed:       spans.WithLabelValues(outcomeFailed),
		dropped:      spans.WithLabelValues(outcomeDropped),
		aborted:      aborted,
		abort:        abort,
	}
}

// ExportSpans never fails: nobody above could do anything about it.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.aborted, cancel)()

	err := e.SpanExporter.ExportSpans(ctx, spans)
	e.waiting.Add(-int64(len(spans)))
	if err != nil {
		e.failed.Add(float64(len(spans)))
		if held, ok := e.complaints.pass(); ok {
			e.local.WarnContext(ctx, "spans were lost on the way to the collector", "err", err, "spans", len(spans), "not_logged", held)
		}
		return nil
	}
	e.exported.Add(float64(len(spans)))
	return nil
}

// throttle lets one of several equal complaints pass in each interval.
type throttle struct {
	interval time.Duration
	now      func() time.Time

	mu   sync.Mutex
	last time.Time
	held int
}

func newThrottle(interval time.Duration, now func() time.Time) *throttle {
	return &throttle{interval: interval, now: now}
}

// pass says whether this complaint may be made, and how many were held back since the last.
func (t *throttle) pass() (held int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if !t.last.IsZero() && now.Sub(t.last) < t.interval {
		t.held++
		return 0, false
	}
	held, t.held, t.last = t.held, 0, now
	return held, true
}
