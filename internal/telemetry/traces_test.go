package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	collectorlogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// collector is an OTLP receiver in this process.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	addr string

	mu       sync.Mutex
	received []*tracepb.ResourceSpans
	logs     []*logspb.ResourceLogs
}

// logsService is the collector's other half: both have a method of the same name.
type logsService struct {
	collectorlogspb.UnimplementedLogsServiceServer
	*collector
}

func (s logsService) Export(_ context.Context, req *collectorlogspb.ExportLogsServiceRequest) (*collectorlogspb.ExportLogsServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs = append(s.logs, req.GetResourceLogs()...)
	return &collectorlogspb.ExportLogsServiceResponse{}, nil
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &collector{addr: l.Addr().String()}
	server := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, c)
	collectorlogspb.RegisterLogsServiceServer(server, logsService{collector: c})
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	return c
}

func (c *collector) Export(_ context.Context, req *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received = append(c.received, req.GetResourceSpans()...)
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

// silentCollector accepts connections and never says a word.
func silentCollector(t *testing.T) (addr string) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l.Addr().String()
}

func TestTracesArrive(t *testing.T) {
	t.Parallel()

	for _, prefix := range []string{"", "http://"} {
		t.Run("endpoint "+prefix, func(t *testing.T) {
			t.Parallel()
			c := startCollector(t)
			tel := setup(t, Options{
				Process: "worker", Version: "1.2.3", Environment: "production", OTLPEndpoint: prefix + c.addr,
			})
			_, span := tel.TracerProvider.Tracer("test").Start(t.Context(), "retry")
			span.End()
			require.NoError(t, tel.Shutdown(t.Context()))

			require.Len(t, c.received, 1)
			attributes := map[string]string{}
			for _, a := range c.received[0].GetResource().GetAttributes() {
				attributes[a.GetKey()] = a.GetValue().GetStringValue()
			}
			require.Equal(t, "dawsos-worker", attributes["service.name"])
			require.Equal(t, "1.2.3", attributes["service.version"])
			require.Equal(t, "production", attributes["deployment.environment.name"])
			got := c.received[0].GetScopeSpans()[0].GetSpans()[0]
			require.Equal(t, "retry", got.GetName())
			spanID := span.SpanContext().SpanID()
			require.Equal(t, spanID[:], got.GetSpanId())

			_, metrics := scrape(t, tel, "text/plain")
			require.Contains(t, metrics, `dawsos_trace_spans_total{outcome="exported"} 1`+"\n")
			require.Contains(t, metrics, `dawsos_trace_spans_total{outcome="failed"} 0`+"\n")
		})
	}
}

func TestTracesWithTLSRefuseClearText(t *testing.T) {
	t.Parallel()

	c := startCollector(t)
	var log strings.Builder
	tel := setup(t, Options{Process: "api", OTLPEndpoint: "https://" + c.addr, LogOutput: &log})
	_, span := tel.TracerProvider.Tracer("test").Start(t.Context(), "x")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, tel.Shutdown(ctx), context.DeadlineExceeded)
	require.Empty(t, c.received)
}

// TestShutdownIsBounded covers the two ways in which a collector can be away.
func TestShutdownIsBounded(t *testing.T) {
	t.Parallel()

	// A port that was free a moment ago refuses connections.
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refusing := l.Addr().String()
	require.NoError(t, l.Close())

	for name, addr := range map[string]string{"refusing": refusing, "silent": silentCollector(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tel := setup(t, Options{Process: "api", OTLPEndpoint: addr})
			for range 1000 { // about two batches
				_, span := tel.TracerProvider.Tracer("test").Start(t.Context(), "x")
				span.End()
			}

			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			start := time.Now()
			err := tel.Shutdown(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorContains(t, err, "sending the last spans")
			require.Less(t, time.Since(start), exportTimeout/2, "the bound is the context's, not the exporter's")
		})
	}
}

func TestTracingOffStillPropagates(t *testing.T) {
	t.Parallel()

	tel := setup(t, Options{Process: "api"})
	carrier := propagation.MapCarrier{"traceparent": "00-" + testTraceID + "-" + testSpanID + "-01"}
	ctx, span := tel.TracerProvider.Tracer("test").Start(tel.Propagator.Extract(t.Context(), carrier), "x")
	require.False(t, span.IsRecording())
	out := propagation.MapCarrier{}
	tel.Propagator.Inject(ctx, out)
	require.Equal(t, carrier, out)
	require.NoError(t, tel.Shutdown(t.Context()))
}

// failingExporter is a collector that refuses every batch.
type failingExporter struct{ tracetest.NoopExporter }

func (failingExporter) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	return errors.New("collector is away")
}

func TestFailingExportsAreLoggedOnceAMinute(t *testing.T) {
	t.Parallel()

	var (
		log strings.Builder
		now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	)
	e := newExporter(&failingExporter{}, slog.New(newHandler(Options{LogOutput: &log})), newSpanCounter(prometheus.NewRegistry()), func() time.Time { return now })
	defer e.abort()
	export := func() {
		require.NoError(t, e.ExportSpans(t.Context(), make([]sdktrace.ReadOnlySpan, 3)))
	}

	export()
	require.Equal(t, 1, strings.Count(log.String(), "collector is away"))
	for range 5 {
		now = now.Add(10 * time.Second)
		export()
	}
	require.Equal(t, 1, strings.Count(log.String(), "collector is away"))
	now = now.Add(10 * time.Second)
	export()
	require.Equal(t, 2, strings.Count(log.String(), "collector is away"))
	require.Contains(t, log.String(), "spans=3 not_logged=5")
}

// stuckCollector takes a batch and says nothing until it is released.
type stuckCollector struct {
	tracetest.NoopExporter
	entered, released chan struct{}
}

func (e *stuckCollector) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	select {
	case e.entered <- struct{}{}:
	default:
	}
	<-e.released
	return nil
}

// TestSpansBeyondTheQueueAreDropped, and counted: a collector that hangs loses far more than it is seen to refuse.
func TestSpansBeyondTheQueueAreDropped(t *testing.T) {
	t.Parallel()
	stuck := &stuckCollector{entered: make(chan struct{}, 1), released: make(chan struct{})}
	counter := newSpanCounter(prometheus.NewRegistry())
	e := newExporter(stuck, slog.New(slog.DiscardHandler), counter, time.Now)
	defer e.abort()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(newSpanAdmission(e, spanQueue)))
	end := func(n int) {
		for range n {
			_, span := provider.Tracer("test").Start(t.Context(), "work")
			span.End()
		}
	}
	end(512)        // a batch
	<-stuck.entered // it is on its way, and is counted as waiting
	end(spanQueue - 512 + 10)
	require.InDelta(t, 10, testutil.ToFloat64(counter.WithLabelValues(outcomeDropped)), 0)
	close(stuck.released)
	require.NoError(t, provider.Shutdown(t.Context()))
	require.InDelta(t, spanQueue, testutil.ToFloat64(counter.WithLabelValues(outcomeExported)), 0)
	require.Zero(t, e.waiting.Load())
}

// TestInstall is the only test that touches the process's defaults, so it does not run in parallel.
func TestInstall(t *testing.T) {
	var log strings.Builder
	tel := setup(t, Options{Process: "api", LogOutput: &log})
	tel.Install()
	require.Equal(t, tel.TracerProvider, otel.GetTracerProvider())
	require.Equal(t, tel.Propagator, otel.GetTextMapPropagator())
	otel.Handle(errors.New("once"))
	otel.Handle(errors.New("twice"))
	require.Contains(t, log.String(), "once")
	require.NotContains(t, log.String(), "twice")
}
