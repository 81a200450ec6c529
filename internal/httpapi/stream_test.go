package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/pkg/api"
)

const asEvents = "text/event-stream"

// With the real engine: the stream ends with what the plain answer is.
func testExecuteAsAStream(t *testing.T, s *site) {
	t.Helper()
	var plain, streamed api.ExecuteAnswer
	s.post(t, overview, asSpecified()).into(&plain)
	a := s.post(t, overview+"?record=true", asSpecified(), "Accept", asEvents)
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	require.Equal(t, asEvents, a.header.Get("Content-Type"))
	require.Equal(t, "no-store", a.header.Get("Cache-Control"))
	require.Equal(t, "no", a.header.Get("X-Accel-Buffering"))
	events := a.events()
	last := events[len(events)-1]
	require.Equal(t, "answer", last.name)
	require.NoError(t, json.Unmarshal([]byte(last.data), &streamed))
	require.Equal(t, string(plain.Data), string(streamed.Data))
	require.Equal(t, plain.DataHash, streamed.DataHash)
	require.Equal(t, a.header.Get("X-Request-Id"), streamed.Trace.RequestId)

	// What goes wrong before the run begins has its own status.
	s.post(t, overview, `{"inputs": {}}`, "Accept", asEvents).invalid("/inputs/portfolio_id")
	s.post(t, overview, `{"input": {}}`, "Accept", asEvents).invalid("/input")
	s.post(t, overview, `{`, "Accept", asEvents).problem(400, fault.Malformed)
	s.post(t, "/v1/patterns/nope/execute", "{}", "Accept", asEvents).problem(404, fault.NotFound)
	require.Equal(t, "application/json", s.post(t, overview, asSpecified(), "Accept", "*/*").header.Get("Content-Type"))
}

// tell sends the events of a run that has begun, up to those of its second step.
func tell(on func(patterns.Event)) {
	if on == nil {
		return
	}
	step := patterns.StepTrace{Capability: "a.b", Agent: "analyst", As: "first", StartedAt: at.UTC()}
	trace := patterns.Trace{RequestID: "r", PatternID: "p", PricingPackID: "pack", Asof: "2007-05-08"}
	on(patterns.Event{Type: patterns.RunStarted, RunID: runID(7), Trace: &trace})
	on(patterns.Event{Type: patterns.StepStarted, RunID: runID(7), Step: &step})
	step.Status, step.DurationSeconds = patterns.StatusSuccess, 0.5 // the engine goes on using its own
	on(patterns.Event{Type: patterns.StepEnded, RunID: runID(7), Step: &step})
	on(patterns.Event{Type: patterns.StepSkipped, RunID: runID(7), Step: &patterns.StepTrace{
		Index: 1, Capability: "a.c", Agent: "analyst", As: "second", Status: patterns.StatusSkipped, StartedAt: at.UTC(), Reason: "not wanted",
	}})
}

func names(events []event) (list []string) {
	for _, e := range events {
		list = append(list, e.name)
	}
	return list
}

func TestEventsInOrder(t *testing.T) {
	t.Parallel()
	var asked patterns.Request
	s := newFrontSite(t, func(o *httpapi.Options) {
		o.Patterns = engine(func(_ context.Context, r patterns.Request) (*patterns.Answer, error) {
			asked = r
			tell(r.OnEvent)
			return preparedAnswer(), nil
		})
	})
	a := s.post(t, overview+"?record=true", `{"inputs": {"n": 1.10}, "asof": "2007-05-08", "require_fresh": false}`, "Accept", asEvents)
	events := a.events()
	require.Equal(t, []string{"run_started", "step_started", "step_ended", "step_skipped", "answer"}, names(events))
	require.JSONEq(t, `{"run_id": "`+runID(7)+`", "pattern_id": "p", "request_id": "r", "trace_id": "", "asof": "2007-05-08", "pricing_pack_id": "pack"}`, events[0].data)
	require.JSONEq(t, `{"index": 0, "capability": "a.b", "agent": "analyst", "as": "first", "started_at": "2026-03-02T08:30:00Z"}`, events[1].data)
	require.JSONEq(t, `{"index": 0, "capability": "a.b", "agent": "analyst", "as": "first", "status": "success", "started_at": "2026-03-02T08:30:00Z", "duration_seconds": 0.5}`, events[2].data)
	require.Contains(t, events[3].data, `"reason":"not wanted"`)

	require.Equal(t, json.Number("1.10"), asked.Inputs["n"])
	require.Equal(t, "2007-05-08", asked.Asof.Format(time.DateOnly))
	require.False(t, asked.RequireFresh)
	require.True(t, asked.Recorded)
	require.Equal(t, a.header.Get("X-Request-Id"), asked.RequestID)

	require.Equal(t, s.post(t, overview, "{}").body, []byte(events[4].data), "the same JSON as the ordinary answer")
	require.Nil(t, asked.OnEvent)
	require.True(t, asked.RequireFresh)
	require.False(t, asked.Recorded)
	require.Nil(t, asked.Asof)
}

// Events are sent as they happen, not with the answer.
func TestEventsComeAtOnce(t *testing.T) {
	t.Parallel()
	seen := make(chan struct{})
	s := newFrontSite(t, func(o *httpapi.Options) {
		o.Patterns = engine(func(ctx context.Context, r patterns.Request) (*patterns.Answer, error) {
			tell(r.OnEvent)
			select {
			case <-seen:
				return preparedAnswer(), nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
	})
	w := newWire()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, overview, strings.NewReader("{}"))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", asEvents)
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.handler.ServeHTTP(w, r)
	}()
	var got string
	for !strings.Contains(got, "step_skipped") {
		got += <-w.flushed
	}
	require.NotContains(t, got, "answer")
	close(seen)
	<-over
	require.Contains(t, <-w.flushed, "event: answer")
}

func TestTheOutcomeOfAStream(t *testing.T) {
	t.Parallel()
	breaker := &fault.Error{Code: fault.BreakerOpen, Detail: "analyst rests", RetryAfter: 1500 * time.Millisecond}
	began := func(err error) error {
		return &patterns.RunError{Err: err, Trace: patterns.Trace{
			PatternID: "p", Asof: "2007-05-08", Steps: []patterns.StepTrace{{As: "first", Status: patterns.StatusError, StartedAt: at}},
		}}
	}
	tests := []struct {
		name   string
		err    error
		panics bool
		status int
		code   fault.Code
		level  string
	}{
		{"success", nil, false, 200, "success", "INFO"},
		{"no data", began(fault.New(fault.InsufficientData, "no prices of XYZ")), false, 422, fault.InsufficientData, "INFO"},
		{"a breaker", began(breaker), false, 503, fault.BreakerOpen, "ERROR"},
		{"a defect", began(errors.New("secret of the agent")), false, 500, fault.Internal, "ERROR"},
		{"the author's mistake", began(fault.New("pattern_error", "no field x")), false, 500, "pattern_error", "ERROR"},
		{"a panic", nil, true, 500, fault.Internal, "ERROR"},
		{"out of time", context.DeadlineExceeded, false, 504, fault.Timeout, "ERROR"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			spans := tracetest.NewSpanRecorder()
			s := newFrontSite(t, func(o *httpapi.Options) {
				o.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("")
				o.Patterns = engine(func(_ context.Context, r patterns.Request) (*patterns.Answer, error) {
					tell(r.OnEvent)
					if tt.panics {
						panic("secret of the engine")
					}
					if tt.err != nil {
						return nil, tt.err
					}
					return preparedAnswer(), nil
				})
			})
			a := s.post(t, overview, "{}", "Accept", asEvents, "X-Request-Id", "the-request")
			require.Equal(t, http.StatusOK, a.status)
			events := a.events()
			last := events[len(events)-1]
			require.Len(t, events, 5)

			span := spans.Ended()[0]
			require.Contains(t, span.Attributes(), attribute.String("dawsos.outcome", string(tt.code)))
			require.Contains(t, span.Attributes(), attribute.Int("http.response.status_code", 200))
			require.Contains(t, span.Attributes(), attribute.String("dawsos.request_id", "the-request"))
			require.Equal(t, tt.level == "ERROR", span.Status().Code == codes.Error)
			require.Regexp(t, "level="+tt.level+" msg=request request_id=the-request .* status=200 .* outcome="+string(tt.code), s.log.String())
			if tt.code == "success" {
				require.Equal(t, "answer", last.name)
				return
			}
			require.Equal(t, "problem", last.name)
			var p api.Problem
			require.NoError(t, json.Unmarshal([]byte(last.data), &p))
			require.Equal(t, tt.status, p.Status)
			require.Equal(t, string(tt.code), p.Code)
			require.Equal(t, "the-request", p.RequestId)
			require.Equal(t, overview, p.Instance)
			require.NotEmpty(t, p.Title)
			require.NotContains(t, string(a.body), "secret")
			if errors.Is(tt.err, breaker) {
				require.Equal(t, 2, *p.RetryAfterSeconds)
			}
			if tt.err != nil && tt.code != fault.Timeout {
				require.Len(t, p.Trace.Steps, 1)
			}
			// The same as a plain answer, but for the status line.
			var plain api.Problem
			require.Empty(t, a.header.Get("Retry-After"))
			if !tt.panics {
				s.post(t, overview, "{}", "X-Request-Id", "the-request").into(&plain)
				require.Equal(t, plain, p)
			}
		})
	}
}

// pipes is a listener whose connections don't leave the process, so that time in them can be
// synctest's.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { close(p.done); return nil }

func (*pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// short is less time for an answer than the runs that are streamed take.
const short = 5 * time.Second

// ask serves an engine's runs over a real HTTP server, which has the given time to write an answer,
// and sends it a request for one as a stream.
func ask(t *testing.T, write time.Duration, run engine) net.Conn {
	t.Helper()
	s := newFrontSite(t, func(o *httpapi.Options) { o.Patterns = run })
	listener := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: s.handler, WriteTimeout: write, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	client, conn := net.Pipe()
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	listener.conns <- conn
	_, err := io.WriteString(client, "POST "+overview+" HTTP/1.1\r\nHost: api.test\r\nAccept: text/event-stream\r\n"+
		"Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
	require.NoError(t, err)
	return client
}

// A run may take longer than an ordinary answer, and be silent for as long.
func TestHeartbeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn := ask(t, short, func(ctx context.Context, r patterns.Request) (*patterns.Answer, error) {
			tell(r.OnEvent)
			select {
			case <-time.After(50 * time.Second):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			r.OnEvent(patterns.Event{Type: patterns.StepFailed, Step: &patterns.StepTrace{Status: patterns.StatusError}})
			select {
			case <-time.After(14 * time.Second):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			return preparedAnswer(), nil
		})
		start := time.Now()
		got, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		var lines []string
		for scanner := bufio.NewScanner(got.Body); scanner.Scan(); {
			line := scanner.Text()
			if strings.HasPrefix(line, ":") || strings.HasPrefix(line, "event: ") {
				lines = append(lines, time.Since(start).String()+" "+line)
			}
		}
		require.NoError(t, got.Body.Close())
		require.Equal(t, []string{
			"0s event: run_started", "0s event: step_started", "0s event: step_ended", "0s event: step_skipped",
			"15s : heartbeat", "30s : heartbeat", "45s : heartbeat",
			"50s event: step_failed", "1m4s event: answer",
		}, lines)
	})
}

// No heartbeat comes before the run has begun: until then the status is open.
func TestNoHeartbeatBeforeTheBeginning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn := ask(t, time.Hour, func(context.Context, patterns.Request) (*patterns.Answer, error) {
			<-time.After(40 * time.Second)
			return nil, fault.New(fault.PackNotFresh, "wait")
		})
		got, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusServiceUnavailable, got.StatusCode)
		require.Equal(t, "application/problem+json", got.Header.Get("Content-Type"))
		require.NoError(t, got.Body.Close())
	})
}

func TestAClientThatLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		conn := ask(t, short, func(ctx context.Context, r patterns.Request) (*patterns.Answer, error) {
			tell(r.OnEvent)
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		})
		start := time.Now()
		got, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		require.ErrorIs(t, <-ended, context.Canceled)
		require.Zero(t, time.Since(start), "it is noticed at once, not at the next event")
		_, err = io.Copy(io.Discard, got.Body)
		require.Error(t, err, "the stream was cut off")
		_ = got.Body.Close()
	})
}

// A client that takes nothing does not hold the run for ever.
func TestAClientThatIsStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		ask(t, short, func(ctx context.Context, r patterns.Request) (*patterns.Answer, error) {
			tell(r.OnEvent)
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		})
		start := time.Now()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.Equal(t, 10*time.Second, time.Since(start))
	})
}

// A large answer has the time that a slow line needs for it.
func TestALargeAnswerOverASlowLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		large := preparedAnswer()
		large.Data = json.RawMessage(`{"text":"` + strings.Repeat("x", 2<<20) + `"}`)
		conn := ask(t, short, func(_ context.Context, r patterns.Request) (*patterns.Answer, error) {
			tell(r.OnEvent)
			return large, nil
		})
		start := time.Now()
		var body []byte
		for piece := make([]byte, 100_000); ; {
			n, err := conn.Read(piece)
			body = append(body, piece[:n]...)
			if err != nil {
				require.ErrorIs(t, err, io.EOF)
				break
			}
			if n > 1000 {
				<-time.After(time.Second)
			}
		}
		require.Greater(t, time.Since(start), 15*time.Second)
		got, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(body)), nil)
		require.NoError(t, err)
		rest, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		require.NoError(t, got.Body.Close())
		events := (&answer{t: t, body: rest}).events()
		require.Equal(t, "answer", events[len(events)-1].name)
		require.Contains(t, events[len(events)-1].data, string(large.Data))
	})
}

// However many events a run has, telling them never holds it up.
func TestEventsDoNotHoldUpTheRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const steps = 5000
		told := make(chan time.Duration, 1)
		conn := ask(t, short, func(_ context.Context, r patterns.Request) (*patterns.Answer, error) {
			start := time.Now()
			tell(r.OnEvent)
			for i := range steps {
				r.OnEvent(patterns.Event{Type: patterns.StepEnded, Step: &patterns.StepTrace{Index: i, Status: patterns.StatusSuccess}})
			}
			told <- time.Since(start)
			return preparedAnswer(), nil
		})
		require.Zero(t, <-told, "nobody has read anything yet")
		got, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		body, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		require.NoError(t, got.Body.Close())
		events := (&answer{t: t, body: body}).events()
		require.Len(t, events, 4+steps+1)
	})
}
