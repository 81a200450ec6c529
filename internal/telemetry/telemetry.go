// Package telemetry sets up what a process tells about itself: logs that carry trace ids, a
// registry of metrics with its handler, traces and logs sent over OTLP, and the probes.
//
// Nothing here is process-wide until [Telemetry.Install]; tests make as many as they like.
package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
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

	// OTLPEndpoint is the collector, for traces and logs: "host:port" or "http://host:port" in clear
	// text, "https://host:port" with TLS. "" turns tracing off and leaves logs to LogOutput alone.
	OTLPEndpoint string
}

// Telemetry is one process's logger, metrics and tracer.
type Telemetry struct {
	Log            *slog.Logger
	Registry       *prometheus.Registry
	TracerProvider trace.TracerProvider          // does nothing when tracing is off
	Propagator     propagation.TextMapPropagator // W3C trace context and baggage, also when tracing is off

	local   *slog.Logger // Log without the collector: for what must be told when that fails
	metrics http.Handler
	traces  *traces // nil when tracing is off
	logs    *logs   // nil when tracing is off
}

// New sets up a process's telemetry. It connects to nothing: a collector that is away costs
// spans and log records, never a start or a request.
func New(ctx context.Context, o Options) (*Telemetry, error) {
	o.Version = cmp.Or(o.Version, "unknown")
	o.Commit = cmp.Or(o.Commit, "unknown")

	local := slog.New(newHandler(o))
	registry := newRegistry(o)
	t := &Telemetry{
		Log:            local,
		local:          local,
		Registry:       registry,
		TracerProvider: noTraces(),
		Propagator: propagation.NewCompositeTextMapPropagator(
			propagation.TraceContext{}, propagation.Baggage{},
		),
	}
	spans, records := newSpanCounter(registry), newRecordCounter(registry)
	if o.OTLPEndpoint != "" {
		res, err := newResource(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("describe this process: %w", err)
		}
		if t.traces, err = newTraces(ctx, o, res, local, spans); err != nil {
			return nil, fmt.Errorf("traces to %s: %w", o.OTLPEndpoint, err)
		}
		if t.logs, err = newLogs(ctx, o, res, local, records); err != nil {
			return nil, errors.Join(fmt.Errorf("logs to %s: %w", o.OTLPEndpoint, err), t.traces.shutdown(ctx))
		}
		t.TracerProvider = t.traces.provider
		t.Log = slog.New(both{local: local.Handler(), collector: t.logs.handler(o.LogLevel)})
	}
	t.metrics = metricsHandler(registry, t.Log)
	return t, nil
}

// newResource describes the process to the collector.
func newResource(ctx context.Context, o Options) (*resource.Resource, error) {
	return resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithAttributes(
			semconv.ServiceName("dawsos-"+o.Process),
			semconv.ServiceVersion(o.Version),
			semconv.DeploymentEnvironmentNameKey.String(o.Environment),
		),
	)
}

// endpointURL completes an endpoint without a scheme, which is in clear text.
func endpointURL(endpoint string) string {
	if strings.Contains(endpoint, "://") {
		return endpoint
	}
	return "http://" + endpoint
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
			// Not to the collector: an error of its own pipeline would make the next.
			t.local.Warn("OpenTelemetry reports an error", "err", err, "not_logged", held)
		}
	}))
}

// MetricsHandler serves the registry as Prometheus text or OpenMetrics, whichever is asked for.
func (t *Telemetry) MetricsHandler() http.Handler { return t.metrics }

// Shutdown sends the spans and log records that are still held and closes the connections to the
// collector. It takes until ctx ends at most; what could not be sent by then is lost.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if t.traces == nil {
		return nil
	}
	flushed := make(chan error, 1)
	go func() { flushed <- t.logs.shutdown(ctx) }() // side by side: they share one bound
	spans, records := t.traces.shutdown(ctx), <-flushed
	if spans != nil {
		spans = fmt.Errorf("sending the last spans: %w", spans)
	}
	if records != nil {
		records = fmt.Errorf("sending the last log records: %w", records)
	}
	return errors.Join(spans, records)
}
