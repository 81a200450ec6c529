package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"testing/slogtest"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
)

const (
	testTraceID = "0af7651916cd43dd8448eb211c80319c"
	testSpanID  = "b7ad6b7169203331"
)

// inSpan returns a context inside a span with the ids above.
func inSpan(t *testing.T) context.Context {
	t.Helper()
	traceID, err := trace.TraceIDFromHex(testTraceID)
	require.NoError(t, err)
	spanID, err := trace.SpanIDFromHex(testSpanID)
	require.NoError(t, err)
	return trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID}))
}

// inSpanIDs are the ids above as they stand in OTLP.
func inSpanIDs(t *testing.T) (traceID, spanID []byte) {
	t.Helper()
	span := trace.SpanContextFromContext(inSpan(t))
	tid, sid := span.TraceID(), span.SpanID()
	return tid[:], sid[:]
}

func TestLogCarriesTraceIDs(t *testing.T) {
	t.Parallel()

	tests := []struct {
		name string
		log  func(ctx context.Context, l *slog.Logger)
		want string // the line without time
	}{
		{
			"outside of a span",
			func(_ context.Context, l *slog.Logger) { l.InfoContext(context.Background(), "hello", "a", 1) },
			`{"level":"INFO","msg":"hello","a":1}`,
		},
		{
			"inside of a span",
			func(ctx context.Context, l *slog.Logger) { l.InfoContext(ctx, "hello", "a", 1) },
			`{"level":"INFO","msg":"hello","a":1,"trace_id":"` + testTraceID + `","span_id":"` + testSpanID + `"}`,
		},
		{
			"with attributes",
			func(ctx context.Context, l *slog.Logger) { l.With("b", 2).InfoContext(ctx, "hello", "a", 1) },
			`{"level":"INFO","msg":"hello","b":2,"a":1,"trace_id":"` + testTraceID + `","span_id":"` + testSpanID + `"}`,
		},
		{
			"at the top level below groups",
			func(ctx context.Context, l *slog.Logger) {
				l.With("b", 2).WithGroup("g").With("c", 3).WithGroup("h").InfoContext(ctx, "hello", "a", 1)
			},
			`{"level":"INFO","msg":"hello","b":2,"g":{"c":3,"h":{"a":1}},"trace_id":"` + testTraceID + `","span_id":"` + testSpanID + `"}`,
		},
		{
			"siblings don't mix",
			func(ctx context.Context, l *slog.Logger) {
				parent := l.WithGroup("g").With("b", 1).With("c", 2)
				_ = parent.With("d", 3)
				other := parent.With("e", 4)
				_ = parent.With("f", 5)
				other.InfoContext(ctx, "hello")
			},
			`{"level":"INFO","msg":"hello","g":{"b":1,"c":2,"e":4},"trace_id":"` + testTraceID + `","span_id":"` + testSpanID + `"}`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			test.log(inSpan(t), slog.New(newHandler(Options{LogOutput: &b, LogJSON: true})))
			var line map[string]any
			require.NoError(t, json.Unmarshal(b.Bytes(), &line))
			delete(line, "time")
			got, err := json.Marshal(line)
			require.NoError(t, err)
			require.JSONEq(t, test.want, string(got))
		})
	}
}

func TestLogText(t *testing.T) {
	t.Parallel()

	var b bytes.Buffer
	log := slog.New(newHandler(Options{LogOutput: &b, LogLevel: slog.LevelWarn}))
	log.InfoContext(inSpan(t), "too quiet")
	log.WarnContext(inSpan(t), "hello")
	require.Regexp(t, `^time=\S+ level=WARN msg=hello trace_id=`+testTraceID+` span_id=`+testSpanID+`\n$`, b.String())
}

// TestLogHandler holds the handler against the rules that every slog handler must keep.
func TestLogHandler(t *testing.T) {
	var b bytes.Buffer
	slogtest.Run(t,
		func(*testing.T) slog.Handler {
			b.Reset()
			return newHandler(Options{LogOutput: &b, LogJSON: true})
		},
		func(t *testing.T) map[string]any {
			var line map[string]any
			require.NoError(t, json.Unmarshal(b.Bytes(), &line))
			return line
		})
}
