package store_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace/noop"
	"golang.org/x/sync/errgroup"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/internal/store/deliverytest"
)

// receiver is a channel that answers as its test wants at the time.
type receiver struct {
	answer func(d delivery.Delivery) delivery.Outcome
	sent   sync.Map // message id to the number of times that it arrived, as *atomic.Int64
}

func (*receiver) Name() string                          { return "hook" }
func (*receiver) Check(delivery.Target) error           { return nil }
func (*receiver) CheckEndpoint(delivery.Endpoint) error { return nil }
func (*receiver) Endpoint(t delivery.Target) delivery.Endpoint {
	return delivery.Endpoint{ID: "hook:" + t.URL}
}

func (r *receiver) Send(_ context.Context, d delivery.Delivery) delivery.Outcome {
	o := r.answer(d)
	if o.Delivered() {
		n, _ := r.sent.LoadOrStore(d.MessageID(), new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
	}
	return o
}

func (r *receiver) arrivals() (messages, most int64) {
	r.sent.Range(func(_, n any) bool {
		messages, most = messages+1, max(most, n.(*atomic.Int64).Load())
		return true
	})
	return messages, most
}

func takesAll(delivery.Delivery) delivery.Outcome { return delivery.Outcome{StatusCode: 204} }

func refusesAll(delivery.Delivery) delivery.Outcome {
	return delivery.Outcome{Cause: delivery.HTTP4xx, StatusCode: 404, Detail: "the receiver answered 404"}
}

func failsForNow(delivery.Delivery) delivery.Outcome {
	return delivery.Outcome{Cause: delivery.HTTP5xx, Retry: true, StatusCode: 503, Detail: "the receiver answered 503"}
}

// queue is the dead letter queue of one database, with who puts letters in and who works them.
type queue struct {
	*store.Deliveries
	t        *testing.T
	pool     *pgxpool.Pool
	river    *river.Client[pgx.Tx]
	receiver *receiver
	options  delivery.Options
	now      atomic.Pointer[time.Time] // of the store; nil: the time
	registry *prometheus.Registry      // of the operations' worker
}

type unobserved struct{}

func (unobserved) Observe(context.Context, string, string, error, time.Duration) {}

func newQueue(t *testing.T) *queue {
	t.Helper()
	q := &queue{t: t, pool: dbtest.New(t), receiver: &receiver{answer: refusesAll}, registry: prometheus.NewRegistry()}
	quiet := slog.New(slog.DiscardHandler)
	var err error
	q.river, err = river.NewClient(riverpgxv5.New(q.pool), &river.Config{Logger: quiet})
	require.NoError(t, err)
	q.Deliveries = store.NewDeliveries(q.pool, q.river, quiet, func() time.Time {
		if now := q.now.Load(); now != nil {
			return *now
		}
		return time.Now()
	})
	q.options = delivery.Options{
		Channels: []delivery.Channel{q.receiver}, Schedule: delivery.Schedule{Delays: []time.Duration{time.Hour, time.Hour}},
		Metrics: delivery.NewMetrics(prometheus.NewRegistry()), DedupWindow: time.Hour, Timeout: 5 * time.Second, Observer: unobserved{},
		Log: quiet, Tracer: noop.NewTracerProvider().Tracer(""),
	}
	return q
}

// fill puts n events in whose first attempts come to what the receiver answers.
func (q *queue) fill(n int, change ...func(*delivery.Event)) []delivery.Receipt {
	q.t.Helper()
	service := delivery.NewService(q.Deliveries, q.options)
	var receipts []delivery.Receipt
	for n > 0 {
		var sub delivery.Submission
		for range min(n, 250) {
			e := delivery.Event{
				TenantID: "default", AlertID: "nav-drop", UserID: "ada", Title: "NAV fell", Message: uuid.NewString(),
				Severity: delivery.Warning, Data: json.RawMessage("{}"), Targets: []delivery.Target{{Channel: "hook", URL: "https://example.org"}},
			}
			for _, c := range change {
				c(&e)
			}
			sub.Events = append(sub.Events, e)
		}
		got, _, err := service.Submit(q.t.Context(), sub)
		require.NoError(q.t, err)
		receipts, n = append(receipts, got...), n-len(got)
	}
	return receipts
}

// work runs a worker with everything that dead letters need, until the test ends.
func (q *queue) work() {
	q.t.Helper()
	workers := river.NewWorkers()
	river.AddWorker(workers, jobs.NewRetryWorker(delivery.NewRetrier(q.options), q.Deliveries, 5*time.Second, time.Now))
	river.AddWorker(workers, jobs.NewOperationWorker(q.Deliveries, q.registry, time.Now))
	client, err := river.NewClient(riverpgxv5.New(q.pool), &river.Config{
		Workers: workers, Logger: slog.New(slog.DiscardHandler),
		Queues:        map[string]river.QueueConfig{jobs.QueueDelivery: {MaxWorkers: 50}, jobs.QueueUpkeep: {MaxWorkers: 2}},
		FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 50 * time.Millisecond,
	})
	require.NoError(q.t, err)
	require.NoError(q.t, client.Start(context.WithoutCancel(q.t.Context())))
	q.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(q.t, client.Stop(ctx))
	})
}

var operator = delivery.By{Actor: "api", Reason: "the receiver is back"}

func (q *queue) start(o delivery.Operation) delivery.Operation {
	q.t.Helper()
	o.TenantID, o.By = "default", operator
	o, err := q.StartOperation(q.t.Context(), o)
	require.NoError(q.t, err)
	return o
}

// ended waits until an operation no longer runs.
func (q *queue) ended(id uuid.UUID) delivery.Operation {
	q.t.Helper()
	var o delivery.Operation
	require.Eventually(q.t, func() bool {
		var err error
		o, err = q.Operation(q.t.Context(), "default", id)
		require.NoError(q.t, err)
		return o.State != delivery.OperationRunning
	}, time.Minute, 50*time.Millisecond, "the operation does not end")
	return o
}

func (q *queue) count(sql string, args ...any) int {
	q.t.Helper()
	var n int
	require.NoError(q.t, q.pool.QueryRow(q.t.Context(), sql, args...).Scan(&n))
	return n
}

// slice works one step of an operation by hand, as its job does.
func (q *queue) slice(id uuid.UUID) jobs.Slice {
	q.t.Helper()
	var job *int64
	require.NoError(q.t, q.pool.QueryRow(q.t.Context(), `SELECT job_id FROM alert_dlq_operations WHERE id = $1`, id).Scan(&job))
	if job == nil {
		return jobs.Slice{}
	}
	s, err := q.WorkSlice(q.t.Context(), id, *job)
	require.NoError(q.t, err)
	return s
}

// trail returns who did what, oldest first.
func (q *queue) trail() []string {
	q.t.Helper()
	entries, err := store.New(q.pool, store.Options{}).AuditLog(q.t.Context(), "default", audit.Filter{}, uuid.Max, 200)
	require.NoError(q.t, err)
	var list []string
	for _, e := range entries {
		list = append([]string{e.Actor + " " + e.Action}, list...)
	}
	return list
}

// The receiver fails again in the middle of a replay: most of the queue is spared, and once it works
// the replay goes on from there.
func TestAReplayStopsWhenItFailsAgainAndGoesOn(t *testing.T) {
	t.Parallel()
	const letters, threshold = 2000, 20
	q := newQueue(t)
	q.fill(letters)
	var attempts atomic.Int64
	var works atomic.Bool
	q.receiver.answer = func(d delivery.Delivery) delivery.Outcome {
		if attempts.Add(1) <= 300 || works.Load() {
			return takesAll(d)
		}
		return refusesAll(d)
	}
	q.work()
	o := q.start(delivery.Operation{Kind: delivery.Replay, PerSecond: 200, StopAfterFailures: threshold})
	require.Equal(t, letters, o.Total)

	o = q.ended(o.ID)
	require.Equal(t, delivery.OperationStopped, o.State)
	require.Contains(t, o.StopReason, "letters failed, it was to stop after 20; of 2000 letters")
	require.GreaterOrEqual(t, o.Failed, threshold)
	require.Positive(t, o.Remaining())
	require.LessOrEqual(t, o.Released, 300+2*200+200, "no more than what was outstanding when it failed")
	require.Equal(t, o.Released, o.Delivered+o.Failed+o.Waiting)

	// An operator waits for the receiver. What is under way when the replay goes on counts towards it.
	require.Eventually(t, func() bool {
		o, err := q.Operation(t.Context(), "default", o.ID)
		require.NoError(t, err)
		return o.Waiting == 0
	}, time.Minute, 50*time.Millisecond, "attempts do not end")
	works.Store(true)
	again, err := q.ContinueOperation(t.Context(), "default", o.ID, operator)
	require.NoError(t, err)
	require.Equal(t, delivery.OperationRunning, again.State)
	_, err = q.ContinueOperation(t.Context(), "default", o.ID, operator)
	require.Equal(t, fault.Conflict, fault.CodeOf(err), "it runs")

	end := q.ended(o.ID)
	require.Equal(t, delivery.OperationDone, end.State, end.StopReason)
	require.Equal(t, letters, end.Released)
	require.Zero(t, end.Waiting)
	require.NoError(t, testutil.GatherAndCompare(q.registry, strings.NewReader(`
# HELP dawsos_dead_letters_released_total Dead letters that were made due or discarded, by kind (replay, discard, drain) and by whether each was acted on singly or an operation took it on.
# TYPE dawsos_dead_letters_released_total counter
dawsos_dead_letters_released_total{kind="discard",scope="operation"} 0
dawsos_dead_letters_released_total{kind="drain",scope="operation"} 0
dawsos_dead_letters_released_total{kind="replay",scope="operation"} 2000
`)))
	require.Equal(t, letters, end.Delivered+end.Failed)
	require.Equal(t, end.Failed, q.count(`SELECT count(*) FROM alert_dlq WHERE state = 'exhausted'`), "those that it did not send twice")
	messages, most := q.receiver.arrivals()
	require.EqualValues(t, end.Delivered, messages)
	require.EqualValues(t, 1, most, "nothing arrives twice")
	require.Equal(t, []string{"api operation.start", "system operation.stop", "api operation.continue", "system operation.done"}, q.trail())
	_, err = q.ContinueOperation(t.Context(), "default", o.ID, operator)
	require.Equal(t, fault.Conflict, fault.CodeOf(err), "it is done")
}

// However many workers are at it, and whatever jobs are left over, a slice is worked once.
func TestASliceIsWorkedOnce(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fill(40)
	o := q.start(delivery.Operation{Kind: delivery.Replay, PerSecond: 10})
	var job int64
	require.NoError(t, q.pool.QueryRow(t.Context(), `SELECT job_id FROM alert_dlq_operations`).Scan(&job))

	_, err := q.WorkSlice(t.Context(), o.ID, job+1)
	require.NoError(t, err)
	require.Zero(t, q.count(`SELECT count(*) FROM alert_dlq WHERE operation_id IS NOT NULL`), "a job that is not the operation's")

	var group errgroup.Group
	var released atomic.Int64
	for range 8 {
		group.Go(func() error {
			s, err := q.WorkSlice(t.Context(), o.ID, job)
			released.Add(int64(s.Released))
			return err
		})
	}
	require.NoError(t, group.Wait())
	require.EqualValues(t, 20, released.Load(), "two slices' worth may be outstanding, no more")
	require.Greater(t, q.count(`SELECT count(DISTINCT next_retry_at) FROM alert_dlq WHERE operation_id = $1`, o.ID), 9, "one after the other")
	require.Equal(t, 20, q.count(`SELECT count(DISTINCT job_id) FROM alert_dlq WHERE operation_id = $1 AND state = 'pending'`, o.ID))
	require.Equal(t, 20, q.count(`SELECT count(*) FROM river_job WHERE kind = 'retry_delivery'`), "one job a letter")
}

func TestAPreviewChangesNothing(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fill(30)
	q.fill(3, func(e *delivery.Event) { e.AlertID = "other" })
	dump := func() string {
		var s string
		require.NoError(t, q.pool.QueryRow(t.Context(), `
			SELECT md5(string_agg(d::text, '' ORDER BY d.id)) || (SELECT count(*) FROM river_job) || (SELECT count(*) FROM audit_log)
			       || (SELECT count(*) FROM alert_dlq_operations) FROM alert_dlq d`).Scan(&s))
		return s
	}
	before := dump()
	for _, kind := range []delivery.OperationKind{delivery.Replay, delivery.Discard} {
		p, err := q.PreviewOperation(t.Context(), "default", kind, delivery.LetterFilter{AlertID: "nav-drop", State: delivery.Exhausted})
		require.NoError(t, err)
		require.Equal(t, 30, p.Total)
		require.Len(t, p.Sample, 10)
		p, err = q.PreviewOperation(t.Context(), "other", kind, delivery.LetterFilter{})
		require.NoError(t, err)
		require.Zero(t, p.Total, "another tenant's")
	}
	require.Equal(t, before, dump())
}

func TestFiltersOfOperations(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fill(2)
	q.fill(1, func(e *delivery.Event) { e.AlertID, e.UserID, e.Title = "fx", "bob", "CHF Jumped" })
	q.receiver.answer = failsForNow
	q.fill(1, func(e *delivery.Event) {
		e.Targets[0] = delivery.Target{Channel: "hook", URL: "https://example.org/late"}
	})
	q.fill(1, func(e *delivery.Event) { e.ExpiresAt = time.Now().Add(time.Hour) })
	letters, err := q.DeadLetters(t.Context(), "default", delivery.LetterFilter{AlertID: "fx"}, uuid.Max, 1)
	require.NoError(t, err)
	_, err = q.DiscardDeadLetter(t.Context(), "default", letters[0].ID, operator)
	require.NoError(t, err)

	for _, c := range []struct {
		filter delivery.LetterFilter
		want   int
	}{
		{delivery.LetterFilter{}, 4},
		{delivery.LetterFilter{State: delivery.Pending}, 2},
		{delivery.LetterFilter{State: delivery.Exhausted}, 2},
		{delivery.LetterFilter{State: delivery.Discarded}, 1},
		{delivery.LetterFilter{State: delivery.Discarded, Search: "chf jump", UserID: "bob"}, 1},
		{delivery.LetterFilter{Cause: delivery.HTTP5xx}, 2},
		{delivery.LetterFilter{Channel: "hook", Search: "ANSWERED 404"}, 2},
		{delivery.LetterFilter{Channel: "email"}, 0},
		{delivery.LetterFilter{Destination: "ops"}, 0},
		{delivery.LetterFilter{CreatedBefore: time.Now().Add(-time.Hour)}, 0},
		{delivery.LetterFilter{CreatedAfter: time.Now().Add(-time.Hour)}, 4},
	} {
		p, err := q.PreviewOperation(t.Context(), "default", delivery.Replay, c.filter)
		require.NoError(t, err)
		require.Equal(t, c.want, p.Total, "%+v", c.filter)
	}
	later := time.Now().Add(2 * time.Hour)
	q.now.Store(&later)
	p, err := q.PreviewOperation(t.Context(), "default", delivery.Replay, delivery.LetterFilter{State: delivery.Pending})
	require.NoError(t, err)
	require.Equal(t, 1, p.Total, "what has expired is not sent any more")
	for kind, states := range map[delivery.OperationKind][]delivery.State{
		delivery.Replay:  {delivery.Expired, delivery.Superseded},
		delivery.Discard: {delivery.Discarded, delivery.Expired, delivery.Superseded},
	} {
		for _, state := range states {
			_, err := q.PreviewOperation(t.Context(), "default", kind, delivery.LetterFilter{State: state})
			require.Equal(t, fault.Invalid, fault.CodeOf(err), "%s of what is %s", kind, state)
		}
	}
}

func TestADiscardGivesTheKeysBack(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.receiver.answer = failsForNow
	q.fill(25)
	require.Equal(t, 25, q.count(`SELECT count(*) FROM alert_dedup`))
	o := q.start(delivery.Operation{Kind: delivery.Discard, PerSecond: 10})
	for q.slice(o.ID).More {
	}
	o = q.ended(o.ID)
	require.Equal(t, delivery.OperationDone, o.State)
	require.Equal(t, 25, o.Released)
	require.Zero(t, o.Waiting)
	require.Equal(t, 25, q.count(`SELECT count(*) FROM alert_dlq WHERE state = 'discarded' AND operation_id = $1`, o.ID))
	require.Zero(t, q.count(`SELECT count(*) FROM alert_dedup`), "the same message is no duplicate any more")
	require.Zero(t, q.count(`SELECT count(*) FROM river_job WHERE kind = 'retry_delivery'`))
}

// An endpoint has recovered: what waits for it is sent in a ramp, ahead of its schedule.
func TestARecoveredEndpointIsDrained(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.receiver.answer = failsForNow
	q.fill(60)
	q.fill(1, func(e *delivery.Event) { e.Targets[0].URL = "https://elsewhere.example" })
	var group errgroup.Group
	for range 8 {
		group.Go(func() error { return q.EndpointRecovered(t.Context(), "default", "hook:https://example.org") })
	}
	require.NoError(t, group.Wait())
	require.NoError(t, q.EndpointRecovered(t.Context(), "default", "hook:https://idle.example"))
	list, err := q.Operations(t.Context(), "default", uuid.Max, 10)
	require.NoError(t, err)
	require.Len(t, list, 1, "one drain, however often it is told, and none where nothing waits")
	require.Equal(t, 60, list[0].Total)
	require.Equal(t, audit.System, list[0].By.Actor)

	q.receiver.answer = takesAll
	var ramp []int
	for {
		s := q.slice(list[0].ID)
		if s.Released == 0 {
			break
		}
		ramp = append(ramp, s.Released)
		q.deliverDue()
	}
	require.Equal(t, []int{5, 10, 20, 25}, ramp)
	for q.slice(list[0].ID).More {
	}
	o := q.ended(list[0].ID)
	require.Equal(t, delivery.OperationDone, o.State, o.StopReason)
	require.Equal(t, 60, o.Delivered)
	require.Equal(t, 1, q.count(`SELECT count(*) FROM alert_dlq WHERE operation_id IS NULL AND next_retry_at > now() + interval '30 minutes'`),
		"the other endpoint's letter waits as before")
}

// deliverDue makes the attempts that are due within a second, as the worker's jobs do.
func (q *queue) deliverDue() {
	q.t.Helper()
	rows, err := q.pool.Query(q.t.Context(), `SELECT id, job_id FROM alert_dlq WHERE state = 'pending' AND next_retry_at <= now() + interval '1 s'`)
	require.NoError(q.t, err)
	type due struct {
		ID    uuid.UUID
		JobID int64
	}
	letters, err := pgx.CollectRows(rows, pgx.RowToStructByPos[due])
	require.NoError(q.t, err)
	retrier := delivery.NewRetrier(q.options)
	for _, d := range letters {
		l, ok, err := q.DeadLetterForJob(q.t.Context(), d.ID, d.JobID)
		require.NoError(q.t, err)
		require.True(q.t, ok)
		require.NoError(q.t, q.RecordRetry(q.t.Context(), d.JobID, l, retrier.Retry(q.t.Context(), l)))
	}
}

// A drain is an early retry and no replay: it uses up the schedule, and gives up soon.
func TestADrainThatFailsStops(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.receiver.answer = failsForNow
	q.fill(60)
	require.NoError(t, q.EndpointRecovered(t.Context(), "default", "hook:https://example.org"))
	list, err := q.Operations(t.Context(), "default", uuid.Max, 1)
	require.NoError(t, err)
	require.Equal(t, 5, q.slice(list[0].ID).Released)
	q.deliverDue()
	require.False(t, q.slice(list[0].ID).More)
	o := q.ended(list[0].ID)
	require.Equal(t, delivery.OperationStopped, o.State)
	require.Equal(t, 5, o.Failed)
	require.Equal(t, 5, q.count(`SELECT count(*) FROM alert_dlq WHERE retry_count = 1 AND next_retry_at > now()`))
	require.NoError(t, q.EndpointRecovered(t.Context(), "default", "hook:https://example.org"), "it may recover again")
	list, err = q.Operations(t.Context(), "default", uuid.Max, 10)
	require.NoError(t, err)
	require.Len(t, list, 2)
	_, err = q.ContinueOperation(t.Context(), "default", o.ID, operator)
	require.Equal(t, fault.Conflict, fault.CodeOf(err), "another drain of the endpoint runs")
}

// A drain that has lost its job must not keep its endpoint from ever being drained.
func TestADrainWithoutAJobIsRevived(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.receiver.answer = failsForNow
	q.fill(1)
	require.NoError(t, q.EndpointRecovered(t.Context(), "default", "hook:https://example.org"))
	exec(t, q.pool, `DELETE FROM river_job WHERE kind = 'dead_letter_operation'`)
	require.NoError(t, q.EndpointRecovered(t.Context(), "default", "hook:https://example.org"))
	require.Equal(t, 1, q.count(`SELECT count(*) FROM alert_dlq_operations o JOIN river_job j ON j.id = o.job_id`))
}

// An attempt that is under way is left alone: sent again, the message would arrive twice.
func TestWhatIsBeingAttemptedIsPassedOver(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.receiver.answer = failsForNow
	q.fill(3)
	exec(t, q.pool, `UPDATE river_job SET state = 'running', attempted_at = now() WHERE id = (SELECT min(id) FROM river_job)`)
	id := q.letterOf(`SELECT d.id FROM alert_dlq d JOIN river_job j ON j.id = d.job_id WHERE j.state = 'running'`)
	_, err := q.ReplayDeadLetter(t.Context(), "default", id, operator)
	require.Equal(t, fault.Conflict, fault.CodeOf(err))

	o := q.start(delivery.Operation{Kind: delivery.Replay, PerSecond: 10})
	require.Equal(t, 2, q.slice(o.ID).Released)
	require.Zero(t, q.slice(o.ID).Released)
	exec(t, q.pool, `UPDATE river_job SET state = 'scheduled', scheduled_at = now() + interval '1 hour' WHERE state = 'running'`)
	require.Equal(t, 1, q.slice(o.ID).Released, "it comes back to it")
}

func (q *queue) letterOf(sql string, args ...any) uuid.UUID {
	q.t.Helper()
	var id uuid.UUID
	require.NoError(q.t, q.pool.QueryRow(q.t.Context(), sql, args...).Scan(&id))
	return id
}

// What an operation has released is held back: it does not wait for ever.
func TestAnOperationWithoutProgressStops(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fill(30)
	begun := time.Now()
	q.now.Store(&begun)
	o := q.start(delivery.Operation{Kind: delivery.Replay, PerSecond: 10})
	for range 3 {
		require.True(t, q.slice(o.ID).More)
	}
	exec(t, q.pool, `UPDATE alert_dlq SET held_by = 'breaker' WHERE operation_id IS NOT NULL`)
	later := begun.Add(59 * time.Second)
	q.now.Store(&later)
	require.True(t, q.slice(o.ID).More)
	later = begun.Add(60 * time.Second)
	q.now.Store(&later)
	require.False(t, q.slice(o.ID).More)
	o = q.ended(o.ID)
	require.Equal(t, "no progress for 60 s: 20 released letters have not been attempted; 20 of them are held back because their endpoint fails; "+
		"of 30 letters 20 were released, 0 of those were delivered, 0 failed, 20 wait, and 10 are left", o.StopReason)
}

// attempt makes a letter's attempt as its job does, or leaves it without an outcome as a worker does that
// dies in the middle: then the reconciler finds it, and late is what the attempt comes to after all.
func (q *queue) attempt(letter uuid.UUID) (late func()) {
	q.t.Helper()
	job := int64(q.count(`SELECT job_id FROM alert_dlq WHERE id = $1`, letter))
	l, ok, err := q.DeadLetterForJob(q.t.Context(), letter, job)
	require.NoError(q.t, err)
	require.True(q.t, ok)
	return func() {
		require.NoError(q.t, q.RecordRetry(q.t.Context(), job, l, delivery.NewRetrier(q.options).Retry(q.t.Context(), l)))
	}
}

func (q *queue) interrupt(letter uuid.UUID, most int) {
	q.t.Helper()
	exec(q.t, q.pool, `UPDATE alert_dlq SET next_retry_at = now() - interval '1 s' WHERE id = $1`, letter)
	exec(q.t, q.pool, `UPDATE river_job SET state = 'running', attempted_at = now() WHERE id = (SELECT job_id FROM alert_dlq WHERE id = $1)`, letter)
	n, err := q.RescheduleOrphans(q.t.Context(), time.Now().Add(time.Minute), most, 10)
	require.NoError(q.t, err)
	require.Equal(q.t, 1, n)
}

// Whatever becomes of the letters that an operation has released, its figures tell of all of them.
func TestAnOperationAccountsForEveryLetter(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	receipts := q.fill(10)
	o := q.start(delivery.Operation{Kind: delivery.Replay, PerSecond: 100})
	require.Equal(t, 10, q.slice(o.ID).Released)
	for i, becomes := range []func(letter uuid.UUID){
		func(letter uuid.UUID) { q.receiver.answer = takesAll; q.attempt(letter)() },
		func(letter uuid.UUID) { q.receiver.answer = refusesAll; q.attempt(letter)() },
		func(letter uuid.UUID) { q.receiver.answer = failsForNow; q.attempt(letter)() },
		func(letter uuid.UUID) { q.interrupt(letter, 5) },
		func(letter uuid.UUID) { q.interrupt(letter, 1) },
		func(letter uuid.UUID) { // given up for dead, and yet it arrived
			late := q.attempt(letter)
			q.interrupt(letter, 5)
			q.receiver.answer = takesAll
			late()
		},
		func(letter uuid.UUID) {
			_, err := q.DiscardDeadLetter(t.Context(), "default", letter, operator)
			require.NoError(t, err)
		},
		func(letter uuid.UUID) { // refused, then delivered by another operation
			q.receiver.answer = refusesAll
			q.attempt(letter)()
			exec(t, q.pool, `UPDATE alert_dlq SET alert_id = 'again' WHERE id = $1`, letter)
			b := q.start(delivery.Operation{Kind: delivery.Replay, PerSecond: 100, Filter: delivery.LetterFilter{AlertID: "again"}})
			require.Equal(t, 1, q.slice(b.ID).Released)
			q.receiver.answer = takesAll
			q.attempt(letter)()
		},
		func(letter uuid.UUID) { // taken over by another operation
			exec(t, q.pool, `UPDATE alert_dlq SET alert_id = 'over' WHERE id = $1`, letter)
			b := q.start(delivery.Operation{Kind: delivery.Replay, PerSecond: 100, Filter: delivery.LetterFilter{AlertID: "over"}})
			require.Equal(t, 1, q.slice(b.ID).Released)
		},
	} {
		becomes(receipts[i].Targets[0].DeadLetterID)
	}
	o, err := q.Operation(t.Context(), "default", o.ID)
	require.NoError(t, err)
	require.Equal(t, []int{10, 3, 3, 2, 1, 1}, []int{o.Released, o.Delivered, o.Failed, o.Waiting, o.Closed, o.Elsewhere()},
		"released, delivered, failed, waiting, closed, elsewhere")
	require.Zero(t, q.count(`SELECT count(*) FROM alert_attempts WHERE attempt > 1 AND operation_id IS NULL`))
}

func TestOneLetterByHand(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	receipt := q.fill(1)[0]
	id := receipt.Targets[0].DeadLetterID

	l, err := q.ReplayDeadLetter(t.Context(), "default", id, operator)
	require.NoError(t, err)
	require.Equal(t, delivery.Pending, l.State)
	require.Zero(t, l.RetryCount)
	require.Equal(t, 1, l.Attempts, "the history stays")
	_, err = q.ReplayDeadLetter(t.Context(), "default", id, operator)
	require.NoError(t, err, "a pending one is due now")
	require.Equal(t, 1, q.count(`SELECT count(*) FROM river_job`), "under one job")

	l, err = q.DiscardDeadLetter(t.Context(), "default", id, operator)
	require.NoError(t, err)
	require.Equal(t, delivery.Discarded, l.State)
	require.NotNil(t, l.ClosedAt)
	_, err = q.DiscardDeadLetter(t.Context(), "default", id, operator)
	require.Equal(t, fault.Conflict, fault.CodeOf(err))
	_, err = q.ReplayDeadLetter(t.Context(), "default", id, operator)
	require.NoError(t, err, "what was given up may be taken up again")
	q.receiver.answer = takesAll
	q.deliverDue()
	_, _, err = q.DeadLetter(t.Context(), "default", id)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	_, err = q.ReplayDeadLetter(t.Context(), "default", id, operator)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	_, err = q.ReplayDeadLetter(t.Context(), "other", id, operator)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	require.Equal(t, []string{
		"api dead_letter.replay", "api dead_letter.replay", "api dead_letter.discard", "api dead_letter.replay",
	}, q.trail(), "what was refused is no act")
}

func TestWhatIsNotSentAnyMore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ sql, says string }{
		{`UPDATE alert_dlq SET state = 'expired', closed_at = now(), expires_at = now()`, "time to live"},
		{`UPDATE alert_dlq SET state = 'discarded', closed_at = now(), expires_at = now() - interval '1 s'`, "time to live"},
		{`UPDATE alert_dlq SET state = 'superseded', closed_at = now()`, "a later event has ended"},
	} {
		q := newQueue(t)
		id := q.fill(1)[0].Targets[0].DeadLetterID
		exec(t, q.pool, c.sql)
		_, err := q.ReplayDeadLetter(t.Context(), "default", id, operator)
		require.Equal(t, fault.Conflict, fault.CodeOf(err))
		require.Contains(t, fault.Detail(err), c.says)
	}
	q := newQueue(t)
	id := q.fill(1, func(e *delivery.Event) { e.Subject = "disk" })[0].Targets[0].DeadLetterID
	_, err := q.DiscardDeadLetter(t.Context(), "default", id, operator)
	require.NoError(t, err)
	q.receiver.answer = takesAll
	q.fill(1, func(e *delivery.Event) { e.Subject, e.Resolves = "disk", true })
	_, err = q.ReplayDeadLetter(t.Context(), "default", id, operator)
	require.ErrorContains(t, err, "a later event has ended", "discarded, then resolved")
}

func TestAnOperationIsCancelled(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fill(30)
	o := q.start(delivery.Operation{Kind: delivery.Replay, PerSecond: 10, Filter: delivery.LetterFilter{State: delivery.Exhausted}})
	require.True(t, q.slice(o.ID).More)
	o, err := q.CancelOperation(t.Context(), "default", o.ID, delivery.By{Actor: "cli", Reason: "wrong filter"})
	require.NoError(t, err)
	require.Equal(t, delivery.OperationCancelled, o.State)
	require.Equal(t, "cancelled by cli: wrong filter", o.StopReason)
	require.Equal(t, delivery.Exhausted, o.Filter.State)
	require.Equal(t, 10, q.count(`SELECT count(*) FROM alert_dlq WHERE state = 'pending'`), "what was released stays so")
	require.False(t, q.slice(o.ID).More)
	_, err = q.CancelOperation(t.Context(), "default", o.ID, operator)
	require.Equal(t, fault.Conflict, fault.CodeOf(err))
	_, err = q.CancelOperation(t.Context(), "other", o.ID, operator)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
}

func TestStatsOfTheQueue(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fill(3)
	q.receiver.answer = failsForNow
	q.fill(1)
	oldest := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	exec(t, q.pool, `UPDATE alert_dlq SET created_at = $1 WHERE state = 'pending'`, oldest)
	id := q.letterOf(`SELECT id FROM alert_dlq WHERE state = 'exhausted' LIMIT 1`)
	_, err := q.DiscardDeadLetter(t.Context(), "default", id, operator)
	require.NoError(t, err)

	s, err := q.DeadLetterStats(t.Context(), "default")
	require.NoError(t, err)
	require.True(t, s.Complete)
	require.Equal(t, []delivery.LetterBalance{
		{Channel: "hook", State: delivery.Discarded, Letters: 1},
		{Channel: "hook", State: delivery.Exhausted, Letters: 2},
		{Channel: "hook", State: delivery.Pending, Letters: 1},
	}, s.Balances)
	require.Equal(t, []delivery.LetterGroup{{Name: "hook", Letters: 3, Oldest: oldest}}, s.Channels)
	require.Len(t, s.Causes, 2)
	require.Equal(t, string(delivery.HTTP4xx), s.Causes[0].Name, "the largest first")
	require.Equal(t, []delivery.TargetGroup{{Target: "hook", Channel: "hook", Cause: delivery.HTTP4xx, Letters: 3, Oldest: oldest}}, s.Destinations)
	other, err := q.DeadLetterStats(t.Context(), "other")
	require.NoError(t, err)
	require.Equal(t, delivery.Stats{Complete: true, Balances: []delivery.LetterBalance{}}, other)
}

// What is over before its first attempt was made, because the worker was away, is not sent: it could
// arrive behind the message that says so.
func TestWhatIsOverIsNotSentAnyMore(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.receiver.answer = takesAll
	service := delivery.NewService(q, q.options)
	submit := func(title string, resolves bool) uuid.UUID {
		receipts, _, err := service.Submit(t.Context(), delivery.Submission{Later: true, Events: []delivery.Event{{
			TenantID: "default", AlertID: "feed", UserID: "ops", Title: title, Severity: delivery.Warning, Data: json.RawMessage(`{}`),
			Targets: []delivery.Target{{Channel: "hook"}}, Subject: "g", Resolves: resolves,
		}}})
		require.NoError(t, err)
		return receipts[0].EventID
	}
	fires, ends := submit("fires", false), submit("ended", true)
	for _, id := range []uuid.UUID{fires, ends} {
		var job int64
		require.NoError(t, q.pool.QueryRow(t.Context(), `SELECT job_id FROM alert_inflight WHERE event_id = $1`, id).Scan(&job))
		e, target, ok, err := q.InFlightForJob(t.Context(), id, "hook", job)
		require.NoError(t, err)
		require.True(t, ok)
		_, err = service.FirstLater(t.Context(), e, target, time.Now())
		require.NoError(t, err)
		_, err = q.pool.Exec(t.Context(), `DELETE FROM river_job WHERE id = $1`, job)
		require.NoError(t, err)
	}
	messages, _ := q.receiver.arrivals()
	require.EqualValues(t, 1, messages)
	_, targets, err := q.History(t.Context(), "default", fires)
	require.NoError(t, err)
	require.Equal(t, delivery.Superseded, targets[0].State)
	require.Empty(t, targets[0].Attempts)
	_, targets, err = q.History(t.Context(), "default", ends)
	require.NoError(t, err)
	require.Equal(t, delivery.Delivered, targets[0].State)
	deliverytest.RequireBalanced(t, q.pool)
}

// Two operators replay the same letters at the same time, and the receiver fails: each letter is taken over
// by the later replay, and not back again, or it would be sent again and again for as long as it fails.
func TestOverlappingReplaysDoNotTakeLettersBack(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.receiver.answer = failsForNow
	q.fill(5)
	a := q.start(delivery.Operation{Kind: delivery.Replay, PerSecond: 10})
	b := q.start(delivery.Operation{Kind: delivery.Replay, PerSecond: 10})
	released := func(id uuid.UUID) int {
		n := q.slice(id).Released
		q.deliverDue()
		return n
	}
	require.Equal(t, 5, released(a.ID))
	require.Equal(t, 5, released(b.ID))
	require.Zero(t, released(a.ID), "they are the other's now")
	require.Zero(t, released(b.ID))
	a, b = q.ended(a.ID), q.ended(b.ID)
	require.Equal(t, delivery.OperationDone, a.State, a.StopReason)
	require.Equal(t, delivery.OperationDone, b.State, b.StopReason)
	require.Equal(t, 15, q.count(`SELECT count(*) FROM alert_attempts`), "the first attempts and one of each replay")

	// Nor does a drain that began before take them from it.
	require.NoError(t, q.EndpointRecovered(t.Context(), "default", "hook:https://example.org"))
	drain := q.letterOf(`SELECT id FROM alert_dlq_operations WHERE kind = 'drain'`)
	c := q.start(delivery.Operation{Kind: delivery.Replay, PerSecond: 10})
	require.Equal(t, 5, released(c.ID))
	require.Zero(t, released(drain))
}

// TestADrainIsBehindWhatAnOperatorStarted: it begins by itself when the first letter of a replay gets through, later than
// the replay. Under a drain a letter goes on where its schedule was, and may be at its last attempt.
func TestADrainIsBehindWhatAnOperatorStarted(t *testing.T) {
	t.Parallel()
	for _, kind := range []delivery.OperationKind{delivery.Replay, delivery.Discard} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			q.receiver.answer = failsForNow
			q.fill(5)
			asked := q.start(delivery.Operation{Kind: kind, PerSecond: 10})
			require.NoError(t, q.EndpointRecovered(t.Context(), "default", "hook:https://example.org"))
			drain := q.letterOf(`SELECT id FROM alert_dlq_operations WHERE kind = 'drain'`)
			released := func(id uuid.UUID) int {
				n := q.slice(id).Released
				q.deliverDue()
				return n
			}
			require.Positive(t, released(drain), "nobody has had these yet")
			require.Equal(t, 5, released(asked.ID), "the drain's included")
			require.Zero(t, released(drain), "as long as the other runs")
			require.Zero(t, released(asked.ID), "it has had them all")
			require.Equal(t, delivery.OperationDone, q.ended(asked.ID).State)
		})
	}
}

// held locks letters, as somebody who is at them, until it is called.
func (q *queue) held(where string) (release func()) {
	q.t.Helper()
	tx, err := q.pool.Begin(q.t.Context())
	require.NoError(q.t, err)
	release = sync.OnceFunc(func() { _ = tx.Rollback(context.WithoutCancel(q.t.Context())) })
	q.t.Cleanup(release)
	_, err = tx.Exec(q.t.Context(), `SELECT FROM alert_dlq WHERE `+where+` FOR UPDATE`)
	require.NoError(q.t, err)
	return release
}

// What somebody else is at in the moment in which an operation looks is passed over, and no reason to be done.
func TestAnOperationComesBackToWhatWasLocked(t *testing.T) {
	t.Parallel()
	for _, kind := range []delivery.OperationKind{delivery.Replay, delivery.Discard, delivery.Drain} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			q.receiver.answer = failsForNow
			q.fill(1)
			if kind == delivery.Drain {
				require.NoError(t, q.EndpointRecovered(t.Context(), "default", "hook:https://example.org"))
			} else {
				q.start(delivery.Operation{Kind: kind, PerSecond: 10})
			}
			id := q.letterOf(`SELECT id FROM alert_dlq_operations`)
			release := q.held(`true`)
			require.Equal(t, jobs.Slice{Kind: kind, More: true}, q.slice(id))
			release()
			require.Equal(t, 1, q.slice(id).Released)
		})
	}
}

func TestAnOperationDoesNotWaitForWhatIsLockedForEver(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fill(2)
	begun := time.Now()
	q.now.Store(&begun)
	o := q.start(delivery.Operation{Kind: delivery.Discard, PerSecond: 10})
	q.held(`id = (SELECT max(id::text)::uuid FROM alert_dlq)`)
	require.Equal(t, 1, q.slice(o.ID).Released)
	require.True(t, q.slice(o.ID).More)
	later := begun.Add(time.Minute)
	q.now.Store(&later)
	require.False(t, q.slice(o.ID).More)
	require.Equal(t, "no progress for 60 s: somebody else is at what is left; of 2 letters 1 were released, 0 of those were delivered, 0 failed, 0 wait, and 1 are left",
		q.ended(o.ID).StopReason)
}

// What ends a subject is accepted in the very moment in which a first attempt fails, or a letter is replayed:
// neither transaction sees the other. The letter is found to be over when its job reads it, and is not sent
// behind what says that it is.
func TestWhatIsEndedAtTheSameTimeIsNotSent(t *testing.T) {
	t.Parallel()
	fires := func(e *delivery.Event) { e.Subject = "disk" }
	for name, c := range map[string]struct{ before, meanwhile func(q *queue) }{
		"the first attempt fails": {
			before:    func(*queue) {},
			meanwhile: func(q *queue) { q.fill(1, fires) },
		},
		"a discarded letter is replayed": {
			before: func(q *queue) {
				_, err := q.DiscardDeadLetter(q.t.Context(), "default", q.fill(1, fires)[0].Targets[0].DeadLetterID, operator)
				require.NoError(q.t, err)
			},
			meanwhile: func(q *queue) {
				_, err := q.ReplayDeadLetter(q.t.Context(), "default", q.letterOf(`SELECT id FROM alert_dlq`), operator)
				require.NoError(q.t, err)
			},
		},
		"discarded letters are replayed": {
			before: func(q *queue) {
				q.fill(1, fires)
				q.slice(q.start(delivery.Operation{Kind: delivery.Discard, PerSecond: 10}).ID)
			},
			meanwhile: func(q *queue) {
				o := q.start(delivery.Operation{Kind: delivery.Replay, PerSecond: 10, Filter: delivery.LetterFilter{State: delivery.Discarded}})
				require.Equal(q.t, 1, q.slice(o.ID).Released)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			q.receiver.answer = failsForNow
			c.before(q)
			end, err := q.pool.Begin(t.Context())
			require.NoError(t, err)
			t.Cleanup(func() { _ = end.Rollback(context.Background()) })
			now := time.Now().Add(time.Second) // later than what fires
			options := q.options
			options.Now = func() time.Time { return now }
			a, err := delivery.NewService(q, options).Prepare(t.Context(), delivery.Event{
				TenantID: "default", AlertID: "nav-drop", UserID: "ada", Title: "NAV is back", Severity: delivery.Warning, Data: json.RawMessage("{}"),
				Targets: []delivery.Target{{Channel: "hook", URL: "https://example.org"}}, Subject: "disk", Resolves: true,
			})
			require.NoError(t, err)
			a.Later = true
			_, err = q.AcceptTx(t.Context(), end, []delivery.Acceptance{a})
			require.NoError(t, err)
			c.meanwhile(q)
			require.NoError(t, end.Commit(t.Context()))

			require.Equal(t, 1, q.count(`SELECT count(*) FROM alert_dlq WHERE state = 'pending'`), "neither saw the other")
			attempts := q.count(`SELECT count(*) FROM alert_attempts`)
			q.receiver.answer = takesAll
			exec(t, q.pool, `UPDATE alert_dlq SET next_retry_at = now()`)
			q.deliverDue()
			messages, _ := q.receiver.arrivals()
			require.Zero(t, messages)
			require.Equal(t, 1, q.count(`SELECT count(*) FROM alert_dlq WHERE state = 'superseded' AND closed_at IS NOT NULL`))
			require.Equal(t, attempts, q.count(`SELECT count(*) FROM alert_attempts`))
			require.Zero(t, q.count(`SELECT count(*) FROM alert_dedup k JOIN alert_dlq l ON l.event_id = k.event_id`), "what fires again is no duplicate of it")
			exec(t, q.pool, `DELETE FROM river_job WHERE kind = 'retry_delivery'`) // its job ends
			deliverytest.RequireBalanced(t, q.pool)
		})
	}
}
