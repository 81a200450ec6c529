// Package telemetry sets up what a process tells about itself: logs that carry trace ids, a
// registry of metrics with its handler, traces sent over OTLP, and the probes.
//
// Nothing here is process-wide until [Telemetry.Install]; tests make as many as they like.
package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Options describes one process.
type Options struct {
	Process     string // "api" or "worker"; the service is called "dawsos-" and this
	Version     string // of the build; "" means unknown
	Commit      string // of the build; "" means unknown
	Environment string // "development" or "production"

	LogOutput io.Writer // os.Stderr, usually
	LogLevel  slog.Level
	LogJSON   bool // one JSON object a line; otherwise slog's text

	// OTLPEndpoint is the collector: "host:port" or "http://host:port" in clear text,
	// "https://host:port" with TLS. "" turns tracing off.
	OTLPEndpoint string
}

// Telemetry is one process's logger, metrics and tracer.
type Telemetry struct {
	Log            *slog.Logger
	Registry       *prometheus.Registry
	TracerProvider trace.TracerProvider          // does nothing when tracing is off
	Propagator     propagation.TextMapPropagator // W3C trace context and baggage, also when tracing is off

	metrics http.Handler
	traces  *traces // nil when tracing is off
}

// New sets up a process's telemetry. It connects to nothing: a collector that is away costs
// spans, never a start or a request.
func New(ctx context.Context, o Options) (*Telemetry, error) {
	o.Version = cmp.Or(o.Version, "unknown")
	o.Commit = cmp.Or(o.Commit, "unknown")

	log := newLogger(o)
	registry := newRegistry(o)
	t := &Telemetry{
		Log:            log,
		Registry:       registry,
		TracerProvider: noTraces(),
		Propagator: propagation.NewCompositeTextMapPropagator(
			propagation.TraceContext{}, propagation.Baggage{},
		),
		metrics: metricsHandler(registry, log),
	}
	if o.OTLPEndpoint != "" {
		traces, err := newTraces(ctx, o, log, registry)
		if err != nil {
			return nil, fmt.Errorf("traces to %s: %w", o.OTLPEndpoint, err)
		}
		t.traces, t.TracerProvider = traces, traces.provider
	}
	return t, nil
}

// Install makes this the process's default logger, tracer provider, propagator and handler of
// OpenTelemetry's own errors, for libraries that look for them there.
func (t *Telemetry) Install() {
	slog.SetDefault(t.Log)
	otel.SetTracerProvider(t.TracerProvider)
	otel.SetTextMapPropagator(t.Propagator)
	complaints := newThrottle(time.Minute, time.Now)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		if held, ok := complaints.pass(); ok {
			t.Log.Warn("OpenTelemetry reports an error", "err", err, "not_logged", held)
		}
	}))
}

// MetricsHandler serves the registry as Prometheus text or OpenMetrics, whichever is asked for.
func (t *Telemetry) MetricsHandler() http.Handler { return t.metrics }

// Shutdown sends the spans that are still held and closes the connection to the collector. It
// takes until ctx ends at most; what could not be sent by then is lost.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if t.traces == nil {
		return nil
	}
	if err := t.traces.shutdown(ctx); err != nil {
		return fmt.Errorf("sending the last spans: %w", err)
	}
	return nil
}
