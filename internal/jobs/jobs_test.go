package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/delivery/gate"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/internal/store/deliverytest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	attemptTimeout = 5 * time.Second
	patience       = 20 * time.Second // for what takes milliseconds on an idle machine
)

// channel is a delivery.Channel made of a function.
type channel func(context.Context, delivery.Delivery) delivery.Outcome

func (channel) Name() string                               { return "hook" }
func (channel) Check(delivery.Target) error                { return nil }
func (channel) Endpoint(delivery.Target) delivery.Endpoint { return delivery.Endpoint{ID: "hook"} }
func (channel) CheckEndpoint(delivery.Endpoint) error      { return nil }
func (c channel) Send(ctx context.Context, d delivery.Delivery) delivery.Outcome {
	return c(ctx, d)
}

// answers is a channel whose receiver answers one after the other, the last for ever.
func answers(outcomes ...delivery.Outcome) channel {
	var mu sync.Mutex
	return func(context.Context, delivery.Delivery) delivery.Outcome {
		mu.Lock()
		defer mu.Unlock()
		o := outcomes[0]
		if len(outcomes) > 1 {
			outcomes = outcomes[1:]
		}
		return o
	}
}

var (
	arrived = delivery.Outcome{StatusCode: 204}
	again   = delivery.Outcome{Cause: delivery.HTTP5xx, Retry: true, StatusCode: 503, Detail: "the receiver answered 503"}
	refused = delivery.Outcome{Cause: delivery.HTTP4xx, StatusCode: 404, Detail: "the receiver answered 404"}
)

// bundle is an API's and a worker's side of one database, wired as internal/app does.
type bundle struct {
	t       *testing.T
	pool    *pgxpool.Pool
	store   *store.Deliveries
	service *delivery.Service
	options delivery.Options
	tracing *sdktrace.TracerProvider
	spans   *tracetest.SpanRecorder
	quiet   *slog.Logger
}

type nobody struct{}

func (nobody) Observe(context.Context, string, string, error, time.Duration) {}

func setup(t *testing.T, c channel, delays ...time.Duration) *bundle {
	t.Helper()
	b := &bundle{t: t, pool: dbtest.New(t), spans: tracetest.NewSpanRecorder(), quiet: slog.New(slog.DiscardHandler)}
	b.tracing = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(b.spans))
	inserter := b.client(&river.Config{})
	b.store = store.NewDeliveries(b.pool, inserter, b.quiet, time.Now)
	b.options = delivery.Options{
		Channels: []delivery.Channel{c}, Schedule: delivery.Schedule{Delays: delays}, Timeout: attemptTimeout,
		Metrics: delivery.NewMetrics(prometheus.NewRegistry()), DedupWindow: time.Hour, Observer: nobody{}, Log: b.quiet, Tracer: b.tracing.Tracer("test"),
	}
	b.service = delivery.NewService(b.store, b.options)
	t.Cleanup(func() { deliverytest.RequireBalanced(t, b.pool) })
	return b
}

func (b *bundle) client(c *river.Config) *river.Client[pgx.Tx] {
	b.t.Helper()
	c.Logger, c.Middleware = b.quiet, []rivertype.Middleware{jobs.NewTracing(b.tracing.Tracer("test"))}
	client, err := river.NewClient(riverpgxv5.New(b.pool), c)
	require.NoError(b.t, err)
	return client
}

// worker is a running River client with its events.
type worker struct {
	*river.Client[pgx.Tx]
	t      *testing.T
	events <-chan *river.Event
	stop   func()
}

// work starts a worker that makes the retries, and stops it with the test if not before.
func (b *bundle) work(letters jobs.Letters) *worker {
	b.t.Helper()
	workers := river.NewWorkers()
	river.AddWorker(workers, jobs.NewRetryWorker(delivery.NewRetrier(b.options), letters, attemptTimeout, time.Now))
	river.AddWorker(workers, jobs.NewReconcileWorker(b.store, attemptTimeout, b.quiet, time.Now))
	client := b.client(&river.Config{
		Workers: workers,
		Queues: map[string]river.QueueConfig{
			jobs.QueueDelivery: {MaxWorkers: 10}, jobs.QueueUpkeep: {MaxWorkers: 2},
		},
		JobTimeout: jobs.RetryTimeout(attemptTimeout), FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 50 * time.Millisecond,
		SoftStopTimeout: 50 * time.Millisecond,
	})
	events, unsubscribe := client.Subscribe(river.EventKindJobCompleted, river.EventKindJobFailed, river.EventKindJobSnoozed,
		river.EventKindJobCancelled, river.EventKindJobInterrupted)
	require.NoError(b.t, client.Start(context.WithoutCancel(b.t.Context())))
	var once sync.Once
	w := &worker{Client: client, t: b.t, events: events, stop: func() {
		once.Do(func() {
			unsubscribe()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			require.NoError(b.t, client.Stop(ctx))
		})
	}}
	b.t.Cleanup(w.stop)
	return w
}

// wait returns the next event of a kind.
func (w *worker) wait(kind river.EventKind) *river.Event {
	w.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-w.events:
			if e.Kind == kind {
				return e
			}
			require.NotEqual(w.t, river.EventKindJobFailed, e.Kind, "%+v", e.Job)
		case <-timeout:
			require.FailNow(w.t, "no such event", kind)
		}
	}
}

// deliver takes an event on and returns its id and the letter of its failure.
func (b *bundle) deliver(ctx context.Context) (event, letter uuid.UUID) {
	b.t.Helper()
	receipt, err := b.service.Deliver(ctx, delivery.Event{
		TenantID: "default", AlertID: "nav-drop", UserID: "ada", Title: "NAV fell", Severity: delivery.Warning,
		Data: json.RawMessage("{}"), Targets: []delivery.Target{{Channel: "hook"}}, Dedup: delivery.Dedup{Off: true},
	})
	require.NoError(b.t, err)
	return receipt.EventID, receipt.Targets[0].DeadLetterID
}

func (b *bundle) history(event uuid.UUID) delivery.TargetHistory {
	b.t.Helper()
	_, channels, err := b.store.History(b.t.Context(), "default", event)
	require.NoError(b.t, err)
	return channels[0]
}

func causes(h delivery.TargetHistory) []delivery.Cause {
	list := []delivery.Cause{}
	for i, a := range h.Attempts {
		if a.Number != i+1 {
			panic(fmt.Sprintf("attempt %d is numbered %d", i+1, a.Number))
		}
		list = append(list, a.Outcome.Cause)
	}
	return list
}

func (b *bundle) exec(sql string, args ...any) {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), sql, args...)
	require.NoError(b.t, err)
}

func TestRetriesUntilItIsDelivered(t *testing.T) {
	t.Parallel()
	b := setup(t, answers(again, again, arrived), 10*time.Millisecond, 20*time.Millisecond, time.Hour)
	event, letter := b.deliver(t.Context())
	w := b.work(b.store)

	for { // not due, or failed and waiting for the next time
		if e := w.wait(river.EventKindJobSnoozed); len(b.history(event).Attempts) >= 2 {
			require.Equal(t, 0, e.Job.Attempt, "waiting takes nothing from River's one attempt")
			break
		}
	}
	require.Equal(t, 1, w.wait(river.EventKindJobCompleted).Job.Attempt)
	h := b.history(event)
	require.Equal(t, delivery.Delivered, h.State)
	require.Equal(t, []delivery.Cause{delivery.HTTP5xx, delivery.HTTP5xx, delivery.None}, causes(h))
	require.Equal(t, deliverytest.Accounts{Events: 1, Delivered: 1, Attempts: 3}, deliverytest.Count(t, b.pool))
	_, _, err := b.store.DeadLetter(t.Context(), "default", letter)
	require.Error(t, err, "the letter has left")
	for i, a := range h.Attempts[1:] {
		require.False(t, a.StartedAt.Before(h.Attempts[i].StartedAt.Add(b.options.Schedule.Delays[i])), "attempt %d came early", i+2)
	}
}

func TestRetriesUntilTheScheduleIsSpent(t *testing.T) {
	t.Parallel()
	b := setup(t, answers(again), time.Millisecond, time.Millisecond, time.Millisecond)
	event, letter := b.deliver(t.Context())
	w := b.work(b.store)
	w.wait(river.EventKindJobCompleted)
	h := b.history(event)
	require.Equal(t, delivery.Exhausted, h.State)
	require.Len(t, h.Attempts, 4, "the first send and three retries")
	l, _, err := b.store.DeadLetter(t.Context(), "default", letter)
	require.NoError(t, err)
	require.Equal(t, 3, l.RetryCount)
	require.Nil(t, l.NextRetryAt)
	require.Equal(t, deliverytest.Accounts{Events: 1, Exhausted: 1, Attempts: 4}, deliverytest.Count(t, b.pool))
}

func TestARefusalForGoodEndsTheRetries(t *testing.T) {
	t.Parallel()
	b := setup(t, answers(again, refused), time.Millisecond, time.Hour)
	event, _ := b.deliver(t.Context())
	b.work(b.store).wait(river.EventKindJobCompleted)
	h := b.history(event)
	require.Equal(t, delivery.Exhausted, h.State)
	require.Equal(t, []delivery.Cause{delivery.HTTP5xx, delivery.HTTP4xx}, causes(h))
}

func TestALetterThatIsNotDueWaits(t *testing.T) {
	t.Parallel()
	b := setup(t, answers(again), time.Hour)
	_, letter := b.deliver(t.Context())
	b.exec(`UPDATE river_job SET state = 'available', scheduled_at = now()`)
	w := b.work(b.store)
	e := w.wait(river.EventKindJobSnoozed)
	l, attempts, err := b.store.DeadLetter(t.Context(), "default", letter)
	require.NoError(t, err)
	require.WithinDuration(t, *l.NextRetryAt, e.Job.ScheduledAt, 5*time.Second)
	require.Equal(t, rivertype.JobStateScheduled, e.Job.State)
	require.Len(t, attempts, 1, "nothing was sent")
}

func TestAnOutdatedJobEndsWithoutSending(t *testing.T) {
	t.Parallel()
	b := setup(t, answers(again, delivery.Outcome{Cause: delivery.Internal, Detail: "sent by an outdated job"}), time.Millisecond)
	event, letter := b.deliver(t.Context())
	b.exec(`UPDATE alert_dlq SET job_id = job_id + 1000, next_retry_at = now() + interval '1 hour'`)
	w := b.work(b.store)
	w.wait(river.EventKindJobCompleted)
	require.Len(t, b.history(event).Attempts, 1)

	// A letter that is no more, and one that is exhausted.
	for _, sql := range []string{
		`UPDATE alert_dlq SET state = 'exhausted', next_retry_at = NULL, job_id = NULL`,
		`DELETE FROM alert_dlq`,
	} {
		b.exec(sql)
		_, err := w.Insert(t.Context(), jobs.RetryArgs{DeadLetterID: letter}, nil)
		require.NoError(t, err)
		w.wait(river.EventKindJobCompleted)
		require.Len(t, b.history(event).Attempts, 1)
	}
	for _, table := range []string{"alert_attempts", "alert_events", "alert_account_changes"} {
		b.exec(`DELETE FROM ` + table)
	}
}

// paced is a channel whose receiver takes one message in ten seconds.
type paced struct{ channel }

func (paced) Endpoint(delivery.Target) delivery.Endpoint {
	return delivery.Endpoint{ID: "hook", Limits: delivery.Limits{Rate: 0.1}}
}

// A turn can be an hour away. What expires before it does so on time, and its fallback is not late.
func TestAFirstAttemptThatWaitsForItsTurnExpiresOnTime(t *testing.T) {
	t.Parallel()
	w := newWatch(t, setup(t, answers(arrived)))
	begun := w.clock()
	w.options.Channels = []delivery.Channel{paced{answers(arrived)}}
	w.options.Gate = gate.New(gate.Options{
		Failures: 5, After: time.Minute, Delay: time.Minute, Timeout: attemptTimeout,
		Registerer: prometheus.NewRegistry(), Log: w.quiet, Now: w.clock,
	})
	w.service = delivery.NewService(w.store, w.options)
	event := delivery.Event{
		TenantID: "default", AlertID: "nav-drop", UserID: "ada", Title: "NAV fell", Severity: delivery.Warning, Data: json.RawMessage("{}"),
		Targets: []delivery.Target{{Channel: "hook"}}, Dedup: delivery.Dedup{Off: true},
	}
	receipt, err := w.service.Deliver(t.Context(), event)
	require.NoError(t, err)
	require.Equal(t, delivery.Delivered, receipt.Targets[0].State, "the turn that was free")

	event.ExpiresAt = begun.Add(15 * time.Second)
	event.Fallback = []delivery.Target{{Channel: "hook", Destination: "ops"}}
	receipt, err = w.service.Deliver(t.Context(), event) // whose turn is 20 s away
	require.NoError(t, err)
	require.Equal(t, delivery.InFlight, receipt.Targets[0].State)
	job := &river.Job[jobs.DeliverArgs]{Args: jobs.DeliverArgs{EventID: receipt.EventID, Target: "hook"}, JobRow: &rivertype.JobRow{}}
	const waiting = `SELECT id, scheduled_at FROM river_job WHERE kind = 'deliver' AND args->>'target' = 'hook'`
	require.NoError(t, w.pool.QueryRow(t.Context(), waiting).Scan(&job.ID, &job.ScheduledAt))
	require.Equal(t, event.ExpiresAt, job.ScheduledAt.UTC(), "put off until it expires, not until its turn")

	// A worker that takes it up before puts it off again, and no further.
	worker := jobs.NewDeliverWorker(w.service, w.store, attemptTimeout, w.clock)
	w.at(begun.Add(3 * time.Second))
	var snoozed *river.JobSnoozeError
	require.ErrorAs(t, worker.Work(t.Context(), job), &snoozed)
	require.Equal(t, 12*time.Second, snoozed.Duration)

	w.at(event.ExpiresAt)
	require.NoError(t, worker.Work(t.Context(), job))
	_, targets, err := w.store.History(t.Context(), "default", receipt.EventID)
	require.NoError(t, err)
	states := map[string]delivery.State{}
	for _, target := range targets {
		states[target.Target.Key()] = target.State
	}
	require.Equal(t, map[string]delivery.State{"hook": delivery.Expired, "destination:ops": delivery.InFlight}, states)
}

// blocking is a channel whose first retry does not end before its context does. It closes started as
// that one begins, be anybody waiting for it by then or not.
func blocking(started chan<- struct{}) channel {
	var begun atomic.Bool
	return func(ctx context.Context, d delivery.Delivery) delivery.Outcome {
		if d.Attempt == 1 {
			return again
		}
		if !begun.CompareAndSwap(false, true) {
			return arrived
		}
		close(started)
		<-ctx.Done()
		return delivery.Outcome{Cause: delivery.Interrupted, Retry: true, Detail: "canceled"}
	}
}

func TestAStopInAnAttemptHandsItBackUnharmed(t *testing.T) {
	t.Parallel()
	started := make(chan struct{})
	b := setup(t, blocking(started), time.Millisecond)
	event, letter := b.deliver(t.Context())
	w := b.work(b.store)
	<-started
	w.stop()

	l, attempts, err := b.store.DeadLetter(t.Context(), "default", letter)
	require.NoError(t, err)
	require.Equal(t, delivery.Pending, l.State)
	require.Zero(t, l.RetryCount)
	require.Len(t, attempts, 1, "what was cut short is no attempt")
	var state string
	var attempt int
	require.NoError(t, b.pool.QueryRow(t.Context(), `SELECT state::text, attempt FROM river_job`).Scan(&state, &attempt))
	require.Equal(t, "available", state)
	require.Zero(t, attempt)

	b.work(b.store).wait(river.EventKindJobCompleted)
	h := b.history(event)
	require.Equal(t, delivery.Delivered, h.State)
	require.Equal(t, []delivery.Cause{delivery.HTTP5xx, delivery.None}, causes(h))
}

// What has been sent is written down, also while the worker stops.
func TestAStopBehindAnAttemptKeepsItsOutcome(t *testing.T) {
	t.Parallel()
	for _, o := range []delivery.Outcome{arrived, again, refused} {
		t.Run(string(o.Cause), func(t *testing.T) {
			t.Parallel()
			started := make(chan struct{})
			b := setup(t, func(ctx context.Context, d delivery.Delivery) delivery.Outcome {
				if d.Attempt == 1 {
					return again
				}
				close(started)
				<-ctx.Done()
				return o
			}, time.Millisecond, time.Hour)
			event, _ := b.deliver(t.Context())
			w := b.work(b.store)
			<-started
			w.stop()
			require.Equal(t, []delivery.Cause{delivery.HTTP5xx, o.Cause}, causes(b.history(event)))
		})
	}
}

// letters lets a test step between a worker and the store.
type letters struct {
	*store.Deliveries
	load   func(context.Context, uuid.UUID, int64) (delivery.DeadLetter, bool, error)
	record func(context.Context, int64, delivery.DeadLetter, delivery.Verdict) error
}

func (l letters) DeadLetterForJob(ctx context.Context, id uuid.UUID, job int64) (delivery.DeadLetter, bool, error) {
	if l.load != nil {
		return l.load(ctx, id, job)
	}
	return l.Deliveries.DeadLetterForJob(ctx, id, job)
}

func (l letters) RecordRetry(ctx context.Context, job int64, d delivery.DeadLetter, v delivery.Verdict) error {
	if l.record != nil {
		return l.record(ctx, job, d, v)
	}
	return l.Deliveries.RecordRetry(ctx, job, d, v)
}

func TestAStopWhileTheLetterIsLoadedHandsItBackUnharmed(t *testing.T) {
	t.Parallel()
	b := setup(t, answers(again, arrived), time.Millisecond)
	event, _ := b.deliver(t.Context())
	loading := make(chan struct{})
	w := b.work(letters{Deliveries: b.store, load: func(ctx context.Context, _ uuid.UUID, _ int64) (delivery.DeadLetter, bool, error) {
		close(loading)
		<-ctx.Done()
		return delivery.DeadLetter{}, false, ctx.Err()
	}})
	<-loading
	w.stop()
	b.work(b.store).wait(river.EventKindJobCompleted)
	require.Equal(t, []delivery.Cause{delivery.HTTP5xx, delivery.None}, causes(b.history(event)))
}

// reconcile runs the reconciler's search for orphans as it will be when its patience has run out.
func (b *bundle) reconcile(maxInterruptions int) {
	b.t.Helper()
	future := store.NewDeliveries(b.pool, b.client(&river.Config{}), b.quiet, func() time.Time { return time.Now().Add(time.Minute) })
	n, err := future.RescheduleOrphans(b.t.Context(), time.Now(), maxInterruptions, 10)
	require.NoError(b.t, err)
	require.Equal(b.t, 1, n)
	b.exec(`UPDATE alert_dlq SET next_retry_at = now() WHERE state = 'pending'`) // back to this time
}

// The outcome can't be written down. River spends its one attempt and forgets the job; the
// reconciler does not.
func TestAnOutcomeThatIsNotRecordedIsAnInterruption(t *testing.T) {
	t.Parallel()
	b := setup(t, answers(again, again, arrived), time.Millisecond, time.Hour)
	event, letter := b.deliver(t.Context())
	w := b.work(letters{Deliveries: b.store, record: func(context.Context, int64, delivery.DeadLetter, delivery.Verdict) error {
		return errors.New("the database is away")
	}})
	failed := w.waitFailed()
	require.Equal(t, rivertype.JobStateDiscarded, failed.Job.State)
	w.stop()

	b.reconcile(jobs.MaxInterruptions)
	l, _, err := b.store.DeadLetter(t.Context(), "default", letter)
	require.NoError(t, err)
	require.Equal(t, 1, l.Interruptions)
	require.Zero(t, l.RetryCount)

	b.work(b.store).wait(river.EventKindJobCompleted)
	h := b.history(event)
	require.Equal(t, delivery.Delivered, h.State)
	require.Equal(t, []delivery.Cause{delivery.HTTP5xx, delivery.Interrupted, delivery.None}, causes(h))
}

func (w *worker) waitFailed() *river.Event {
	w.t.Helper()
	select {
	case e := <-w.events:
		require.Equal(w.t, river.EventKindJobFailed, e.Kind)
		return e
	case <-time.After(patience):
		require.FailNow(w.t, "the job did not fail")
		return nil
	}
}

// A worker that is given up although it lives, and comes back with a success: the message is not
// sent again.
func TestAWorkerThatWasGivenUpComesBack(t *testing.T) {
	t.Parallel()
	var sent sync.Map
	sending, goOn := make(chan struct{}), make(chan struct{})
	b := setup(t, func(_ context.Context, d delivery.Delivery) delivery.Outcome {
		if d.Attempt == 1 {
			return again
		}
		if _, twice := sent.LoadOrStore(d.Attempt, true); twice {
			return delivery.Outcome{Cause: delivery.Internal, Detail: "sent twice"}
		}
		close(sending)
		<-goOn
		return arrived
	}, time.Millisecond, time.Hour)
	event, _ := b.deliver(t.Context())
	w := b.work(b.store)
	<-sending

	future := store.NewDeliveries(b.pool, b.client(&river.Config{}), b.quiet, func() time.Time { return time.Now().Add(10 * time.Second) })
	n, err := future.RescheduleOrphans(t.Context(), time.Now().Add(10*time.Second), jobs.MaxInterruptions, 10)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	close(goOn)

	w.wait(river.EventKindJobCompleted)
	h := b.history(event)
	require.Equal(t, delivery.Delivered, h.State)
	require.Equal(t, []delivery.Cause{delivery.HTTP5xx, delivery.None}, causes(h))
	// The job that took over ends without sending.
	b.exec(`UPDATE river_job SET scheduled_at = now(), state = 'available' WHERE finalized_at IS NULL`)
	w.wait(river.EventKindJobCompleted)
	require.Len(t, b.history(event).Attempts, 2)
}

// Two workers on one queue: every letter is attempted by one of them.
func TestTwoWorkers(t *testing.T) {
	t.Parallel()
	const events = 60
	var sent sync.Map
	b := setup(t, func(_ context.Context, d delivery.Delivery) delivery.Outcome {
		if _, twice := sent.LoadOrStore(d.MessageID()+fmt.Sprint(d.Attempt), true); twice {
			return delivery.Outcome{Cause: delivery.Internal, Detail: "sent twice"}
		}
		if d.Attempt < 3 {
			return again
		}
		return arrived
	}, time.Millisecond, time.Millisecond)
	for range events {
		b.deliver(t.Context())
	}
	one, two := b.work(b.store), b.work(b.store)
	for done := 0; done < events; {
		select {
		case e := <-one.events:
			if e.Kind == river.EventKindJobCompleted {
				done++
			}
		case e := <-two.events:
			if e.Kind == river.EventKindJobCompleted {
				done++
			}
		case <-time.After(patience):
			require.FailNow(t, "letters left", "%d of %d", events-done, events)
		}
	}
	require.Equal(t, deliverytest.Accounts{Events: events, Delivered: events, Attempts: 3 * events}, deliverytest.Count(t, b.pool))
}

// One trace leads from the request over the job to the retry.
func TestTheTraceGoesOnInTheJob(t *testing.T) {
	t.Parallel()
	b := setup(t, answers(again, again, arrived), time.Millisecond, time.Millisecond)
	ctx, request := b.tracing.Tracer("test").Start(t.Context(), "request")
	event, _ := b.deliver(ctx)
	request.End()
	w := b.work(b.store)
	w.wait(river.EventKindJobCompleted)
	w.stop()

	traceID := request.SpanContext().TraceID()
	for _, a := range b.history(event).Attempts {
		require.Equal(t, traceID.String(), a.TraceID)
	}
	worked := 0
	for _, s := range b.spans.Ended() {
		require.Equal(t, traceID, s.SpanContext().TraceID(), s.Name())
		if s.Name() == "job retry_delivery" {
			worked++
			require.Equal(t, trace.SpanKindConsumer, s.SpanKind())
			require.NotEqual(t, codes.Error, s.Status().Code, "waiting for the next time is no failure")
		}
	}
	require.GreaterOrEqual(t, worked, 2)
}

func TestAFailedJobIsAnErrorInItsTrace(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	tracing := jobs.NewTracing(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer(""))
	boom := errors.New("boom")
	err := tracing.Work(t.Context(), &rivertype.JobRow{ID: 7, Kind: "retry_delivery"}, func(context.Context) error { return boom })
	require.ErrorIs(t, err, boom)
	require.Equal(t, codes.Error, spans.Ended()[0].Status().Code)
	require.False(t, spans.Ended()[0].Parent().IsValid(), "without metadata a trace begins")
}

func TestTracingKeepsTheTraceThatAJobBrings(t *testing.T) {
	t.Parallel()
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	tracer := sdktrace.NewTracerProvider().Tracer("")
	ctx, span := tracer.Start(t.Context(), "reconciler")
	defer span.End()
	params := []*rivertype.JobInsertParams{{Metadata: jobs.TraceMetadata(parent)}, {Metadata: []byte(`{"other": 1}`)}, {}}
	_, err := jobs.NewTracing(tracer).InsertMany(ctx, params, func(context.Context) ([]*rivertype.JobInsertResult, error) { return nil, nil })
	require.NoError(t, err)
	require.JSONEq(t, `{"traceparent": "`+parent+`"}`, string(params[0].Metadata))
	own := "00-" + span.SpanContext().TraceID().String() + "-" + span.SpanContext().SpanID().String() + "-01"
	require.JSONEq(t, `{"other": 1, "traceparent": "`+own+`"}`, string(params[1].Metadata))
	require.JSONEq(t, `{"traceparent": "`+own+`"}`, string(params[2].Metadata))
	require.Nil(t, jobs.TraceMetadata(""))
}
