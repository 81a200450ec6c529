package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertest"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
	"golang.org/x/sync/errgroup"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/internal/store/deliverytest"
)

// deliveries is a store of deliveries with its database and clock.
type deliveries struct {
	*store.Deliveries
	t     *testing.T
	pool  *pgxpool.Pool
	river *river.Client[pgx.Tx]
	now   time.Time
}

// setupDeliveries returns a store on an empty database. Whatever the test does, the accounts have
// to balance at its end.
func setupDeliveries(t *testing.T) *deliveries {
	t.Helper()
	return newDeliveries(t, dbtest.New(t))
}

func newDeliveries(t *testing.T, pool *pgxpool.Pool) *deliveries {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Logger: quiet})
	require.NoError(t, err)
	d := &deliveries{t: t, pool: pool, river: client, now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	d.Deliveries = store.NewDeliveries(pool, client, quiet, func() time.Time { return d.now })
	t.Cleanup(func() { deliverytest.RequireBalanced(t, pool) })
	return d
}

func (d *deliveries) exec(sql string, args ...any) {
	d.t.Helper()
	exec(d.t, d.pool, sql, args...)
}

// accept takes an event on whose channels are given by name.
func (d *deliveries) accept(channels ...string) delivery.Event {
	d.t.Helper()
	return d.acceptFor("default", channels...)
}

func (d *deliveries) acceptFor(tenant string, channels ...string) delivery.Event {
	d.t.Helper()
	e := delivery.Event{
		ID: uuid.Must(uuid.NewV7()), TenantID: tenant, AlertID: "nav-drop", UserID: "ada", Title: "NAV fell", Source: delivery.Direct,
		Message: "It fell by 3 %.", Severity: delivery.Warning, Data: json.RawMessage(`{"change": -0.030}`),
		TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", AcceptedAt: d.now,
	}
	for _, c := range channels {
		e.Targets = append(e.Targets, delivery.Target{Channel: c, URL: "https://example.org/" + c})
	}
	require.NoError(d.t, d.take(e))
	return e
}

// take accepts an event that is no duplicate of any.
func (d *deliveries) take(e delivery.Event) error {
	d.t.Helper()
	_, _, err := d.Accept(d.t.Context(), []delivery.Acceptance{{Event: e}}, nil)
	return err
}

var (
	arrived = delivery.Outcome{StatusCode: 204}
	again   = delivery.Outcome{Cause: delivery.HTTP5xx, Retry: true, StatusCode: 503, Detail: "the receiver answered 503", Excerpt: "busy"}
	refused = delivery.Outcome{Cause: delivery.HTTP4xx, StatusCode: 404, Detail: "the receiver answered 404"}
)

// verdict is what an attempt at d.now came to; a retry is due a minute later.
func (d *deliveries) verdict(e delivery.Event, channel string, attempt int, o delivery.Outcome) delivery.Verdict {
	v := delivery.Verdict{
		Delivery: delivery.Delivery{Event: e, Attempt: attempt},
		Attempt: delivery.Attempt{
			Number: attempt, StartedAt: d.now, Duration: 250 * time.Millisecond, Outcome: o,
			TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
		},
		DecidedAt: d.now.Add(250 * time.Millisecond),
	}
	for _, t := range e.Targets {
		if t.Channel == channel {
			v.Delivery.Target = t
		}
	}
	switch {
	case o.Delivered():
		v.State = delivery.Delivered
	case o.Retry:
		v.State, v.NextRetryAt = delivery.Pending, d.now.Add(time.Minute)
	default:
		v.State = delivery.Exhausted
	}
	return v
}

func (d *deliveries) first(e delivery.Event, channel string, o delivery.Outcome) uuid.UUID {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 5*time.Second)
	defer cancel()
	letter, err := d.RecordFirst(ctx, d.verdict(e, channel, 1, o))
	require.NoError(d.t, err)
	return letter
}

// pending takes an event on whose first attempt on webhook failed.
func (d *deliveries) pending() (delivery.Event, uuid.UUID) {
	d.t.Helper()
	e := d.accept("webhook")
	return e, d.first(e, "webhook", again)
}

// job is the letter's job, as River hands it to a worker that starts on it at d.now.
func (d *deliveries) job(letter uuid.UUID) *river.Job[jobs.RetryArgs] {
	d.t.Helper()
	var id int64
	require.NoError(d.t, d.pool.QueryRow(d.t.Context(), `SELECT job_id FROM alert_dlq WHERE id = $1`, letter).Scan(&id))
	d.exec(`UPDATE river_job SET state = 'running', attempt = 1, attempted_at = $2, attempted_by = '{test}' WHERE id = $1`, id, d.now)
	row, err := d.river.JobGet(d.t.Context(), id)
	require.NoError(d.t, err)
	return &river.Job[jobs.RetryArgs]{JobRow: row, Args: jobs.RetryArgs{DeadLetterID: letter}}
}

func (d *deliveries) load(letter uuid.UUID, job *river.Job[jobs.RetryArgs]) delivery.DeadLetter {
	d.t.Helper()
	l, ok, err := d.DeadLetterForJob(d.t.Context(), letter, job.ID)
	require.NoError(d.t, err)
	require.True(d.t, ok, "letter %s is not job %d's", letter, job.ID)
	return l
}

// record writes down what a retry came to, as a worker does.
func (d *deliveries) record(job *river.Job[jobs.RetryArgs], l delivery.DeadLetter, o delivery.Outcome) {
	d.t.Helper()
	// What can't be recorded is tried until the context ends.
	ctx, cancel := context.WithTimeout(rivertest.WorkContext(d.t.Context(), d.river), 5*time.Second)
	defer cancel()
	v := d.verdict(l.Event, l.Target().Channel, l.Attempts+1, o)
	require.NoError(d.t, d.RecordRetry(ctx, job.ID, l, v))
	if v.State != delivery.Pending { // the worker's job is done
		d.exec(`UPDATE river_job SET state = 'completed', finalized_at = now() WHERE id = $1`, job.ID)
	}
}

// retry makes the letter's next attempt when it is due.
func (d *deliveries) retry(letter uuid.UUID, o delivery.Outcome) {
	d.t.Helper()
	d.now = d.now.Add(2 * time.Minute)
	job := d.job(letter)
	d.record(job, d.load(letter, job), o)
}

func (d *deliveries) requireAccounts(want deliverytest.Accounts) {
	d.t.Helper()
	require.Equal(d.t, want, deliverytest.Count(d.t, d.pool))
	deliverytest.RequireBalanced(d.t, d.pool)
}

// attempts describes the recorded attempts on a channel.
func (d *deliveries) attempts(e delivery.Event, channel string) []string {
	d.t.Helper()
	rows, err := d.pool.Query(d.t.Context(), `
		SELECT attempt || ' ' || outcome || coalesce(' ' || cause, '') FROM alert_attempts
		WHERE event_id = $1 AND channel = $2 ORDER BY attempt`, e.ID, channel)
	require.NoError(d.t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(d.t, err)
	return list
}

// history returns where an event stands on a channel.
func (d *deliveries) history(e delivery.Event, channel string) delivery.TargetHistory {
	d.t.Helper()
	_, channels, err := d.History(d.t.Context(), e.TenantID, e.ID)
	require.NoError(d.t, err)
	for _, c := range channels {
		if c.Target.Key() == channel {
			return c
		}
	}
	require.Fail(d.t, "no such channel", channel)
	return delivery.TargetHistory{}
}

// The arrows of package delivery's drawing, one after the other.

func TestAcceptPutsEveryChannelInFlight(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e := d.accept("inapp", "webhook")
	d.requireAccounts(deliverytest.Accounts{Events: 1, InFlight: 2})

	got, channels, err := d.History(t.Context(), "default", e.ID)
	require.NoError(t, err)
	require.JSONEq(t, string(e.Data), string(got.Data))
	got.Data = e.Data
	require.Equal(t, e, got)
	require.Equal(t, []delivery.TargetHistory{
		{Target: e.Targets[0], State: delivery.InFlight}, {Target: e.Targets[1], State: delivery.InFlight},
	}, channels)
}

func TestAcceptIsAllOrNothing(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e := d.accept("webhook")
	require.NoError(t, d.take(e), "as when its first acceptance was not confirmed: it is accepted, and once")
	_, _, err := d.Accept(t.Context(), []delivery.Acceptance{{Event: d.wanted()}, {Event: e}}, nil)
	require.Error(t, err, "one of a list is there already")
	twice := e
	twice.ID = uuid.Must(uuid.NewV7())
	twice.Targets = append(twice.Targets, twice.Targets[0])
	require.Error(t, d.take(twice), "one channel cannot be in flight twice")
	d.requireAccounts(deliverytest.Accounts{Events: 1, InFlight: 1})
}

func TestAcceptRefusesWhatPostgreSQLHasNoFormFor(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	tests := map[string]func(*delivery.Event){
		"NUL in text":           func(e *delivery.Event) { e.Title = "a\x00b" },
		"text that is no UTF-8": func(e *delivery.Event) { e.Message = "a\xffb" },
		"NUL in data":           func(e *delivery.Event) { e.Data = json.RawMessage(`{"a": "\u0000"}`) },
		"NUL in a key":          func(e *delivery.Event) { e.Data = json.RawMessage(`{"\u0000": 1}`) },
		"half a character":      func(e *delivery.Event) { e.Data = json.RawMessage(`{"a": "\ud800"}`) },
		"data that is no UTF-8": func(e *delivery.Event) { e.Data = json.RawMessage("{\"a\": \"\xff\"}") },
		"data that is no JSON":  func(e *delivery.Event) { e.Data = json.RawMessage(`{"a"`) },
		"a number beyond all":   func(e *delivery.Event) { e.Data = json.RawMessage(`{"a": 1e131073}`) },
	}
	for name, change := range tests {
		e := delivery.Event{
			ID: uuid.Must(uuid.NewV7()), TenantID: "default", Source: delivery.Direct, Severity: delivery.Info, Data: json.RawMessage("{}"),
			Targets: []delivery.Target{{Channel: "inapp"}}, AcceptedAt: d.now,
		}
		change(&e)
		err := d.take(e)
		require.Equal(t, fault.Invalid, fault.CodeOf(err), "%s: %v", name, err)
	}
	d.requireAccounts(deliverytest.Accounts{})
}

func TestFirstAttemptDelivers(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e := d.accept("inapp", "webhook")
	require.Zero(t, d.first(e, "webhook", arrived))
	d.requireAccounts(deliverytest.Accounts{Events: 1, InFlight: 1, Delivered: 1, Attempts: 1})

	var methods, hash string
	require.NoError(t, d.pool.QueryRow(t.Context(),
		`SELECT delivery_methods::text, content_hash FROM alert_deliveries WHERE event_id = $1`, e.ID).Scan(&methods, &hash))
	require.JSONEq(t, `["webhook"]`, methods)
	want, err := delivery.Delivery{Event: e, Target: delivery.Target{Channel: "webhook"}}.ContentHash()
	require.NoError(t, err)
	require.Equal(t, want, hash)

	h := d.history(e, "webhook")
	require.Equal(t, delivery.Delivered, h.State)
	require.Equal(t, d.now.Add(250*time.Millisecond), *h.DeliveredAt)
	require.Equal(t, []delivery.Attempt{{
		Number: 1, StartedAt: d.now, Duration: 250 * time.Millisecond, Outcome: arrived,
		TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
	}}, h.Attempts)
}

func TestFirstAttemptFailsAndIsQueuedWithItsJob(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e, letter := d.pending()
	d.requireAccounts(deliverytest.Accounts{Events: 1, Pending: 1, Attempts: 1, Jobs: 1})

	due := d.now.Add(time.Minute)
	l, attempts, err := d.DeadLetter(t.Context(), "default", letter)
	require.NoError(t, err)
	require.JSONEq(t, string(e.Data), string(l.Event.Data))
	l.Event.Data = e.Data
	require.Equal(t, delivery.DeadLetter{
		ID: letter, Event: e, State: delivery.Pending, Cause: delivery.HTTP5xx, Error: "the receiver answered 503",
		Attempts: 1, CreatedAt: d.now.Add(250 * time.Millisecond), NextRetryAt: &due,
		TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
	}, l)
	require.Len(t, attempts, 1)
	recorded := again
	recorded.Retry = false // whether it may be repeated is judged, not kept
	require.Equal(t, recorded, attempts[0].Outcome)

	job := d.job(letter)
	require.WithinDuration(t, due, job.ScheduledAt, 0)
	require.Equal(t, 1, job.MaxAttempts)
	require.Equal(t, jobs.QueueDelivery, job.Queue)
}

func TestFirstAttemptIsRefusedForGood(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e := d.accept("webhook")
	letter := d.first(e, "webhook", refused)
	d.requireAccounts(deliverytest.Accounts{Events: 1, Exhausted: 1, Attempts: 1})
	l, _, err := d.DeadLetter(t.Context(), "default", letter)
	require.NoError(t, err)
	require.Equal(t, delivery.Exhausted, l.State)
	require.Nil(t, l.NextRetryAt)
	require.Equal(t, letter, d.history(e, "webhook").Letter.ID)
}

// River's scheduler looks every five seconds; a job that is due sooner goes in as available.
func TestAShortFirstWaitDoesNotWaitForTheScheduler(t *testing.T) {
	t.Parallel()
	for wait, want := range map[time.Duration]rivertype.JobState{
		0: rivertype.JobStateAvailable, time.Second: rivertype.JobStateAvailable, time.Hour: rivertype.JobStateScheduled,
	} {
		d := setupDeliveries(t)
		d.now = time.Now()
		e := d.accept("webhook")
		v := d.verdict(e, "webhook", 1, again)
		v.NextRetryAt = d.now.Add(wait)
		letter, err := d.RecordFirst(t.Context(), v)
		require.NoError(t, err)
		var state rivertype.JobState
		require.NoError(t, d.pool.QueryRow(t.Context(),
			`SELECT j.state FROM river_job j JOIN alert_dlq l ON l.job_id = j.id WHERE l.id = $1`, letter).Scan(&state))
		require.Equal(t, want, state, "first wait of %s", wait)
	}
}

func TestRetryDelivers(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e, letter := d.pending()
	d.now = d.now.Add(2 * time.Minute)
	job := d.job(letter)
	d.record(job, d.load(letter, job), arrived)
	d.requireAccounts(deliverytest.Accounts{Events: 1, Delivered: 1, Attempts: 2})
	require.Equal(t, []string{"1 failed http_5xx", "2 delivered"}, d.attempts(e, "webhook"))

	_, _, err := d.DeadLetter(t.Context(), "default", letter)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
}

func TestRetryFailsAndGoesOn(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e, letter := d.pending()
	for retries := 1; retries <= 3; retries++ {
		d.retry(letter, again)
		d.requireAccounts(deliverytest.Accounts{Events: 1, Pending: 1, Attempts: 1 + retries, Jobs: 1})
		l, _, err := d.DeadLetter(t.Context(), "default", letter)
		require.NoError(t, err)
		require.Equal(t, retries, l.RetryCount)
		require.Equal(t, 1+retries, l.Attempts)
		require.Equal(t, d.now, *l.LastRetryAt)
		require.Equal(t, d.now.Add(time.Minute), *l.NextRetryAt)
	}
	require.Equal(t, []string{"1 failed http_5xx", "2 failed http_5xx", "3 failed http_5xx", "4 failed http_5xx"}, d.attempts(e, "webhook"))
}

func TestRetryExhausts(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	_, letter := d.pending()
	d.now = d.now.Add(2 * time.Minute)
	job := d.job(letter)
	d.record(job, d.load(letter, job), refused)
	d.requireAccounts(deliverytest.Accounts{Events: 1, Exhausted: 1, Attempts: 2})
	l, _, err := d.DeadLetter(t.Context(), "default", letter)
	require.NoError(t, err)
	require.Equal(t, delivery.HTTP4xx, l.Cause)
	require.Equal(t, 1, l.RetryCount)

	_, ok, err := d.DeadLetterForJob(t.Context(), letter, job.ID)
	require.NoError(t, err)
	require.False(t, ok, "nobody attempts it again")
}

// What is recorded is recorded once, however often it is tried: a connection that breaks in the
// commit leaves open whether it went through.
func TestRecordingTwiceIsRecordingOnce(t *testing.T) {
	t.Parallel()
	for _, o := range []delivery.Outcome{arrived, again, refused} {
		t.Run("first "+string(o.Cause), func(t *testing.T) {
			t.Parallel()
			d := setupDeliveries(t)
			e := d.accept("webhook")
			letter := d.first(e, "webhook", o)
			before := deliverytest.Count(t, d.pool)
			require.Equal(t, letter, d.first(e, "webhook", o))
			d.requireAccounts(before)
		})
		t.Run("retry "+string(o.Cause), func(t *testing.T) {
			t.Parallel()
			d := setupDeliveries(t)
			_, letter := d.pending()
			d.now = d.now.Add(2 * time.Minute)
			job := d.job(letter)
			l := d.load(letter, job)
			d.record(job, l, o)
			before := deliverytest.Count(t, d.pool)
			d.record(job, l, o)
			d.requireAccounts(before)
			if now, _, err := d.DeadLetter(t.Context(), "default", letter); err == nil {
				require.Equal(t, 1, now.RetryCount)
			}
		})
	}
}

// The end of a letter does not hang on its job being there.
func TestRetryOfAJobThatIsGone(t *testing.T) {
	t.Parallel()
	for _, o := range []delivery.Outcome{arrived, again, refused} {
		d := setupDeliveries(t)
		_, letter := d.pending()
		d.now = d.now.Add(2 * time.Minute)
		job := d.job(letter)
		l := d.load(letter, job)
		d.exec(`DELETE FROM river_job WHERE id = $1`, job.ID)
		ctx, cancel := context.WithTimeout(rivertest.WorkContext(t.Context(), d.river), 5*time.Second)
		defer cancel()
		v := d.verdict(l.Event, "webhook", 2, o)
		require.NoError(t, d.RecordRetry(ctx, job.ID, l, v))
		a := deliverytest.Count(t, d.pool)
		require.Equal(t, map[delivery.State]int{v.State: 1},
			map[delivery.State]int{v.State: map[delivery.State]int{
				delivery.Delivered: a.Delivered, delivery.Pending: a.Pending, delivery.Exhausted: a.Exhausted,
			}[v.State]})
	}
}

// While the database is away, an outcome is kept and tried again; then it is given up.
func TestRecordingGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e := d.accept("webhook")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	d.exec(`ALTER TABLE alert_inflight RENAME TO away`)
	_, err := d.RecordFirst(ctx, d.verdict(e, "webhook", 1, arrived))
	require.Error(t, err)
	d.exec(`ALTER TABLE away RENAME TO alert_inflight`)
	d.requireAccounts(deliverytest.Accounts{Events: 1, InFlight: 1})
}

func TestRecordingOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e := d.accept("webhook")
	d.exec(`ALTER TABLE alert_inflight RENAME TO away`)
	var g errgroup.Group
	g.Go(func() error {
		_, err := d.RecordFirst(t.Context(), d.verdict(e, "webhook", 1, arrived))
		return err
	})
	// One failed attempt at least, as the database tells it.
	require.Eventually(t, func() bool {
		var rollbacks int
		err := d.pool.QueryRow(t.Context(),
			`SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()`).Scan(&rollbacks)
		return err == nil && rollbacks > 0
	}, 10*time.Second, 10*time.Millisecond)
	d.exec(`ALTER TABLE away RENAME TO alert_inflight`)
	require.NoError(t, g.Wait())
	d.requireAccounts(deliverytest.Accounts{Events: 1, Delivered: 1, Attempts: 1})
}

// Interruptions.

func (d *deliveries) queueInterrupted(want int) {
	d.t.Helper()
	n, err := d.QueueInterrupted(d.t.Context(), d.now, 100)
	require.NoError(d.t, err)
	require.Equal(d.t, want, n)
}

// letterOf returns the only dead letter there is.
func (d *deliveries) letterOf(e delivery.Event) uuid.UUID {
	d.t.Helper()
	var id uuid.UUID
	require.NoError(d.t, d.pool.QueryRow(d.t.Context(), `SELECT id FROM alert_dlq WHERE event_id = $1`, e.ID).Scan(&id))
	return id
}

func TestQueueInterrupted(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	old := d.accept("inapp", "webhook")
	d.first(old, "inapp", arrived)
	d.now = d.now.Add(time.Minute)
	young := d.accept("webhook")

	n, err := d.QueueInterrupted(t.Context(), d.now, 100)
	require.NoError(t, err)
	require.Equal(t, 1, n, "what is not older than the limit may still be on its way")
	d.requireAccounts(deliverytest.Accounts{Events: 2, InFlight: 1, Delivered: 1, Pending: 1, Attempts: 2, Jobs: 1})
	require.Equal(t, []string{"1 interrupted interrupted"}, d.attempts(old, "webhook"))
	require.Empty(t, d.attempts(young, "webhook"))

	letter := d.letterOf(old)
	l, _, err := d.DeadLetter(t.Context(), "default", letter)
	require.NoError(t, err)
	require.Equal(t, delivery.Interrupted, l.Cause)
	require.Equal(t, old.Targets[1], l.Target())
	require.Equal(t, d.now, *l.NextRetryAt, "due now")
	require.Zero(t, l.RetryCount)
	require.Zero(t, l.Interruptions, "the first attempt's death is not the letter's doing")

	job := d.job(letter)
	require.Equal(t, old.TraceParent, gjson.GetBytes(job.Metadata, "traceparent").String(), "the trace goes on")

	// The same content has the same hash, whether a letter was made of the request or of its row.
	var hash string
	require.NoError(t, d.pool.QueryRow(t.Context(), `SELECT content_hash FROM alert_dlq WHERE id = $1`, letter).Scan(&hash))
	want, err := delivery.Delivery{Event: old, Target: old.Targets[1]}.ContentHash()
	require.NoError(t, err)
	require.Equal(t, want, hash)

	d.queueInterrupted(0)
	d.retry(letter, arrived)
	d.requireAccounts(deliverytest.Accounts{Events: 2, InFlight: 1, Delivered: 2, Attempts: 3})
}

func TestQueueInterruptedInBatches(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	for range 5 {
		d.accept("webhook")
	}
	d.now = d.now.Add(time.Minute)
	for _, want := range []int{2, 2, 1, 0} {
		n, err := d.QueueInterrupted(t.Context(), d.now, 2)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	d.requireAccounts(deliverytest.Accounts{Events: 5, Pending: 5, Attempts: 5, Jobs: 5})
}

// One that can't be mended must not keep the others from it, and must not be passed over in
// silence.
func TestQueueInterruptedPassesWhatItCannotMend(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	bad := d.accept("webhook")
	good := d.accept("webhook")
	d.exec(`UPDATE alert_events SET channels = '[]' WHERE id = $1`, bad.ID)
	d.now = d.now.Add(time.Minute)
	n, err := d.QueueInterrupted(t.Context(), d.now, 100)
	require.ErrorContains(t, err, bad.ID.String())
	require.Equal(t, 1, n)
	require.Equal(t, delivery.Pending, d.history(good, "webhook").State)
	d.exec(`UPDATE alert_events SET channels = '{"webhook": {}}' WHERE id = $1`, bad.ID)
	d.queueInterrupted(1)
}

func TestALateSuccessOfTheFirstAttemptClosesItsLetter(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e := d.accept("webhook")
	late := d.verdict(e, "webhook", 1, arrived)
	d.now = d.now.Add(time.Minute)
	d.queueInterrupted(1)
	letter := d.letterOf(e)
	job := d.job(letter)
	l := d.load(letter, job)

	id, err := d.RecordFirst(t.Context(), late)
	require.NoError(t, err)
	require.Zero(t, id)
	d.requireAccounts(deliverytest.Accounts{Events: 1, Delivered: 1, Attempts: 1, Jobs: 1})
	require.Equal(t, []string{"1 delivered"}, d.attempts(e, "webhook"))

	// The retry that is under way comes to the same end, whatever it meets.
	d.record(job, l, again)
	d.requireAccounts(deliverytest.Accounts{Events: 1, Delivered: 1, Attempts: 1, Jobs: 1})
	d.record(job, l, arrived)
	d.requireAccounts(deliverytest.Accounts{Events: 1, Delivered: 1, Attempts: 1})
	_, ok, err := d.DeadLetterForJob(t.Context(), letter, job.ID)
	require.NoError(t, err)
	require.False(t, ok)
}

func TestALateFailureOfTheFirstAttemptChangesNothing(t *testing.T) {
	t.Parallel()
	for _, o := range []delivery.Outcome{again, refused} {
		d := setupDeliveries(t)
		e := d.accept("webhook")
		late := d.verdict(e, "webhook", 1, o)
		d.now = d.now.Add(time.Minute)
		d.queueInterrupted(1)
		id, err := d.RecordFirst(t.Context(), late)
		require.NoError(t, err)
		require.Equal(t, d.letterOf(e), id)
		d.requireAccounts(deliverytest.Accounts{Events: 1, Pending: 1, Attempts: 1, Jobs: 1})

		d.retry(id, arrived)
		id, err = d.RecordFirst(t.Context(), late)
		require.NoError(t, err)
		require.Zero(t, id, "it has been delivered since")
		d.requireAccounts(deliverytest.Accounts{Events: 1, Delivered: 1, Attempts: 2})
	}
}

const maxInterruptions = 3

// reschedule looks for orphans at d.now; a job has lost its worker after a minute.
func (d *deliveries) reschedule(want int) {
	d.t.Helper()
	n, err := d.RescheduleOrphans(d.t.Context(), d.now.Add(-time.Minute), maxInterruptions, 100)
	require.NoError(d.t, err)
	require.Equal(d.t, want, n)
}

func TestRescheduleOrphans(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		job         string        // what has become of the job, $1
		after       time.Duration // how long after the letter was due
		orphan      bool
		interrupted bool
	}{
		{"waiting", `UPDATE river_job SET state = 'scheduled' WHERE id = $1`, time.Hour, false, false},
		{"waiting for a worker", `UPDATE river_job SET state = 'available' WHERE id = $1`, time.Hour, false, false},
		{"running", `UPDATE river_job SET state = 'running', attempted_at = $2 WHERE id = $1`, 30 * time.Second, false, false},
		{"running without a worker", `UPDATE river_job SET state = 'running', attempted_at = $2 WHERE id = $1`, 2 * time.Minute, true, true},
		{"discarded in an attempt", `UPDATE river_job SET state = 'discarded', attempted_at = $2, finalized_at = $2 WHERE id = $1`, time.Second, true, true},
		{"cancelled in an attempt", `UPDATE river_job SET state = 'cancelled', attempted_at = $2, finalized_at = $2 WHERE id = $1`, time.Second, true, true},
		{"cancelled before an attempt", `UPDATE river_job SET state = 'cancelled', finalized_at = $2 WHERE id = $1`, time.Second, true, false},
		{"completed without an outcome", `UPDATE river_job SET state = 'completed', attempted_at = $2, finalized_at = $2 WHERE id = $1`, time.Second, true, true},
		{"deleted", `DELETE FROM river_job WHERE id = $1`, time.Second, true, false},
		{"deleted, but not due yet", `DELETE FROM river_job WHERE id = $1`, -time.Second, false, false},
		// It ran, and was put off: an earlier attempt is not the one that was interrupted.
		{"cancelled while it waited for its next attempt", `UPDATE river_job SET state = 'cancelled', attempted_at = $2::timestamptz - interval '1 minute', finalized_at = $2 WHERE id = $1`, time.Second, true, false},
		{"discarded after its attempt was recorded", `UPDATE river_job SET state = 'discarded', attempted_at = $2::timestamptz - interval '1 minute', finalized_at = $2 WHERE id = $1`, time.Second, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := setupDeliveries(t)
			e, letter := d.pending()
			before, _, err := d.DeadLetter(t.Context(), "default", letter)
			require.NoError(t, err)
			due := *before.NextRetryAt
			var old int64
			require.NoError(t, d.pool.QueryRow(t.Context(), `SELECT job_id FROM alert_dlq`).Scan(&old))
			if strings.Contains(tt.job, "$2") {
				d.exec(tt.job, old, due)
			} else {
				d.exec(tt.job, old)
			}

			d.now = due.Add(tt.after)
			if !tt.orphan {
				d.reschedule(0)
				after, _, err := d.DeadLetter(t.Context(), "default", letter)
				require.NoError(t, err)
				require.Equal(t, before, after)
				return
			}
			d.reschedule(1)
			d.reschedule(0)
			after, _, err := d.DeadLetter(t.Context(), "default", letter)
			require.NoError(t, err)
			require.Equal(t, delivery.Pending, after.State)
			require.Zero(t, after.RetryCount, "an interruption takes nothing from the schedule")
			attempts := []string{"1 failed http_5xx"}
			if tt.interrupted {
				attempts = append(attempts, "2 interrupted interrupted")
				require.Equal(t, 1, after.Interruptions)
				require.Equal(t, delivery.Interrupted, after.Cause)
			} else {
				require.Zero(t, after.Interruptions)
				require.Equal(t, delivery.HTTP5xx, after.Cause)
			}
			require.Equal(t, attempts, d.attempts(e, "webhook"))

			job := d.job(letter)
			require.NotEqual(t, old, job.ID)
			require.False(t, job.ScheduledAt.After(time.Now().Add(time.Second)), "due now")
			require.Equal(t, e.TraceParent, gjson.GetBytes(job.Metadata, "traceparent").String())
			_, ok, err := d.DeadLetterForJob(t.Context(), letter, old)
			require.NoError(t, err)
			require.False(t, ok, "the old job, should it come back, finds nothing to do")

			d.record(job, d.load(letter, job), arrived)
			require.Equal(t, delivery.Delivered, d.history(e, "webhook").State)
		})
	}
}

// interrupt lets the worker die in the letter's next attempt.
func (d *deliveries) interrupt(letter uuid.UUID) *river.Job[jobs.RetryArgs] {
	d.t.Helper()
	d.now = d.now.Add(2 * time.Minute)
	job := d.job(letter)
	d.now = d.now.Add(2 * time.Minute)
	d.reschedule(1)
	return job
}

func TestALetterThatKillsItsWorkersIsExhausted(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e, letter := d.pending()
	for n := 1; n < maxInterruptions; n++ {
		d.interrupt(letter)
		l, _, err := d.DeadLetter(t.Context(), "default", letter)
		require.NoError(t, err)
		require.Equal(t, delivery.Pending, l.State)
		require.Equal(t, n, l.Interruptions)
	}
	d.interrupt(letter)
	l, _, err := d.DeadLetter(t.Context(), "default", letter)
	require.NoError(t, err)
	require.Equal(t, delivery.Exhausted, l.State)
	require.Equal(t, delivery.Interrupted, l.Cause)
	require.Nil(t, l.NextRetryAt)
	require.Equal(t, []string{"1 failed http_5xx", "2 interrupted interrupted", "3 interrupted interrupted", "4 interrupted interrupted"}, d.attempts(e, "webhook"))
	d.now = d.now.Add(24 * time.Hour)
	d.reschedule(0)
}

// A worker that was given up and comes back: what it delivered is delivered, and not sent again.
func TestALateSuccessOfARetryClosesItsLetter(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		meantime func(d *deliveries, letter uuid.UUID)
		attempts []string
	}{
		{"before the next attempt", func(*deliveries, uuid.UUID) {}, []string{"1 failed http_5xx", "2 delivered"}},
		{
			"after the next attempt failed", func(d *deliveries, letter uuid.UUID) { d.retry(letter, again) },
			[]string{"1 failed http_5xx", "2 delivered", "3 failed http_5xx"},
		},
		{
			"after it was exhausted", func(d *deliveries, letter uuid.UUID) { d.retry(letter, refused) },
			[]string{"1 failed http_5xx", "2 delivered", "3 failed http_4xx"},
		},
		{
			"after it was delivered once more", func(d *deliveries, letter uuid.UUID) { d.retry(letter, arrived) },
			[]string{"1 failed http_5xx", "2 interrupted interrupted", "3 delivered"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := setupDeliveries(t)
			e, letter := d.pending()
			d.now = d.now.Add(2 * time.Minute)
			job := d.job(letter)
			l := d.load(letter, job)
			d.now = d.now.Add(2 * time.Minute)
			d.reschedule(1)
			tt.meantime(d, letter)

			d.record(job, l, arrived)
			a := deliverytest.Count(t, d.pool)
			require.Equal(t, 1, a.Delivered)
			require.Zero(t, a.Pending+a.Exhausted)
			require.Equal(t, tt.attempts, d.attempts(e, "webhook"))
		})
	}
}

func TestALateFailureOfARetryChangesNothing(t *testing.T) {
	t.Parallel()
	for _, o := range []delivery.Outcome{again, refused} {
		d := setupDeliveries(t)
		_, letter := d.pending()
		d.now = d.now.Add(2 * time.Minute)
		job := d.job(letter)
		l := d.load(letter, job)
		d.now = d.now.Add(2 * time.Minute)
		d.reschedule(1)
		before, _, err := d.DeadLetter(t.Context(), "default", letter)
		require.NoError(t, err)
		d.record(job, l, o)
		after, _, err := d.DeadLetter(t.Context(), "default", letter)
		require.NoError(t, err)
		require.Equal(t, before, after)
	}
}

func TestRescheduleOrphansPassesWhatItCannotMend(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	bad, badLetter := d.pending()
	_, goodLetter := d.pending()
	d.now = d.now.Add(2 * time.Minute)
	d.job(badLetter)
	d.job(goodLetter)
	d.now = d.now.Add(2 * time.Minute)
	// An attempt that must not be there yet.
	d.exec(`INSERT INTO alert_attempts (event_id, target, channel, attempt, tenant_id, started_at, duration_seconds, outcome)
		SELECT event_id, target, channel, 2, tenant_id, started_at, 0, 'failed' FROM alert_attempts WHERE event_id = $1`, bad.ID)
	n, err := d.RescheduleOrphans(t.Context(), d.now.Add(-time.Minute), maxInterruptions, 100)
	require.ErrorContains(t, err, badLetter.String())
	require.Equal(t, 1, n)
	l, _, err := d.DeadLetter(t.Context(), "default", goodLetter)
	require.NoError(t, err)
	require.Equal(t, 1, l.Interruptions)
	d.exec(`DELETE FROM alert_attempts WHERE event_id = $1 AND attempt = 2`, bad.ID)
}

// Several reconcilers at once, and workers in between, mend everything exactly once.
func TestReconcilersAtOnce(t *testing.T) {
	t.Parallel()
	const events, reconcilers = 150, 4
	d := setupDeliveries(t)
	for range events {
		d.accept("webhook")
	}
	died := make([]uuid.UUID, events)
	for i := range died {
		_, died[i] = d.pending()
		d.pending()
	}
	d.now = d.now.Add(5 * time.Minute)
	for _, letter := range died {
		d.job(letter)
	}
	d.exec(`DELETE FROM river_job WHERE state <> 'running'`)
	d.now = d.now.Add(5 * time.Minute)

	var g errgroup.Group
	queued, rescheduled := make([]int, reconcilers), make([]int, reconcilers)
	for i := range reconcilers {
		// Each has its own clock, as processes do.
		other := store.NewDeliveries(d.pool, d.river, slog.New(slog.DiscardHandler),
			func() time.Time { return d.now.Add(time.Duration(i) * time.Millisecond) })
		g.Go(func() error {
			for range 20 {
				n, err := other.QueueInterrupted(t.Context(), d.now, 40)
				if err != nil {
					return err
				}
				m, err := other.RescheduleOrphans(t.Context(), d.now.Add(-time.Minute), maxInterruptions, 60)
				if err != nil {
					return err
				}
				queued[i] += n
				rescheduled[i] += m
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, events, sum(queued))
	require.Equal(t, 2*events, sum(rescheduled))
	d.requireAccounts(deliverytest.Accounts{
		Events: 3 * events, Pending: 3 * events,
		Attempts: 4 * events, // one each, and the interrupted second ones
		Jobs:     4 * events, // one each, and the dead ones, which River has yet to finish
	})
	var most int
	require.NoError(t, d.pool.QueryRow(t.Context(), `SELECT max(interruptions) FROM alert_dlq`).Scan(&most))
	require.Equal(t, 1, most)
}

func sum(list []int) int {
	total := 0
	for _, n := range list {
		total += n
	}
	return total
}

// A first attempt that records its outcome at the very moment in which the reconciler gives it up.
func TestRecordingRacesTheReconciler(t *testing.T) {
	t.Parallel()
	const rounds = 60
	d := setupDeliveries(t)
	outcomes := []delivery.Outcome{arrived, again, refused}
	accepted := make([]delivery.Event, rounds)
	for i := range accepted {
		accepted[i] = d.accept("webhook")
	}
	d.now = d.now.Add(time.Minute)
	var g errgroup.Group
	g.Go(func() error {
		for i, e := range accepted {
			if _, err := d.RecordFirst(t.Context(), d.verdict(e, "webhook", 1, outcomes[i%3])); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		for range accepted { // newest first, towards the other
			if _, err := d.QueueInterrupted(t.Context(), d.now, 1); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, g.Wait())
	a := deliverytest.Count(t, d.pool)
	require.Equal(t, rounds/3, a.Delivered, "what arrived is delivered, whoever was first")
	require.Equal(t, rounds*2/3, a.Pending+a.Exhausted)
	require.Zero(t, a.InFlight)
}

// Reading.

func TestDeadLettersPagesAndFilters(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	var all []uuid.UUID // newest first
	for i := range 7 {
		e := d.accept("inapp", "webhook")
		d.exec(`UPDATE alert_events SET alert_id = $2 WHERE id = $1`, e.ID, fmt.Sprint("alert-", i%2))
		e.AlertID = fmt.Sprint("alert-", i%2)
		all = append([]uuid.UUID{d.first(e, "webhook", []delivery.Outcome{again, refused}[i%2])}, all...)
		all = append([]uuid.UUID{d.first(e, "inapp", delivery.Outcome{Cause: delivery.Internal, Retry: true})}, all...)
	}
	ids := func(f delivery.LetterFilter, before uuid.UUID, limit int) []uuid.UUID {
		letters, err := d.DeadLetters(t.Context(), "default", f, before, limit)
		require.NoError(t, err)
		list := []uuid.UUID{}
		for _, l := range letters {
			list = append(list, l.ID)
		}
		return list
	}
	require.Equal(t, all, ids(delivery.LetterFilter{}, uuid.Max, 100))

	var paged []uuid.UUID
	for before := uuid.Max; ; before = paged[len(paged)-1] {
		page := ids(delivery.LetterFilter{}, before, 4)
		paged = append(paged, page...)
		if len(page) < 4 {
			break
		}
	}
	require.Equal(t, all, paged)

	require.Len(t, ids(delivery.LetterFilter{Channel: "webhook"}, uuid.Max, 100), 7)
	require.Len(t, ids(delivery.LetterFilter{State: delivery.Exhausted}, uuid.Max, 100), 3)
	require.Len(t, ids(delivery.LetterFilter{State: delivery.Pending}, uuid.Max, 100), 11)
	require.Len(t, ids(delivery.LetterFilter{AlertID: "alert-0"}, uuid.Max, 100), 8)
	require.Len(t, ids(delivery.LetterFilter{Cause: delivery.HTTP5xx}, uuid.Max, 100), 4)
	require.Len(t, ids(delivery.LetterFilter{Channel: "webhook", State: delivery.Pending, AlertID: "alert-0", Cause: delivery.HTTP5xx}, uuid.Max, 100), 4)
	require.Empty(t, ids(delivery.LetterFilter{Channel: "inapp", Cause: delivery.HTTP5xx}, uuid.Max, 100))
}

func TestTenantsDoNotSeeEachOthersDeliveries(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	d.exec(`INSERT INTO tenants (id) VALUES ('other')`)
	e := d.acceptFor("other", "inapp", "webhook")
	letter := d.first(e, "webhook", again)
	require.NoError(t, d.AddNotification(t.Context(), e))
	d.first(e, "inapp", arrived)

	_, _, err := d.History(t.Context(), "default", e.ID)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	_, _, err = d.DeadLetter(t.Context(), "default", letter)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	letters, err := d.DeadLetters(t.Context(), "default", delivery.LetterFilter{}, uuid.Max, 10)
	require.NoError(t, err)
	require.Empty(t, letters)

	// Interruptions are mended for all, and rows stay with their tenant.
	interrupted := d.acceptFor("other", "webhook")
	d.now = d.now.Add(5 * time.Minute)
	d.queueInterrupted(1)
	d.retry(letter, arrived)
	for _, table := range []string{"alert_events", "alert_attempts", "alert_deliveries", "alert_dlq", "notifications"} {
		var foreign int
		require.NoError(t, d.pool.QueryRow(t.Context(), `SELECT count(*) FROM `+table+` WHERE tenant_id <> 'other'`).Scan(&foreign))
		require.Zero(t, foreign, table)
	}
	require.Equal(t, delivery.Pending, d.history(interrupted, "webhook").State)
}

func TestANotificationComesOnceForAnEvent(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e := d.accept("inapp")
	for range 3 { // the first may have been stored before its process died
		require.NoError(t, d.AddNotification(t.Context(), e))
	}
	require.NoError(t, d.AddNotification(t.Context(), d.accept("inapp")), "the same words in another event")
	require.Equal(t, 2, deliverytest.Count(t, d.pool).Notifications)
}

func TestTimesAreUTC(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e, letter := d.pending()
	d.retry(letter, again)
	l, _, err := d.DeadLetter(t.Context(), "default", letter)
	require.NoError(t, err)
	require.Equal(t, time.UTC, l.NextRetryAt.Location())
	require.Equal(t, time.UTC, l.LastRetryAt.Location())
	d.retry(letter, arrived)
	require.Equal(t, time.UTC, d.history(e, "webhook").DeliveredAt.Location())
}

// hook runs once behind a named query: the moment in which another process acts.
type hook struct {
	query string
	run   func()
}

type sqlKey struct{}

func (h *hook) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, sqlKey{}, data.SQL)
}

func (h *hook) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if sql, _ := ctx.Value(sqlKey{}).(string); strings.HasPrefix(sql, "-- name: "+h.query+" ") && h.run != nil {
		run := h.run
		h.run = nil
		run()
	}
}

// A letter that is delivered while its event is read stands in one place for the reader too.
func TestHistoryIsOfOneMoment(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	d := newDeliveries(t, dbtest.Connect(t, address))
	e, letter := d.pending()

	config, err := pgxpool.ParseConfig(address)
	require.NoError(t, err)
	h := &hook{query: "EventDeliveries", run: func() { d.retry(letter, arrived) }}
	config.ConnConfig.Tracer = h
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	reader := store.NewDeliveries(pool, d.river, slog.New(slog.DiscardHandler), time.Now)

	_, channels, err := reader.History(t.Context(), "default", e.ID)
	require.NoError(t, err)
	require.Nil(t, h.run, "the letter was delivered in between")
	require.Equal(t, delivery.Pending, channels[0].State)
	require.NotNil(t, channels[0].Letter)
	_, channels, err = reader.History(t.Context(), "default", e.ID)
	require.NoError(t, err)
	require.Equal(t, delivery.Delivered, channels[0].State)
}

func TestUnknownIDs(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	_, _, err := d.History(t.Context(), "default", uuid.New())
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	_, _, err = d.DeadLetter(t.Context(), "default", uuid.New())
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	_, ok, err := d.DeadLetterForJob(t.Context(), uuid.New(), 1)
	require.NoError(t, err)
	require.False(t, ok)
}
