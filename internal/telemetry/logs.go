package telemetry

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
)

// scopeName is the instrumentation scope of log records.
const scopeName = "github.com/dawsos/dawsos"

const (
	// recordQueue is how many log records may wait for the collector, those being sent included.
	// Beyond that they are dropped and counted; whoever logs never waits.
	recordQueue = 2048
	// recordBatch is the most that is sent at once.
	recordBatch = 512
	// recordInterval is how long a record waits for others at most.
	recordInterval = time.Second
	// attributeLength bounds one attribute, in bytes; a panic's stack is the longest there is.
	attributeLength = 16 << 10
	// attributeCount bounds the attributes of one record.
	attributeCount = 64
)

// Values of the label "outcome" of spans and log records.
const (
	outcomeExported = "exported"
	outcomeFailed   = "failed"
	outcomeDropped  = "dropped"
)

// newRecordCounter registers what becomes of log records, at zero from the start, also when no
// collector is set.
func newRecordCounter(reg prometheus.Registerer) *prometheus.CounterVec {
	records := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "dawsos_log_records_total",
		Help: "Log records for the collector, by outcome: exported, failed, or dropped because too many waited. Standard error has all of them.",
	}, []string{"outcome"})
	for _, outcome := range []string{outcomeExported, outcomeFailed, outcomeDropped} {
		records.WithLabelValues(outcome)
	}
	return records
}

// logs is the pipeline from log records to the collector.
type logs struct {
	provider *sdklog.LoggerProvider
	exporter *recordExporter
}

// newLogs connects to nothing yet. Failures are told to local, which must not lead back here.
func newLogs(ctx context.Context, o Options, res *resource.Resource, local *slog.Logger, records *prometheus.CounterVec) (*logs, error) {
	otlp, err := otlploggrpc.New(ctx,
		otlploggrpc.WithEndpointURL(endpointURL(o.OTLPEndpoint)),
		otlploggrpc.WithTimeout(exportTimeout),
		otlploggrpc.WithRetry(otlploggrpc.RetryConfig{
			Enabled: true, InitialInterval: time.Second, MaxInterval: 5 * time.Second, MaxElapsedTime: exportTimeout,
		}),
	)
	if err != nil {
		return nil, err
	}
	exporter := newRecordExporter(otlp, local, records, time.Now)
	return &logs{
		provider: sdklog.NewLoggerProvider(
			sdklog.WithResource(res),
			sdklog.WithAttributeCountLimit(attributeCount),
			sdklog.WithAttributeValueLengthLimit(attributeLength),
			sdklog.WithProcessor(newAdmission(exporter, recordQueue)),
		),
		exporter: exporter,
	}, nil
}

// handler sends records of the level and above to the collector.
func (l *logs) handler(level slog.Level) slog.Handler {
	return levelHandler{Handler: otelslog.NewHandler(scopeName, otelslog.WithLoggerProvider(l.provider)), level: level}
}

// shutdown drains the queue until ctx ends, and returns when nothing runs any more.
func (l *logs) shutdown(ctx context.Context) error {
	defer context.AfterFunc(ctx, l.exporter.abort)() // as traces.shutdown does
	err := l.provider.Shutdown(context.WithoutCancel(ctx))
	return cmp.Or(ctx.Err(), err)
}

// admission lets a record into the queue while fewer than limit wait. The SDK's own queue would
// overwrite the oldest without a word that could be counted; with this in front it never fills up.
type admission struct {
	sdklog.Processor
	exporter *recordExporter
	limit    int64
}

func newAdmission(e *recordExporter, limit int64) *admission {
	return &admission{
		Processor: sdklog.NewBatchProcessor(e,
			sdklog.WithMaxQueueSize(int(limit)), sdklog.WithExportMaxBatchSize(recordBatch),
			sdklog.WithExportInterval(recordInterval), sdklog.WithExportTimeout(2*exportTimeout), // the exporter's bound comes first
		),
		exporter: e,
		limit:    limit,
	}
}

// OnEmit implements sdklog.Processor. It never fails and never waits for the collector.
func (a *admission) OnEmit(ctx context.Context, r *sdklog.Record) error {
	if a.exporter.waiting.Add(1) > a.limit {
		a.exporter.waiting.Add(-1)
		a.exporter.dropped.Inc()
		return nil
	}
	return a.Processor.OnEmit(ctx, r)
}

// recordExporter sends log records, counts what became of them, and tells of failures now and then.
type recordExporter struct {
	sdklog.Exporter
	local      *slog.Logger
	complaints *throttle
	waiting    atomic.Int64 // records admitted whose fate is not known yet

	exported, failed, dropped prometheus.Counter

	aborted context.Context // ends with the exporter, not with one call
	abort   context.CancelFunc
}

func newRecordExporter(next sdklog.Exporter, local *slog.Logger, records *prometheus.CounterVec, now func() time.Time) *recordExporter {
	aborted, abort := context.WithCancel(context.Background())
	return &recordExporter{
		Exporter:   next,
		local:      local,
		complaints: newThrottle(complaintInterval, now),
		exported:   records.WithLabelValues(outcomeExported),
		failed:     records.WithLabelValues(outcomeFailed),
		dropped:    records.WithLabelValues(outcomeDropped),
		aborted:    aborted,
		abort:      abort,
	}
}

// Export never fails: nobody above could do anything about it.
func (e *recordExporter) Export(ctx context.Context, records []sdklog.Record) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.aborted, cancel)()

	err := e.Exporter.Export(ctx, records)
	e.waiting.Add(-int64(len(records)))
	if err != nil {
		e.failed.Add(float64(len(records)))
		if held, ok := e.complaints.pass(); ok {
			e.local.WarnContext(ctx, "log records were lost on the way to the collector", "err", err, "records", len(records), "not_logged", held)
		}
		return nil
	}
	e.exported.Add(float64(len(records)))
	return nil
}

// levelHandler leaves out what is below a level. The bridge has none of its own.
type levelHandler struct {
	slog.Handler
	level slog.Level
}

func (h levelHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.level && h.Handler.Enabled(ctx, level)
}

func (h levelHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return levelHandler{Handler: h.Handler.WithAttrs(attrs), level: h.level}
}

func (h levelHandler) WithGroup(name string) slog.Handler {
	return levelHandler{Handler: h.Handler.WithGroup(name), level: h.level}
}

// both hands each record to standard error first, then to the collector.
type both struct{ local, collector slog.Handler }

func (b both) Enabled(ctx context.Context, level slog.Level) bool {
	return b.local.Enabled(ctx, level) || b.collector.Enabled(ctx, level)
}

func (b both) Handle(ctx context.Context, r slog.Record) error {
	var errs []error
	for _, h := range []slog.Handler{b.local, b.collector} {
		if h.Enabled(ctx, r.Level) {
			errs = append(errs, h.Handle(ctx, r.Clone()))
		}
	}
	return errors.Join(errs...)
}

func (b both) WithAttrs(attrs []slog.Attr) slog.Handler {
	return both{local: b.local.WithAttrs(attrs), collector: b.collector.WithAttrs(attrs)}
}

func (b both) WithGroup(name string) slog.Handler {
	return both{local: b.local.WithGroup(name), collector: b.collector.WithGroup(name)}
}
