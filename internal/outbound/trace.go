package outbound

import (
	"io"
	"net/http"
	"strconv"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const tracerName = "github.com/dawsos/dawsos/internal/outbound"

// traced makes each exchange a client span, from the request to the end of the answer's body, and sends
// its traceparent along.
//
// The usual instrumentation, otelhttp, writes path and query into the span, where they must not be, and
// wraps the request's body: net/http no longer knows that it is in memory, and sends headers and body in
// two packets.
type traced struct {
	*http.Transport // CloseIdleConnections is what http.Client's method of that name looks for

	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	maxAnswer  int64
}

// RoundTrip makes one exchange.
func (t *traced) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, span := t.tracer.Start(r.Context(), "HTTP "+r.Method, trace.WithSpanKind(trace.SpanKindClient))
	recording := span.IsRecording()
	if recording {
		span.SetAttributes(
			attribute.String("http.request.method", r.Method), attribute.String("url.scheme", r.URL.Scheme),
			attribute.String("server.address", r.URL.Hostname()),
		)
		if port, err := strconv.Atoi(r.URL.Port()); err == nil {
			span.SetAttributes(attribute.Int("server.port", port))
		}
	}
	r = r.WithContext(ctx) // a round tripper must not change its request
	r.Header = r.Header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	t.propagator.Inject(ctx, propagation.HeaderCarrier(r.Header))

	resp, err := t.Transport.RoundTrip(r)
	if err == nil {
		resp.Body = &boundedBody{ReadCloser: resp.Body, left: t.maxAnswer}
	}
	if !recording {
		span.End()
		return resp, err
	}
	if err != nil {
		span.SetStatus(codes.Error, Describe(err))
		span.End()
		return nil, err
	}
	span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
	if resp.StatusCode >= http.StatusBadRequest {
		span.SetStatus(codes.Error, "")
	}
	resp.Body = &tracedBody{ReadCloser: resp.Body, end: sync.OnceFunc(func() { span.End() })}
	return resp, nil
}

// boundedBody fails once more has come than may.
type boundedBody struct {
	io.ReadCloser

	left int64
}

// Read implements io.Reader. The byte behind the last one that may come tells whether there is more.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrTooLarge
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n - 1, ErrTooLarge
	}
	return n, err
}

// tracedBody ends the exchange's span with the body.
type tracedBody struct {
	io.ReadCloser

	end func()
}

// Read implements io.Reader.
func (b *tracedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.end()
	}
	return n, err
}

// Close implements io.Closer.
func (b *tracedBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
