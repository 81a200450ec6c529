package telemetry

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// newHandler writes to LogOutput.
func newHandler(o Options) slog.Handler {
	opts := &slog.HandlerOptions{Level: o.LogLevel}
	var h slog.Handler = slog.NewTextHandler(o.LogOutput, opts)
	if o.LogJSON {
		h = slog.NewJSONHandler(o.LogOutput, opts)
	}
	return traceHandler{Handler: h, ungrouped: h}
}

// traceHandler adds trace_id and span_id of the context's span to each record. They stand at the
// top level of the line even below WithGroup, so that every line is found by the same query.
type traceHandler struct {
	slog.Handler // everything applied

	// ungrouped has what was applied before the first group, rest what came from then on.
	ungrouped slog.Handler
	rest      []func(slog.Handler) slog.Handler
}

func (h traceHandler) Handle(ctx context.Context, r slog.Record) error {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsValid() {
		return h.Handler.Handle(ctx, r)
	}
	next := h.ungrouped.WithAttrs([]slog.Attr{
		slog.String("trace_id", span.TraceID().String()),
		slog.String("span_id", span.SpanID().String()),
	})
	for _, apply := range h.rest {
		next = apply(next)
	}
	return next.Handle(ctx, r)
}

func (h traceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(h.rest) == 0 {
		next := h.ungrouped.WithAttrs(attrs)
		return traceHandler{Handler: next, ungrouped: next}
	}
	return h.with(func(next slog.Handler) slog.Handler { return next.WithAttrs(attrs) })
}

func (h traceHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return h.with(func(next slog.Handler) slog.Handler { return next.WithGroup(name) })
}

func (h traceHandler) with(apply func(slog.Handler) slog.Handler) slog.Handler {
	// A new slice each time: two loggers derived from one must not share its spare capacity.
	rest := append(h.rest[:len(h.rest):len(h.rest)], apply)
	return traceHandler{Handler: apply(h.Handler), ungrouped: h.ungrouped, rest: rest}
}
