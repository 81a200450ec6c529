package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
)

// requireRecords checks the series of log records.
func requireRecords(t *testing.T, tel *Telemetry, exported, failed, dropped string) {
	t.Helper()
	_, metrics := scrape(t, tel, "text/plain")
	require.Contains(t, metrics, `dawsos_log_records_total{outcome="exported"} `+exported+"\n")
	require.Contains(t, metrics, `dawsos_log_records_total{outcome="failed"} `+failed+"\n")
	require.Contains(t, metrics, `dawsos_log_records_total{outcome="dropped"} `+dropped+"\n")
}

func TestLogsArrive(t *testing.T) {
	t.Parallel()

	c := startCollector(t)
	var local strings.Builder
	tel := setup(t, Options{Process: "worker", Version: "1.2.3", LogOutput: &local, LogLevel: slog.LevelInfo, OTLPEndpoint: c.addr})
	log := tel.Log.With("job", 7).WithGroup("delivery")
	log.InfoContext(inSpan(t), "delivered", "channel", "webhook")
	log.DebugContext(inSpan(t), "too quiet")
	tel.Log.WarnContext(t.Context(), "outside of a span", "stack", strings.Repeat("x", 2*attributeLength))
	require.NoError(t, tel.Shutdown(t.Context()))

	require.Len(t, c.logs, 1)
	attributes := map[string]string{}
	for _, a := range c.logs[0].GetResource().GetAttributes() {
		attributes[a.GetKey()] = a.GetValue().GetStringValue()
	}
	require.Equal(t, "dawsos-worker", attributes["service.name"])
	require.Equal(t, "1.2.3", attributes["service.version"])

	require.Len(t, c.logs[0].GetScopeLogs(), 1)
	records := c.logs[0].GetScopeLogs()[0].GetLogRecords()
	require.Len(t, records, 2)
	traceID, spanID := inSpanIDs(t)
	require.Equal(t, "delivered", records[0].GetBody().GetStringValue())
	require.Equal(t, traceID, records[0].GetTraceId())
	require.Equal(t, spanID, records[0].GetSpanId())
	require.Equal(t, logspb.SeverityNumber_SEVERITY_NUMBER_INFO, records[0].GetSeverityNumber())
	got := map[string]string{}
	for _, a := range records[0].GetAttributes() {
		got[a.GetKey()] = a.GetValue().String()
	}
	require.Contains(t, got["job"], "7")
	require.Contains(t, got["delivery"], "webhook")
	require.Equal(t, "outside of a span", records[1].GetBody().GetStringValue())
	require.Empty(t, records[1].GetTraceId())
	require.Len(t, records[1].GetAttributes()[0].GetValue().GetStringValue(), attributeLength)

	// Standard error has the same lines.
	require.Equal(t, 2, strings.Count(local.String(), "\n"))
	require.Contains(t, local.String(), "trace_id="+testTraceID)
	requireRecords(t, tel, "2", "0", "0")
}

func TestOutcomesExistWithoutACollector(t *testing.T) {
	t.Parallel()

	tel := setup(t, Options{Process: "api"})
	tel.Log.InfoContext(t.Context(), "hello")
	requireRecords(t, tel, "0", "0", "0")
	_, metrics := scrape(t, tel, "text/plain")
	require.Contains(t, metrics, `dawsos_trace_spans_total{outcome="failed"} 0`+"\n")
	require.Contains(t, metrics, `dawsos_trace_spans_total{outcome="dropped"} 0`+"\n")
	require.NoError(t, tel.Shutdown(t.Context()))
}

// TestLostRecordsAreToldLocallyOnly has a collector that never answers. What is said about it must not
// be sent to it: one complaint would make the next.
func TestLostRecordsAreToldLocallyOnly(t *testing.T) {
	t.Parallel()

	var local strings.Builder
	tel := setup(t, Options{Process: "api", LogOutput: &local, OTLPEndpoint: silentCollector(t)})
	for range 2*recordBatch + 1 {
		tel.Log.InfoContext(t.Context(), "request")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := tel.Shutdown(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "sending the last log records")
	require.Less(t, time.Since(start), exportTimeout/2, "the bound is the context's, not the exporter's")

	require.Equal(t, 1, strings.Count(local.String(), "log records were lost"))
	requireRecords(t, tel, "0", "1025", "0") // the complaint is none of them
}

// stuckExporter answers with err once it is released.
type stuckExporter struct {
	entered  chan struct{}
	released chan struct{}
	err      error
}

func (e *stuckExporter) Export(context.Context, []sdklog.Record) error {
	select {
	case e.entered <- struct{}{}:
	default:
	}
	<-e.released
	return e.err
}
func (*stuckExporter) ForceFlush(context.Context) error { return nil }
func (*stuckExporter) Shutdown(context.Context) error   { return nil }

func TestRecordsBeyondTheQueueAreDropped(t *testing.T) {
	t.Parallel()

	stuck := &stuckExporter{entered: make(chan struct{}, 1), released: make(chan struct{})}
	counter := newRecordCounter(prometheus.NewRegistry())
	e := newRecordExporter(stuck, slog.New(slog.DiscardHandler), counter, time.Now)
	defer e.abort()
	const limit = 2 * recordBatch
	a := newAdmission(e, limit)
	emit := func(n int) {
		for range n {
			require.NoError(t, a.OnEmit(t.Context(), &sdklog.Record{}))
		}
	}

	emit(recordBatch)
	<-stuck.entered // one batch is on its way, and is counted as waiting
	emit(recordBatch + 10)
	require.InDelta(t, 10, testutil.ToFloat64(counter.WithLabelValues(outcomeDropped)), 0)
	close(stuck.released)
	require.NoError(t, a.Shutdown(t.Context()))
	require.InDelta(t, limit, testutil.ToFloat64(counter.WithLabelValues(outcomeExported)), 0)
	require.InDelta(t, 10, testutil.ToFloat64(counter.WithLabelValues(outcomeDropped)), 0)
	require.Zero(t, e.waiting.Load())
}

func TestLostRecordsAreToldOnceAMinute(t *testing.T) {
	t.Parallel()

	var (
		local strings.Builder
		now   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	)
	away := &stuckExporter{released: make(chan struct{}), err: errors.New("collector is away")}
	close(away.released)
	e := newRecordExporter(away, slog.New(newHandler(Options{LogOutput: &local})), newRecordCounter(prometheus.NewRegistry()),
		func() time.Time { return now })
	defer e.abort()
	for range 6 {
		require.NoError(t, e.Export(t.Context(), make([]sdklog.Record, 3)))
		require.Equal(t, 1, strings.Count(local.String(), "collector is away"))
		now = now.Add(10 * time.Second)
	}
	require.NoError(t, e.Export(t.Context(), make([]sdklog.Record, 3)))
	require.Equal(t, 2, strings.Count(local.String(), "collector is away"))
	require.Contains(t, local.String(), "records=3 not_logged=5")
	require.InDelta(t, 21, testutil.ToFloat64(e.failed), 0)
}

// TestBothHandlers holds what a process logs through against the rules that every slog handler must
// keep.
func TestBothHandlers(t *testing.T) {
	var local strings.Builder
	slogtest.Run(t,
		func(*testing.T) slog.Handler {
			local.Reset()
			h := newHandler(Options{LogOutput: &local, LogJSON: true})
			return both{local: h, collector: levelHandler{Handler: slog.DiscardHandler, level: slog.LevelInfo}}
		},
		func(t *testing.T) map[string]any {
			var line map[string]any
			require.NoError(t, json.Unmarshal([]byte(local.String()), &line))
			return line
		})
}
