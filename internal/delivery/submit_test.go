package delivery_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
)

// destinations are stored destinations by name.
type destinations map[string]delivery.Destination

func (d destinations) Destination(_ context.Context, _, name string) (delivery.Destination, error) {
	if name == "unreadable" {
		return delivery.Destination{}, errors.New("connection lost")
	}
	dest, ok := d[name]
	if !ok {
		return delivery.Destination{}, fault.New(fault.NotFound, "no destination %s", name)
	}
	return dest, nil
}

// gate lets through what it has no hold for, and tells of a recovery behind each success.
type gate struct {
	hold      *delivery.Hold
	entered   []delivery.Endpoint
	patience  []time.Duration
	left      []delivery.Outcome
	recovered bool
}

func (g *gate) Enter(_ context.Context, _ string, e delivery.Endpoint, patience time.Duration) (delivery.Pass, *delivery.Hold) {
	g.entered, g.patience = append(g.entered, e), append(g.patience, patience)
	if g.hold != nil {
		return nil, g.hold
	}
	return g, nil
}

func (g *gate) Leave(o delivery.Outcome) bool {
	g.left = append(g.left, o)
	return g.recovered && o.Delivered()
}

type recoveries struct {
	endpoints []string
	unbounded bool
}

func (r *recoveries) EndpointRecovered(ctx context.Context, tenantID, endpoint string) error {
	_, bounded := ctx.Deadline()
	r.endpoints, r.unbounded = append(r.endpoints, tenantID+" "+endpoint), r.unbounded || !bounded
	return nil
}

func TestDestinationsAreLookedUpBeforeEachAttempt(t *testing.T) {
	t.Parallel()
	var sent []delivery.Endpoint
	hook := channel{name: "hook", send: func(_ context.Context, d delivery.Delivery) delivery.Outcome {
		sent = append(sent, d.Endpoint)
		return delivery.Outcome{}
	}}
	endpoint := delivery.Endpoint{ID: "destination:ops", URL: "https://example.org/", Secrets: []string{"s"}}
	stored := destinations{
		"ops": {Name: "ops", Channel: "hook", Enabled: true, Endpoint: endpoint},
		"off": {Name: "off", Channel: "hook", Endpoint: endpoint},
	}
	b := setup(t, hook)
	b.options.Destinations = stored
	service := delivery.NewService(b.journal, b.options)
	to := func(name string) delivery.Event {
		e := event()
		e.Targets = []delivery.Target{{Channel: "hook", Destination: name}}
		return e
	}
	receipt, err := service.Deliver(t.Context(), to("ops"))
	require.NoError(t, err)
	require.Equal(t, delivery.Delivered, receipt.Targets[0].State)
	require.Equal(t, []delivery.Endpoint{endpoint}, sent)

	receipt, err = service.Deliver(t.Context(), to("off"))
	require.NoError(t, err)
	require.Equal(t, delivery.Exhausted, receipt.Targets[0].State)
	require.Equal(t, delivery.Rejected, receipt.Targets[0].Cause)

	_, err = service.Deliver(t.Context(), to("nobody"))
	problem, ok := errors.AsType[*fault.Error](err)
	require.True(t, ok)
	require.Equal(t, "/channels/destination", problem.Fields[0].Pointer)

	// Gone since: it says so, and waits for nothing.
	retrier := delivery.NewRetrier(b.options)
	letter := delivery.DeadLetter{Event: to("ops"), Attempts: 1}
	delete(stored, "ops")
	v := retrier.Retry(t.Context(), letter)
	require.Equal(t, delivery.Exhausted, v.State)
	require.Contains(t, v.Attempt.Outcome.Detail, "destination ops no longer exists")
	letter.Event = to("unreadable")
	v = retrier.Retry(t.Context(), letter)
	require.Equal(t, delivery.Pending, v.State)
	require.NotContains(t, v.Attempt.Outcome.Detail, "connection lost")
	require.Len(t, sent, 1)
}

func TestHeldAttemptsUseUpNothing(t *testing.T) {
	t.Parallel()
	silent := channel{name: "hook", send: func(context.Context, delivery.Delivery) delivery.Outcome { panic("sent") }}
	until := noon.Add(time.Minute)
	for reason, state := range map[delivery.HoldReason]delivery.State{
		delivery.HeldByBreaker: delivery.Pending, delivery.HeldByRate: delivery.InFlight, delivery.HeldByConcurrency: delivery.InFlight,
	} {
		b := setup(t, silent)
		g := &gate{hold: &delivery.Hold{Reason: reason, Until: until}}
		b.options.Gate = g
		receipt, err := delivery.NewService(b.journal, b.options).Deliver(t.Context(), event("hook"))
		require.NoError(t, err)
		require.Equal(t, state, receipt.Targets[0].State)
		require.Len(t, b.journal.recorded, 1, "it is written down where it waits")
		require.Equal(t, reason, b.journal.recorded[0].Hold.Reason)
		require.Zero(t, b.journal.recorded[0].Attempt.Number)

		v := delivery.NewRetrier(b.options).Retry(t.Context(), delivery.DeadLetter{Event: event("hook"), Attempts: 2, RetryCount: 1})
		require.Equal(t, delivery.Pending, v.State)
		require.Equal(t, until, v.NextRetryAt)
		require.Zero(t, v.Attempt.Number)
		// Held before its first attempt, it waits like any other: the second look must not be the first's.
		b.options.Schedule.Delays = []time.Duration{time.Second}
		v = delivery.NewRetrier(b.options).Retry(t.Context(), delivery.DeadLetter{Event: event("hook")})
		require.Equal(t, delivery.Pending, v.State)
		require.Equal(t, until, v.NextRetryAt)
		require.Equal(t, []time.Duration{time.Second, 0, 0}, g.patience, "a caller waits for a first attempt, nobody for a retry")
		require.Empty(t, g.left)
		require.Empty(t, b.observer.calls, "what was not attempted is not counted")
	}
}

// A hold by a breaker is told once, not with each look at it.
func TestAHoldByABreakerIsTold(t *testing.T) {
	t.Parallel()
	until := noon.Add(time.Minute)
	for reason, lines := range map[delivery.HoldReason]int{delivery.HeldByBreaker: 1, delivery.HeldByRate: 0, delivery.HeldByConcurrency: 0} {
		b := setup(t, answering("hook", delivery.Outcome{}))
		b.options.Destinations = destinations{"ops": {Name: "ops", Channel: "hook", Enabled: true, Endpoint: delivery.Endpoint{ID: "destination:ops"}}}
		b.options.Gate = &gate{hold: &delivery.Hold{Reason: reason, Until: until}}
		told := func(about string) {
			t.Helper()
			require.Equal(t, lines, strings.Count(b.log.String(), "not sent, its endpoint is taken for broken"), "%s held by %s", about, reason)
			if lines > 0 {
				for _, part := range []string{"level=INFO", "event_id=", "channel=hook", "target=destination:ops", "endpoint=destination:ops", "until=2026-"} {
					require.Contains(t, b.log.String(), part)
				}
			}
			b.log.Reset()
		}
		e := event()
		e.Targets = []delivery.Target{{Channel: "hook", Destination: "ops"}}
		_, err := delivery.NewService(b.journal, b.options).Deliver(t.Context(), e)
		require.NoError(t, err)
		told("a first attempt")
		retrier, l := delivery.NewRetrier(b.options), delivery.DeadLetter{Event: e, Attempts: 2, RetryCount: 1}
		retrier.Retry(t.Context(), l)
		told("a retry")
		l.HeldBy = reason
		retrier.Retry(t.Context(), l)
		require.Empty(t, b.log.String(), "it is known to be held by %s", reason)
	}
}

// The worker may know better than the breaker of the API, from when it would have tried again.
func TestAFirstAttemptBehindABreakerIsDueAsIfItHadFailed(t *testing.T) {
	t.Parallel()
	for until, want := range map[time.Time]time.Time{
		noon.Add(time.Hour): noon.Add(time.Minute), noon.Add(time.Second): noon.Add(time.Second),
	} {
		b := setup(t, answering("hook", delivery.Outcome{}))
		b.options.Gate = &gate{hold: &delivery.Hold{Reason: delivery.HeldByBreaker, Until: until}}
		receipt, err := delivery.NewService(b.journal, b.options).Deliver(t.Context(), event("hook"))
		require.NoError(t, err)
		require.Equal(t, want, receipt.Targets[0].NextRetryAt)
	}
}

func TestARecoveredEndpointIsToldOf(t *testing.T) {
	t.Parallel()
	b := setup(t, answering("good", delivery.Outcome{}), answering("bad", delivery.Outcome{Cause: delivery.HTTP5xx, Retry: true}))
	g, r := &gate{recovered: true}, &recoveries{}
	b.options.Gate, b.options.Recoveries = g, r
	e := event("good")
	e.TenantID = "default"
	service := delivery.NewService(b.journal, b.options)
	_, err := service.Deliver(t.Context(), e)
	require.NoError(t, err)
	_, err = service.Deliver(t.Context(), event("bad"))
	require.NoError(t, err)
	require.Equal(t, []string{"default good"}, r.endpoints)
	require.False(t, r.unbounded, "the attempt that succeeded waits for it, and is not recorded yet")
	require.Equal(t, []delivery.Outcome{{}, {Cause: delivery.HTTP5xx, Retry: true}}, g.left)
}

func TestTimeToLive(t *testing.T) {
	t.Parallel()
	b := setup(t, answering("bad", delivery.Outcome{Cause: delivery.HTTP5xx, Retry: true}))
	service := delivery.NewService(b.journal, b.options)
	e := event("bad")
	e.ExpiresAt = noon
	_, err := service.Deliver(t.Context(), e)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))

	e.ExpiresAt = noon.Add(20 * time.Second) // before the first retry is due
	receipt, err := service.Deliver(t.Context(), e)
	require.NoError(t, err)
	require.Equal(t, delivery.Pending, receipt.Targets[0].State)
	require.Equal(t, e.ExpiresAt, receipt.Targets[0].NextRetryAt, "then it expires")

	b.options.Now = func() time.Time { return e.ExpiresAt }
	v := delivery.NewRetrier(b.options).Retry(t.Context(), delivery.DeadLetter{Event: e, Attempts: 1})
	require.Equal(t, delivery.Expired, v.State)
	require.Zero(t, v.Attempt.Number)
	v, err = delivery.NewService(b.journal, b.options).FirstLater(t.Context(), e, e.Targets[0], noon)
	require.NoError(t, err)
	require.Equal(t, delivery.Expired, v.State)
}

func TestWhatHasEndedIsNotSentAgain(t *testing.T) {
	t.Parallel()
	b := setup(t, answering("hook", delivery.Outcome{StatusCode: 204}))
	e := event("hook")
	e.Ended = true
	v := delivery.NewRetrier(b.options).Retry(t.Context(), delivery.DeadLetter{Event: e, Attempts: 1})
	require.Equal(t, delivery.Superseded, v.State)
	require.Zero(t, v.Attempt.Number)
	require.Equal(t, noon, v.DecidedAt)
	require.Empty(t, b.observer.calls)
}

func TestRetryAfterPutsOffAndIsCapped(t *testing.T) {
	t.Parallel()
	for asked, want := range map[time.Duration]time.Duration{
		0: time.Minute, time.Second: time.Minute, 10 * time.Minute: 10 * time.Minute, 1000 * time.Hour: 6 * time.Hour,
	} {
		b := setup(t, answering("busy", delivery.Outcome{Cause: delivery.HTTP429, Retry: true, RetryAfter: asked}))
		receipt, err := delivery.NewService(b.journal, b.options).Deliver(t.Context(), event("busy"))
		require.NoError(t, err)
		require.Equal(t, noon.Add(want), receipt.Targets[0].NextRetryAt, "asked for %s", asked)
	}
}

func TestSubmit(t *testing.T) {
	t.Parallel()
	b := setup(t, answering("good", delivery.Outcome{}), answering("other", delivery.Outcome{}))
	reg := prometheus.NewRegistry()
	b.options.Metrics = delivery.NewMetrics(reg)
	service := delivery.NewService(b.journal, b.options)

	_, _, err := service.Submit(t.Context(), delivery.Submission{Events: []delivery.Event{event("good"), event("pigeon")}, List: true})
	problem, ok := errors.AsType[*fault.Error](err)
	require.True(t, ok)
	require.Equal(t, "/items/1/channels/pigeon", problem.Fields[0].Pointer)
	require.Empty(t, b.journal.accepted, "all or nothing")

	receipts, _, err := service.Submit(t.Context(), delivery.Submission{Events: []delivery.Event{event("good")}, Later: true})
	require.NoError(t, err)
	require.Equal(t, delivery.InFlight, receipts[0].Targets[0].State)
	require.True(t, b.journal.acceptances[0].Later)
	require.Empty(t, b.journal.recorded)

	of := uuid.Must(uuid.NewV7())
	b.journal.duplicates = map[string]uuid.UUID{"good": of}
	receipts, _, err = service.Submit(t.Context(), delivery.Submission{Events: []delivery.Event{event("good", "other")}})
	require.NoError(t, err)
	require.Equal(t, delivery.TargetReceipt{Target: delivery.Target{Channel: "good"}, State: delivery.Duplicate, DuplicateOf: of}, receipts[0].Targets[0])
	require.Equal(t, delivery.Delivered, receipts[0].Targets[1].State)
	require.Len(t, b.journal.recorded, 1)
	n, err := testutil.GatherAndCount(reg, "dawsos_delivery_duplicates_total")
	require.NoError(t, err)
	require.Equal(t, 2, n, "the series of every channel exists")

	b.journal.earlier = &delivery.Earlier{EventIDs: []uuid.UUID{of}}
	receipts, earlier, err := service.Submit(t.Context(), delivery.Submission{
		Events: []delivery.Event{event("good")}, Idempotency: &delivery.Idempotency{Key: "k"},
	})
	require.NoError(t, err)
	require.Empty(t, receipts)
	require.Equal(t, b.journal.earlier, earlier)
	require.Len(t, b.journal.recorded, 1, "nothing is sent again")
}

// What makes an event a repetition, and until when.
func TestKeys(t *testing.T) {
	t.Parallel()
	b := setup(t, answering("good", delivery.Outcome{}), answering("other", delivery.Outcome{}))
	service := delivery.NewService(b.journal, b.options)
	key := func(change func(*delivery.Event)) string {
		e := event("good")
		change(&e)
		a, err := service.Prepare(t.Context(), e)
		require.NoError(t, err)
		return string(a.Keys[0])
	}
	same := key(func(*delivery.Event) {})
	require.Equal(t, same, key(func(e *delivery.Event) { e.Severity = delivery.Critical }), "how loud it is said is not what is said")
	for name, change := range map[string]func(*delivery.Event){
		"alert":   func(e *delivery.Event) { e.AlertID = "x" },
		"title":   func(e *delivery.Event) { e.Title = "x" },
		"message": func(e *delivery.Event) { e.Message = "x" },
		"data":    func(e *delivery.Event) { e.Data = json.RawMessage(`{"x": 1}`) },
		"user":    func(e *delivery.Event) { e.UserID = "x" },
		"channel": func(e *delivery.Event) { e.Targets[0].Channel = "other" },
	} {
		require.NotEqual(t, same, key(change), name)
	}
	monday := func(e *delivery.Event) { e.Source, e.Dedup.Occasion = delivery.Rule, "2026-05-01" }
	require.Equal(t, key(monday), key(func(e *delivery.Event) { monday(e); e.Message = "another value" }), "the occasion counts, not the words")
	require.NotEqual(t, key(monday), key(func(e *delivery.Event) { monday(e); e.Dedup.Occasion = "2026-05-02" }))
	require.NotEqual(t, key(monday), key(func(e *delivery.Event) { monday(e); e.UserID = "x" }))

	a, err := service.Prepare(t.Context(), event("good"))
	require.NoError(t, err)
	require.Equal(t, noon.Add(24*time.Hour), a.KeepUntil)
	e := event("good")
	e.Dedup.Off = true
	a, err = service.Prepare(t.Context(), e)
	require.NoError(t, err)
	require.Nil(t, a.Keys)
}
