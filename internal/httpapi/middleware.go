package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/dawsos/dawsos/internal/fault"
)

// metrics are the request metrics of the contract.
type metrics struct {
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	return &metrics{
		requests: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "api_requests_total",
			Help: "Requests answered, by route template, status and method. Probes and scrapes are not counted.",
		}, []string{"endpoint", "status", "method"}),
		latency: promauto.With(reg).NewHistogramVec(prometheus.HistogramOpts{
			Name:                        "api_latency",
			Help:                        "Seconds from a request's arrival to its answer, by route template.",
			Buckets:                     []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
			NativeHistogramBucketFactor: 1.1,
		}, []string{"endpoint"}),
	}
}

// init makes the series that panels read exist before the first request.
func (m *metrics) init(endpoint, method string, statuses []int) {
	m.latency.WithLabelValues(endpoint)
	for _, status := range append(statuses, http.StatusInternalServerError) {
		m.requests.WithLabelValues(endpoint, strconv.Itoa(status), method)
	}
}

func (m *metrics) observe(ctx context.Context, endpoint, method string, status int, d time.Duration) {
	m.requests.WithLabelValues(endpoint, strconv.Itoa(status), method).Inc()
	h := m.latency.WithLabelValues(endpoint)
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		h.(prometheus.ExemplarObserver).ObserveWithExemplar(d.Seconds(), prometheus.Labels{"trace_id": sc.TraceID().String()})
		return
	}
	h.Observe(d.Seconds())
}

// unmatched stands for every path that is no route's, so that callers can't make up label values.
const unmatched = "unmatched"

// endpoint returns a request's route template in the document's notation.
func (s *server) endpoint(c echo.Context) string {
	if template := braces(c.Path()); s.routes[template] {
		return template
	}
	return unmatched
}

var echoParam = regexp.MustCompile(`:([a-z_]+)`)

// braces rewrites Echo's :name as the document's {name}.
func braces(path string) string { return echoParam.ReplaceAllString(path, "{$1}") }

// method returns a request's method as a label: bounded, whatever the caller sends.
func method(c echo.Context) string {
	switch m := c.Request().Method; m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	default:
		return "OTHER"
	}
}

// observe wraps everything: request id, span, metrics, access log, recovery. It answers errors
// itself, so that log and metrics see the status that the caller sees.
func (s *server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := s.now()
		endpoint := s.endpoint(c)
		if probes[endpoint] {
			return next(c)
		}
		r := c.Request()
		id := acceptRequestID(r.Header.Get(echo.HeaderXRequestID))
		c.Response().Header().Set(echo.HeaderXRequestID, id)

		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := s.tracer.Start(ctx, method(c)+" "+endpoint, trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(
				attribute.String("http.request.method", method(c)),
				attribute.String("http.route", endpoint),
				attribute.String("url.path", r.URL.Path),
				attribute.String("dawsos.request_id", id),
			))
		defer span.End()
		ctx = context.WithValue(ctx, requestIDKey{}, id)
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		c.SetRequest(r.WithContext(ctx))

		if err := protect(next)(c); err != nil {
			s.onError(err, c)
		}

		status, took := c.Response().Status, s.now().Sub(start)
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		level := slog.LevelInfo
		if status >= http.StatusInternalServerError {
			level = slog.LevelError
			span.SetStatus(codes.Error, http.StatusText(status))
		}
		s.metrics.observe(ctx, endpoint, method(c), status, took)
		s.log.Log(ctx, level, "request", "request_id", id, "method", method(c), "path", r.URL.Path,
			"endpoint", endpoint, "status", status, "bytes", c.Response().Size,
			"duration", took.Round(time.Microsecond), "remote", c.RealIP())
		return nil
	}
}

// probes are answered outside of logs, traces and request metrics: they would drown the rest.
var probes = map[string]bool{"/healthz": true, "/readyz": true, "/metrics": true}

// protect turns a panic into an error with its stack.
func protect(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		return next(c)
	}
}

// limit bounds what a handler may read.
func (s *server) limit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.ContentLength > s.maxBody {
			return fault.New(fault.TooLarge, "the body is larger than %d bytes", s.maxBody)
		}
		if r.Body != nil {
			r.Body = http.MaxBytesReader(c.Response(), r.Body, s.maxBody)
		}
		return next(c)
	}
}

// enforce holds a request against the document.
func (s *server) enforce(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if op, ok := s.contract.operations[c.Request().Method+" "+braces(c.Path())]; ok {
			if err := op.check(c); err != nil {
				return err
			}
		}
		return next(c)
	}
}

type requestIDKey struct{}

// requestIDFrom returns the id of the request that ctx belongs to.
func requestIDFrom(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

func requestID(c echo.Context) string { return requestIDFrom(c.Request().Context()) }

var requestIDForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// acceptRequestID keeps a caller's id when it is harmless in logs, and makes one otherwise.
func acceptRequestID(given string) string {
	if requestIDForm.MatchString(given) {
		return given
	}
	return strings.ReplaceAll(uuid.NewString(), "-", "")
}
