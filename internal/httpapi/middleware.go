package httpapi

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/dawsos/dawsos/internal/admission"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/api"
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

// unmatched stands for every path that is no route's, so that callers can't make up label values.
const unmatched = "unmatched"

// route is a path that the server knows, with all that requests to it need and that can be found
// out once.
type route struct {
	probe     bool                 // answered unobserved
	endpoint  string               // its template in the document's notation; what logs and labels call it
	latency   prometheus.Observer  // of its answers, whatever their method
	methods   map[string]*endpoint // the ones that it has
	otherwise *endpoint            // for those that it does not have
}

// endpoint is a method on a route.
type endpoint struct {
	operation *operation                 // nil outside of the document
	streams   bool                       // its body is a file
	class     admission.Class            // of requests that do not ask to be kept up to date
	requests  map[int]prometheus.Counter // by the statuses that are expected
	span      string
	began     []trace.SpanStartOption
}

func (s *server) newRoute(template string) *route {
	return &route{
		endpoint: template, latency: s.metrics.latency.WithLabelValues(template), methods: map[string]*endpoint{},
		otherwise: &endpoint{span: template, began: spanOptions(attribute.String("http.route", template))},
	}
}

// newEndpoint makes the series that panels read exist before the first request.
func (s *server) newEndpoint(template, method string, op *operation) *endpoint {
	e := &endpoint{
		operation: op, requests: map[int]prometheus.Counter{}, span: method + " " + template,
		began: spanOptions(attribute.String("http.request.method", method), attribute.String("http.route", template)),
	}
	statuses := []int{http.StatusOK}
	if op != nil {
		statuses = op.statuses
	}
	for _, status := range append(statuses, http.StatusInternalServerError) {
		e.requests[status] = s.metrics.requests.WithLabelValues(template, strconv.Itoa(status), method)
	}
	return e
}

func spanOptions(attributes ...attribute.KeyValue) []trace.SpanStartOption {
	return []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attributes...)}
}

// routed returns where a request was led.
func (s *server) routed(c echo.Context) (*route, *endpoint) {
	r, ok := s.routes[c.Path()]
	if !ok {
		r = s.nowhere
	}
	if e, ok := r.methods[c.Request().Method]; ok {
		return r, e
	}
	return r, r.otherwise
}

// count records an answer in the metrics.
func (s *server) count(ctx context.Context, r *route, e *endpoint, method string, status int, d time.Duration) {
	requests, ok := e.requests[status]
	if !ok {
		requests = s.metrics.requests.WithLabelValues(r.endpoint, strconv.Itoa(status), method)
	}
	requests.Inc()
	if d < 0 { // nothing was done for it, or its time tells nothing
		return
	}
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		r.latency.(prometheus.ExemplarObserver).ObserveWithExemplar(d.Seconds(), prometheus.Labels{"trace_id": sc.TraceID().String()})
		return
	}
	r.latency.Observe(d.Seconds())
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

// outcomeKey is where a handler leaves the outcome, a code or succeeded, of what its answer's status
// does not tell.
const (
	outcomeKey = "outcome"
	succeeded  = "success"
)

// pageStream is the stream that keeps a page of the console up to date. How long one lasts is how long somebody looks,
// and no latency of anything: one open page would fire every alert on it.
const pageStream = "/console/live"

// observe wraps everything: request id, span, metrics, access log, recovery. It answers errors
// itself, so that log and metrics see the status that the caller sees.
func (s *server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := s.now()
		route, endpoint := s.routed(c)
		if route.probe {
			return next(c)
		}
		r, method := c.Request(), method(c)
		id := acceptRequestID(r.Header.Get(echo.HeaderXRequestID))
		c.Response().Header().Set(echo.HeaderXRequestID, id)
		s.secure(c.Response().Header())
		leave, err := s.enter(c, endpoint)
		if err != nil {
			s.shed(c, route, endpoint, method, id, err)
			return nil
		}
		defer leave()

		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := s.tracer.Start(ctx, endpoint.span, endpoint.began...)
		defer span.End()
		recording := span.IsRecording()
		if recording {
			span.SetAttributes(attribute.String("http.request.method", method),
				attribute.String("url.path", r.URL.Path), attribute.String("dawsos.request_id", id))
		}
		ctx = context.WithValue(ctx, requestIDKey{}, id)
		timeout := s.timeout
		if endpoint.streams {
			timeout = s.importTimeout
			s.extend(c, start.Add(timeout))
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		c.SetRequest(r.WithContext(ctx))

		var problem api.Problem
		if err := s.serve(c, endpoint, next); err != nil {
			problem = s.refuse(err, c)
		}

		status, took := c.Response().Status, s.now().Sub(start)
		latency := took
		if route.endpoint == pageStream {
			latency = -1
		}
		s.count(ctx, route, endpoint, method, status, latency)

		failed := status >= http.StatusInternalServerError
		outcome, _ := c.Get(outcomeKey).(string)
		if outcome != "" && outcome != succeeded { // the status was sent before the failure
			failed = StatusOf(fault.Code(outcome)) >= http.StatusInternalServerError
		}
		if recording {
			span.SetAttributes(attribute.Int("http.response.status_code", status))
			if outcome != "" {
				span.SetAttributes(attribute.String("dawsos.outcome", outcome))
			}
			if failed {
				span.SetStatus(codes.Error, cmp.Or(outcome, http.StatusText(status)))
			}
		}
		level := slog.LevelInfo
		if failed {
			level = slog.LevelError
		}
		if !s.log.Enabled(ctx, level) {
			return nil
		}
		line := make([]slog.Attr, 0, 14)
		line = append(line, slog.String("request_id", id), slog.String("method", method), slog.String("path", r.URL.Path),
			slog.String("endpoint", route.endpoint), slog.Int("status", status), slog.Int64("bytes", c.Response().Size),
			slog.Duration("duration", took.Round(time.Microsecond)), slog.String("remote", c.RealIP()))
		if p, ok := auth.From(c.Request().Context()); ok {
			line = append(line, slog.String("tenant", p.TenantID), slog.String("caller", cmp.Or(p.Subject, "anonymous")))
		}
		if outcome != "" {
			line = append(line, slog.String("outcome", outcome))
		}
		if failed && problem.Code != "" { // what the caller was told; what it must not see has a line of its own
			line = append(line, slog.String("code", problem.Code), slog.String("err", problem.Detail))
		}
		s.log.LogAttrs(ctx, level, "request", line...)
		return nil
	}
}

// probes are answered outside of logs, traces and request metrics: they would drown the rest.
var probes = map[string]bool{"/healthz": true, "/readyz": true, "/metrics": true}

// serve lets the handler have a request that is as the document wants it. A panic becomes an error
// with its stack.
//
// Echo puts the chain of middleware together anew for each request, so there is one and no more.
func (s *server) serve(c echo.Context, e *endpoint, next echo.HandlerFunc) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	o := e.operation
	if r := c.Request(); r.ProtoMajor == 1 && r.ContentLength != 0 && !e.reads(r.Method) {
		// net/http would wait for the body, which nobody reads, before it sends more than a little of the answer,
		// and the request would keep its place: a hundred clients that send none would take all there are.
		c.Response().Header().Set(echo.HeaderConnection, "close")
	}
	if o != nil {
		err = s.admit(c, o)
	} else {
		err = s.spend(c, (*admission.Rates).Address, c.RealIP())
	}
	if err != nil {
		return err
	}
	if err := s.limit(c, e); err != nil {
		return err
	}
	if o != nil {
		if err := o.check(c); err != nil {
			return err
		}
	}
	if c.Request().Method == http.MethodOptions && c.Get(echo.ContextKeyHeaderAllow) != nil {
		// Echo would say which methods there are, with 204: that is all that a preflight of CORS asks for,
		// beside headers that are never sent.
		return echo.MethodNotAllowedHandler(c)
	}
	return next(c)
}

// reads reports whether a request's body is of any use: an operation's, or a form's of a page.
func (e *endpoint) reads(method string) bool {
	if e.operation != nil {
		return e.operation.body != nil
	}
	return method == http.MethodPost
}

// answerTime is for sending an answer when all of a request's time went into it.
const answerTime = 10 * time.Second

// readGrace is how much later than a request's context its reading ends: an error of reading ends the
// context, too, and would pass for a client that has left.
const readGrace = time.Second

// extend gives a request until then to be read, and its answer a little longer to be sent: the server's
// own limits are for requests whose bodies are small.
func (s *server) extend(c echo.Context, until time.Time) {
	control := http.NewResponseController(c.Response())
	s.deadline(c, control.SetReadDeadline(until.Add(readGrace)), control.SetWriteDeadline(until.Add(answerTime)))
}

// interrupt ends a Read of the request's body that waits for a client: the answer would wait for it, too.
func (s *server) interrupt(c echo.Context) {
	s.deadline(c, http.NewResponseController(c.Response()).SetReadDeadline(time.Unix(1, 0)))
}

func (s *server) deadline(c echo.Context, errs ...error) {
	if err := errors.Join(errs...); err != nil && !errors.Is(err, http.ErrNotSupported) { // recorders have none
		s.log.DebugContext(c.Request().Context(), "deadline not set", "request_id", requestID(c), "err", err)
	}
}

// limit bounds what a handler may read.
func (s *server) limit(c echo.Context, e *endpoint) error {
	if err := coded(c); err != nil {
		return err
	}
	r, most := c.Request(), s.maxBody
	if e.streams {
		most = s.importMax
	}
	if o := e.operation; o != nil && o.body != nil && o.body.most > 0 {
		most = min(most, o.body.most)
	}
	if r.ContentLength > most {
		return fault.New(fault.TooLarge, "the body is larger than %d bytes", most)
	}
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = http.MaxBytesReader(c.Response(), r.Body, most)
	}
	return nil
}

type requestIDKey struct{}

// requestIDFrom returns the id of the request that ctx belongs to.
func requestIDFrom(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

func requestID(c echo.Context) string { return requestIDFrom(c.Request().Context()) }

// acceptRequestID keeps a caller's id when it is harmless in logs, and makes one otherwise.
func acceptRequestID(given string) string {
	if harmless(given) {
		return given
	}
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails: it ends the process rather
	return hex.EncodeToString(random[:])
}

// harmless reports whether an id has 1 to 64 letters, digits, dots, dashes and underscores.
func harmless(id string) bool {
	for i := range len(id) {
		switch b := id[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '.', b == '-', b == '_':
		default:
			return false
		}
	}
	return id != "" && len(id) <= 64
}
