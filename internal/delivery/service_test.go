package delivery_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
)

// journal is a Journal in memory that can refuse. The real one is tested in internal/store.
type journal struct {
	acceptErr error
	recordErr error

	earlier    *delivery.Earlier
	duplicates map[string]uuid.UUID // by target: the event that says the same

	mu          sync.Mutex
	accepted    []delivery.Event
	acceptances []delivery.Acceptance
	recorded    []delivery.Verdict
	letters     map[string]uuid.UUID // by channel
}

func (j *journal) Accept(_ context.Context, as []delivery.Acceptance, _ *delivery.Idempotency) ([]delivery.Accepted, *delivery.Earlier, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.acceptErr != nil {
		return nil, nil, j.acceptErr
	}
	if j.earlier != nil {
		return nil, j.earlier, nil
	}
	accepted := make([]delivery.Accepted, len(as))
	for i, a := range as {
		j.accepted = append(j.accepted, a.Event)
		j.acceptances = append(j.acceptances, a)
		accepted[i].Duplicates = make([]uuid.UUID, len(a.Event.Targets))
		for k, t := range a.Event.Targets {
			accepted[i].Duplicates[k] = j.duplicates[t.Key()]
		}
	}
	return accepted, nil, nil
}

func (j *journal) Earlier(context.Context, delivery.Idempotency) (*delivery.Earlier, error) {
	return j.earlier, nil
}

func (j *journal) RecordAnswer(context.Context, delivery.Idempotency, json.RawMessage) error {
	return nil
}

func (j *journal) RecordFirst(ctx context.Context, v delivery.Verdict) (uuid.UUID, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return uuid.Nil, err
	}
	if j.recordErr != nil {
		return uuid.Nil, j.recordErr
	}
	j.recorded = append(j.recorded, v)
	if v.State == delivery.Delivered {
		return uuid.Nil, nil
	}
	if j.letters == nil {
		j.letters = make(map[string]uuid.UUID)
	}
	j.letters[v.Delivery.Target.Channel] = uuid.New()
	return j.letters[v.Delivery.Target.Channel], nil
}

// channel is a Channel made of functions.
type channel struct {
	name  string
	check func(delivery.Target) error
	send  func(context.Context, delivery.Delivery) delivery.Outcome
}

func (c channel) Name() string { return c.name }

func (c channel) Check(t delivery.Target) error {
	if c.check == nil {
		return nil
	}
	return c.check(t)
}

func (c channel) Endpoint(t delivery.Target) delivery.Endpoint {
	return delivery.Endpoint{ID: c.name, URL: t.URL}
}

func (channel) CheckEndpoint(delivery.Endpoint) error { return nil }

func (c channel) Send(ctx context.Context, d delivery.Delivery) delivery.Outcome {
	return c.send(ctx, d)
}

func answering(name string, o delivery.Outcome) channel {
	return channel{name: name, send: func(context.Context, delivery.Delivery) delivery.Outcome { return o }}
}

// observed is one call of an Observer.
type observed struct {
	agent, capability string
	err               error
	took              time.Duration
}

type observer struct {
	mu    sync.Mutex
	calls []observed
}

func (o *observer) Observe(_ context.Context, agentName, capability string, err error, d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, observed{agentName, capability, err, d})
}

// bundle is what surrounds a Service or Retrier in a test.
type bundle struct {
	journal  *journal
	observer *observer
	log      *bytes.Buffer
	spans    *tracetest.SpanRecorder
	registry *prometheus.Registry
	options  delivery.Options
}

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func setup(t *testing.T, channels ...delivery.Channel) *bundle {
	t.Helper()
	b := &bundle{journal: &journal{}, observer: &observer{}, log: &bytes.Buffer{}, spans: tracetest.NewSpanRecorder(), registry: prometheus.NewRegistry()}
	tracing := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(b.spans))
	b.options = delivery.Options{
		Channels: channels, Metrics: delivery.NewMetrics(b.registry), DedupWindow: 24 * time.Hour,
		Schedule: delivery.Schedule{Delays: []time.Duration{time.Minute, time.Hour}, Jitter: 0.5},
		Timeout:  10 * time.Second, Observer: b.observer,
		Log:    slog.New(slog.NewTextHandler(&synced{w: b.log}, nil)),
		Tracer: tracing.Tracer("test"),
		Now:    func() time.Time { return noon },
		Rand:   func() float64 { return 0.5 },
	}
	return b
}

// synced makes a buffer safe for the attempts of several channels.
type synced struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (s *synced) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

func event(channels ...string) delivery.Event {
	e := someDelivery().Event
	e.ID = uuid.Nil
	for _, c := range channels {
		e.Targets = append(e.Targets, delivery.Target{Channel: c})
	}
	return e
}

func TestDeliverReportsEachChannelInTheOrderOfItsTargets(t *testing.T) {
	t.Parallel()
	b := setup(t,
		answering("good", delivery.Outcome{StatusCode: 204}),
		answering("broken", delivery.Outcome{Cause: delivery.HTTP5xx, Retry: true, StatusCode: 503, Detail: "the receiver answered 503"}),
		answering("refusing", delivery.Outcome{Cause: delivery.HTTP4xx, StatusCode: 404, Detail: "the receiver answered 404"}),
	)
	service := delivery.NewService(b.journal, b.options)
	receipt, err := service.Deliver(t.Context(), event("refusing", "good", "broken"))
	require.NoError(t, err)

	require.Equal(t, noon, receipt.AcceptedAt)
	require.Equal(t, uuid.Version(7), receipt.EventID.Version(), "ids are ordered by acceptance")
	require.Equal(t, []delivery.TargetReceipt{
		{Target: delivery.Target{Channel: "refusing"}, State: delivery.Exhausted, DeadLetterID: b.journal.letters["refusing"], Cause: delivery.HTTP4xx},
		{Target: delivery.Target{Channel: "good"}, State: delivery.Delivered},
		{
			Target: delivery.Target{Channel: "broken"}, State: delivery.Pending, DeadLetterID: b.journal.letters["broken"],
			Cause: delivery.HTTP5xx, NextRetryAt: noon.Add(time.Minute),
		},
	}, receipt.Targets)

	require.Len(t, b.journal.accepted, 1)
	require.Equal(t, receipt.EventID, b.journal.accepted[0].ID)
	require.Len(t, b.journal.recorded, 3)
	for _, v := range b.journal.recorded {
		require.Equal(t, 1, v.Attempt.Number)
		require.Equal(t, receipt.EventID, v.Delivery.Event.ID)
	}
	require.ElementsMatch(t, []string{"deliver_good <nil>", "deliver_broken http_5xx: the receiver answered 503", "deliver_refusing http_4xx: the receiver answered 404"},
		b.observer.words(t, "alert_delivery"))
}

// TestTimesLeadToTheirTraces looks for the trace of an attempt in both histograms.
func TestTimesLeadToTheirTraces(t *testing.T) {
	t.Parallel()
	b := setup(t, answering("good", delivery.Outcome{StatusCode: 204}))
	_, err := delivery.NewService(b.journal, b.options).Deliver(t.Context(), event("good"))
	require.NoError(t, err)
	families, err := b.registry.Gather()
	require.NoError(t, err)
	got := map[string]string{}
	for _, family := range families {
		for _, bucket := range family.GetMetric()[0].GetHistogram().GetBucket() {
			if e := bucket.GetExemplar(); e != nil {
				got[family.GetName()] = e.GetLabel()[0].GetName() + "=" + e.GetLabel()[0].GetValue()
			}
		}
	}
	want := "trace_id=" + b.spans.Ended()[0].SpanContext().TraceID().String()
	require.Equal(t, map[string]string{
		"dawsos_delivery_latency_seconds": want, "dawsos_delivery_attempt_duration_seconds": want,
	}, got)
}

func (o *observer) words(t *testing.T, agentName string) []string {
	t.Helper()
	var words []string
	for _, c := range o.calls {
		require.Equal(t, agentName, c.agent)
		words = append(words, fmt.Sprintf("%s %v", c.capability, c.err))
	}
	return words
}

func TestDeliverSendsNothingThatWasNotAccepted(t *testing.T) {
	t.Parallel()
	unreachable := channel{
		name: "hook",
		check: func(target delivery.Target) error {
			if target.URL == "bad" {
				return fault.InvalidField("/channels/hook/url", "must be better")
			}
			return nil
		},
		send: func(context.Context, delivery.Delivery) delivery.Outcome { panic("sent without acceptance") },
	}
	deep := strings.Repeat(`{"a":`, 101) + "1" + strings.Repeat("}", 101)
	deepest := strings.Repeat("[", 9_999) + strings.Repeat("]", 9_999)
	huge := `{"a":[` + strings.Repeat("1e131000,", 100) + `1]}`
	tests := []struct {
		name    string
		event   func(*delivery.Event)
		journal error
		code    fault.Code
		pointer string
	}{
		{"no channel", func(e *delivery.Event) { e.Targets = nil }, nil, fault.Invalid, "/channels"},
		{"unknown channel", func(e *delivery.Event) { e.Targets[0].Channel = "pigeon" }, nil, fault.Invalid, "/channels/pigeon"},
		{"a target that the channel refuses", func(e *delivery.Event) { e.Targets[0].URL = "bad" }, nil, fault.Invalid, "/channels/hook/url"},
		{"one target of two", func(e *delivery.Event) {
			e.Targets = append([]delivery.Target{{Channel: "other"}}, delivery.Target{Channel: "hook", URL: "bad"})
		}, nil, fault.Invalid, "/channels/hook/url"},
		{"data that is no JSON", func(e *delivery.Event) { e.Data = json.RawMessage(`{"a"`) }, nil, fault.Invalid, "/data"},
		{"data that is too deep", func(e *delivery.Event) { e.Data = json.RawMessage(deep) }, nil, fault.Invalid, "/data"},
		{"data as deep as JSON can be", func(e *delivery.Event) { e.Data = json.RawMessage(deepest) }, nil, fault.Invalid, "/data"},
		{"numbers that grow", func(e *delivery.Event) { e.Data = json.RawMessage(huge) }, nil, fault.Invalid, "/data"},
		{"numbers that shrink", func(e *delivery.Event) { e.Data = json.RawMessage(strings.ReplaceAll(huge, "1e", "1e-")) }, nil, fault.Invalid, "/data"},
		{"a number beyond all use", func(e *delivery.Event) { e.Data = json.RawMessage(`{"a":1e99999999999999999999}`) }, nil, fault.Invalid, "/data"},
		{"the journal refuses", func(*delivery.Event) {}, fault.New(fault.Invalid, "no"), fault.Invalid, ""},
		{"the journal is down", func(*delivery.Event) {}, errors.New("connection lost"), fault.Internal, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, unreachable, answering("other", delivery.Outcome{}))
			b.journal.acceptErr = tt.journal
			e := event("hook")
			tt.event(&e)
			receipt, err := delivery.NewService(b.journal, b.options).Deliver(t.Context(), e)
			require.Equal(t, tt.code, fault.CodeOf(err), "%v", err)
			require.Zero(t, receipt)
			require.Empty(t, b.journal.accepted)
			require.Empty(t, b.observer.calls)
			if tt.pointer != "" {
				problem, ok := errors.AsType[*fault.Error](err)
				require.True(t, ok)
				require.Len(t, problem.Fields, 1)
				require.Equal(t, tt.pointer, problem.Fields[0].Pointer)
			}
		})
	}
}

func TestDeliverAcceptsDataAtItsLimits(t *testing.T) {
	t.Parallel()
	data := []string{
		strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100),
		`{"a":[1.7976931348623157e308,5e-324,0.1,-12345678901234567890123456789]}`,
		`{}`,
	}
	for _, d := range data {
		b := setup(t, answering("good", delivery.Outcome{}))
		e := event("good")
		e.Data = json.RawMessage(d)
		_, err := delivery.NewService(b.journal, b.options).Deliver(t.Context(), e)
		require.NoError(t, err, d)
		require.Equal(t, d, string(b.journal.accepted[0].Data), "data is handed on as it came")
	}
}

// One channel's trouble is not the others': not its failure, not its panic, not its slowness.
func TestDeliverKeepsChannelsApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hanging := channel{name: "hanging", send: func(ctx context.Context, _ delivery.Delivery) delivery.Outcome {
			<-ctx.Done()
			return delivery.Outcome{Cause: delivery.Timeout, Retry: true, Detail: "no answer"}
		}}
		panicking := channel{name: "panicking", send: func(context.Context, delivery.Delivery) delivery.Outcome {
			panic("secret of the panic")
		}}
		b := setup(t, answering("good", delivery.Outcome{}), hanging, panicking)
		b.options.Now = time.Now
		start := time.Now()
		receipt, err := delivery.NewService(b.journal, b.options).Deliver(t.Context(), event("good", "hanging", "panicking"))
		require.NoError(t, err)
		require.Equal(t, b.options.Timeout, time.Since(start), "an attempt takes its timeout at the most")

		require.Equal(t, delivery.Delivered, receipt.Targets[0].State)
		require.Equal(t, delivery.Pending, receipt.Targets[1].State)
		require.Equal(t, delivery.Timeout, receipt.Targets[1].Cause)
		require.Equal(t, delivery.Pending, receipt.Targets[2].State)
		require.Equal(t, delivery.Internal, receipt.Targets[2].Cause)
		for _, v := range b.journal.recorded {
			require.NotContains(t, v.Attempt.Outcome.Detail, "secret", "the detail is shown, the log has the rest")
			if v.Delivery.Target.Channel == "hanging" {
				require.Equal(t, b.options.Timeout, v.Attempt.Duration)
			}
		}
		require.Contains(t, b.log.String(), "secret of the panic")
		require.Contains(t, b.log.String(), "service_test.go", "the log has the stack")
	})
}

// Who asked may be gone: the event is ours.
func TestDeliverFinishesForACallerThatWentAway(t *testing.T) {
	t.Parallel()
	ctx, leave := context.WithCancel(t.Context())
	slow := channel{name: "slow", send: func(ctx context.Context, _ delivery.Delivery) delivery.Outcome {
		leave()
		if ctx.Err() != nil {
			return delivery.Outcome{Cause: delivery.Interrupted, Retry: true}
		}
		_, hasDeadline := ctx.Deadline()
		if !hasDeadline {
			return delivery.Outcome{Cause: delivery.Internal, Detail: "no deadline"}
		}
		return delivery.Outcome{}
	}}
	b := setup(t, slow)
	receipt, err := delivery.NewService(b.journal, b.options).Deliver(ctx, event("slow"))
	require.NoError(t, err)
	require.Error(t, ctx.Err())
	require.Equal(t, delivery.Delivered, receipt.Targets[0].State)
	require.Len(t, b.journal.recorded, 1)
}

func TestDeliverSaysInFlightWhenTheOutcomeIsNotRecorded(t *testing.T) {
	t.Parallel()
	for _, o := range []delivery.Outcome{{}, {Cause: delivery.HTTP4xx}} {
		b := setup(t, answering("hook", o))
		b.journal.recordErr = errors.New("connection lost")
		receipt, err := delivery.NewService(b.journal, b.options).Deliver(t.Context(), event("hook"))
		require.NoError(t, err, "the event is accepted: that its outcome is not known is no failure of the request")
		require.Equal(t, []delivery.TargetReceipt{{Target: delivery.Target{Channel: "hook"}, State: delivery.InFlight}}, receipt.Targets)
		require.Contains(t, b.log.String(), receipt.EventID.String())
	}
}

func TestAttemptsAreFitToBeStored(t *testing.T) {
	t.Parallel()
	b := setup(t, answering("hook", delivery.Outcome{
		Cause: delivery.HTTP5xx, Retry: true, Detail: "bad\x00\xff", Excerpt: strings.Repeat("x", 5000),
	}))
	_, err := delivery.NewService(b.journal, b.options).Deliver(t.Context(), event("hook"))
	require.NoError(t, err)
	o := b.journal.recorded[0].Attempt.Outcome
	require.Equal(t, "bad\uFFFD\uFFFD", o.Detail)
	require.Len(t, o.Excerpt, 1024)
}

// A trace leads from the request that was accepted over the attempt to its row.
func TestDeliverIsTraced(t *testing.T) {
	t.Parallel()
	b := setup(t, answering("hook", delivery.Outcome{Cause: delivery.Connect, Retry: true, Detail: "refused"}))
	ctx, request := b.options.Tracer.Start(t.Context(), "request")
	_, err := delivery.NewService(b.journal, b.options).Deliver(ctx, event("hook"))
	require.NoError(t, err)
	request.End()

	traceID, spanID := request.SpanContext().TraceID().String(), request.SpanContext().SpanID().String()
	require.Equal(t, "00-"+traceID+"-"+spanID+"-01", b.journal.accepted[0].TraceParent)
	require.Equal(t, traceID, b.journal.recorded[0].Attempt.TraceID)
	span := b.spans.Ended()[0]
	require.Equal(t, "deliver hook", span.Name())
	require.Equal(t, spanID, span.Parent().SpanID().String())
	require.Equal(t, codes.Error, span.Status().Code)
}

func TestDeliverWithoutTracing(t *testing.T) {
	t.Parallel()
	b := setup(t, answering("hook", delivery.Outcome{}))
	b.options.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())).Tracer("")
	_, err := delivery.NewService(b.journal, b.options).Deliver(t.Context(), event("hook"))
	require.NoError(t, err)
	require.Empty(t, b.journal.accepted[0].TraceParent)
}

func letter(attempts, retries int) delivery.DeadLetter {
	e := event("hook")
	e.ID = uuid.New()
	return delivery.DeadLetter{ID: uuid.New(), Event: e, State: delivery.Pending, Attempts: attempts, RetryCount: retries}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	failing := delivery.Outcome{Cause: delivery.HTTP5xx, Retry: true, StatusCode: 500, Detail: "again"}
	tests := []struct {
		name     string
		outcome  delivery.Outcome
		attempts int
		retries  int
		number   int
		state    delivery.State
		next     time.Time
	}{
		{"the first retry delivers", delivery.Outcome{}, 1, 0, 2, delivery.Delivered, time.Time{}},
		{"the first retry fails", failing, 1, 0, 2, delivery.Pending, noon.Add(time.Hour)},
		{"the last retry fails", failing, 2, 1, 3, delivery.Exhausted, time.Time{}},
		// Interruptions use up numbers of attempts, but nothing of the schedule.
		{"after interruptions", failing, 5, 0, 6, delivery.Pending, noon.Add(time.Hour)},
		{"refused for good", delivery.Outcome{Cause: delivery.HTTP4xx}, 1, 0, 2, delivery.Exhausted, time.Time{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var sent delivery.Delivery
			b := setup(t, channel{name: "hook", send: func(_ context.Context, d delivery.Delivery) delivery.Outcome {
				sent = d
				return tt.outcome
			}})
			l := letter(tt.attempts, tt.retries)
			v := delivery.NewRetrier(b.options).Retry(t.Context(), l)
			require.Equal(t, tt.state, v.State)
			require.Equal(t, tt.number, v.Attempt.Number)
			require.Equal(t, tt.next, v.NextRetryAt)
			require.Equal(t, delivery.Delivery{Event: l.Event, Target: l.Target(), Endpoint: delivery.Endpoint{ID: "hook"}, Attempt: tt.number}, sent)
			require.Len(t, b.observer.calls, 1)
			require.Equal(t, "alert_retry_worker", b.observer.calls[0].agent)
			require.Equal(t, "retry_delivery", b.observer.calls[0].capability)
			require.Equal(t, tt.outcome.Delivered(), b.observer.calls[0].err == nil)
		})
	}
}

// A letter of a newer release during a rollback waits for the roll-forward.
func TestRetryOnAChannelThatThisProcessDoesNotKnow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := delivery.NewRetrier(b.options).Retry(t.Context(), letter(1, 0))
	require.Equal(t, delivery.Pending, v.State)
	require.Equal(t, delivery.Internal, v.Attempt.Outcome.Cause)
}

// The stop of our own process says nothing about the receiver: such an attempt is neither counted
// nor told as a failure.
func TestRetryThatIsCutShortByTheStopOfTheProcess(t *testing.T) {
	t.Parallel()
	for _, cause := range []delivery.Cause{delivery.Interrupted, delivery.Internal, delivery.Timeout} {
		ctx, stop := context.WithCancel(t.Context())
		b := setup(t, channel{name: "hook", send: func(ctx context.Context, _ delivery.Delivery) delivery.Outcome {
			stop()
			<-ctx.Done()
			return delivery.Outcome{Cause: cause, Retry: true, Detail: "context canceled"}
		}})
		v := delivery.NewRetrier(b.options).Retry(ctx, letter(1, 0))
		require.Equal(t, delivery.InFlight, v.State, "nothing is known")
		require.Empty(t, b.observer.calls)
		require.NotContains(t, b.log.String(), "failed")
	}
}

// An attempt that its job's deadline ends counts: else it would be made again and again.
func TestRetryThatRunsOutOfItsJobsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, channel{name: "hook", send: func(ctx context.Context, _ delivery.Delivery) delivery.Outcome {
			<-ctx.Done()
			return delivery.Outcome{Cause: delivery.Timeout, Retry: true, Detail: "no answer"}
		}})
		ctx, cancel := context.WithTimeout(t.Context(), b.options.Timeout/2)
		defer cancel()
		v := delivery.NewRetrier(b.options).Retry(ctx, letter(1, 0))
		require.Equal(t, delivery.Pending, v.State)
		require.Equal(t, delivery.Timeout, v.Attempt.Outcome.Cause)
		require.Len(t, b.observer.calls, 1)
	})
}

// What the receiver has said counts, stop or not.
func TestRetryThatIsAnsweredWhileTheProcessStops(t *testing.T) {
	t.Parallel()
	tests := []struct {
		outcome delivery.Outcome
		state   delivery.State
	}{
		{delivery.Outcome{}, delivery.Delivered},
		{delivery.Outcome{Cause: delivery.HTTP5xx, Retry: true, StatusCode: 500}, delivery.Pending},
		{delivery.Outcome{Cause: delivery.HTTP4xx, StatusCode: 410}, delivery.Exhausted},
	}
	for _, tt := range tests {
		ctx, stop := context.WithCancel(t.Context())
		b := setup(t, channel{name: "hook", send: func(context.Context, delivery.Delivery) delivery.Outcome {
			stop()
			return tt.outcome
		}})
		require.Equal(t, tt.state, delivery.NewRetrier(b.options).Retry(ctx, letter(1, 0)).State)
		require.Len(t, b.observer.calls, 1)
	}
}
