package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/store/deliverytest"
)

// wanted is an event that nobody has accepted yet, on a webhook unless targets say otherwise.
func (d *deliveries) wanted(targets ...delivery.Target) delivery.Event {
	if targets == nil {
		targets = []delivery.Target{{Channel: "webhook", URL: "https://example.org/webhook"}}
	}
	return delivery.Event{
		ID: uuid.Must(uuid.NewV7()), TenantID: "default", Source: delivery.Direct, AlertID: "nav-drop", UserID: "ada",
		Title: "NAV fell", Severity: delivery.Warning, Data: json.RawMessage(`{}`), Targets: targets, AcceptedAt: d.now,
	}
}

// keyed asks for e under keys made of words, one for each target, that are kept for an hour.
func (d *deliveries) keyed(e delivery.Event, words ...string) delivery.Acceptance {
	a := delivery.Acceptance{Event: e, KeepUntil: d.now.Add(time.Hour)}
	for _, w := range words {
		sum := sha256.Sum256([]byte(w))
		a.Keys = append(a.Keys, sum[:])
	}
	return a
}

// takeAll accepts and returns, for each acceptance, what its targets are duplicates of.
func (d *deliveries) takeAll(as ...delivery.Acceptance) [][]uuid.UUID {
	d.t.Helper()
	accepted, earlier, err := d.Accept(d.t.Context(), as, nil)
	require.NoError(d.t, err)
	require.Nil(d.t, earlier)
	list := make([][]uuid.UUID, len(accepted))
	for i, a := range accepted {
		list[i] = a.Duplicates
	}
	return list
}

func TestTheSameKeyIsADuplicate(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	first := d.wanted()
	require.Equal(t, [][]uuid.UUID{{uuid.Nil}}, d.takeAll(d.keyed(first, "a")))
	second := d.wanted(delivery.Target{Channel: "inapp"}, first.Targets[0])
	require.Equal(t, [][]uuid.UUID{{uuid.Nil, first.ID}}, d.takeAll(d.keyed(second, "b", "a")), "target by target")

	require.Equal(t, delivery.InFlight, d.history(second, "inapp").State)
	h := d.history(second, "webhook")
	require.Equal(t, delivery.Duplicate, h.State)
	require.Equal(t, first.ID, h.DuplicateOf)
	deliverytest.RequireBalanced(t, d.pool)

	d.now = d.now.Add(2 * time.Hour)
	third := d.wanted()
	require.Equal(t, [][]uuid.UUID{{uuid.Nil}}, d.takeAll(d.keyed(third, "a")), "the key was kept for an hour")
	other := d.wanted()
	other.TenantID = "other"
	require.Equal(t, [][]uuid.UUID{{uuid.Nil}}, d.takeAll(d.keyed(other, "a")), "tenants don't know of each other")
}

func TestTheSameKeyInOneBatch(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	one, two, three := d.wanted(), d.wanted(), d.wanted()
	require.Equal(t, [][]uuid.UUID{{uuid.Nil}, {one.ID}, {uuid.Nil}},
		d.takeAll(d.keyed(one, "a"), d.keyed(two, "a"), d.keyed(three, "b")))
}

// Whatever comes at once: one is taken on, and all others know which.
func TestTheSameKeyAtOnce(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	const callers = 64
	var g errgroup.Group
	var won atomic.Int32
	holders := make([]uuid.UUID, callers)
	for i := range callers {
		g.Go(func() error {
			e := d.wanted()
			accepted, _, err := d.Accept(t.Context(), []delivery.Acceptance{d.keyed(e, "a")}, nil)
			if err != nil {
				return err
			}
			holders[i] = accepted[0].Duplicates[0]
			if holders[i] == uuid.Nil {
				won.Add(1)
				holders[i] = e.ID
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.EqualValues(t, 1, won.Load())
	for _, h := range holders {
		require.Equal(t, holders[0], h)
	}
	d.requireAccounts(deliverytest.Accounts{Events: callers, InFlight: 1})
}

// A duplicate is accepted before it is known of which event, and stays so if that can't be found out.
func TestADuplicateOfWhatIsNotFoundOut(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	d.exec(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$`)
	d.exec(`CREATE TRIGGER refuse BEFORE UPDATE ON alert_duplicates FOR EACH ROW EXECUTE FUNCTION refuse()`)
	tx, err := d.pool.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	_, err = d.AcceptTx(t.Context(), tx, []delivery.Acceptance{d.keyed(d.wanted(), "a")})
	require.NoError(t, err)
	second := d.keyed(d.wanted(), "a")
	var accepted []delivery.Accepted
	var g errgroup.Group
	g.Go(func() (err error) {
		accepted, _, err = d.Accept(context.WithoutCancel(t.Context()), []delivery.Acceptance{second}, nil)
		return err
	})
	d.waitsForLock(1) // its statement began before the first was committed
	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, g.Wait())
	require.Equal(t, []uuid.UUID{uuid.Max}, accepted[0].Duplicates)
	require.Equal(t, delivery.Duplicate, d.history(second.Event, "webhook").State)
}

// Keys are given back in any order: an acceptance that is in a deadlock with that is made again, and its caller
// told nothing of it.
func TestAnAcceptanceThatIsADeadlocksVictim(t *testing.T) {
	t.Parallel()
	targets := []delivery.Target{{Channel: "inapp"}, {Channel: "webhook"}, {Channel: "email"}}
	words := []string{"a", "b", "c"}
	slices.SortFunc(words, func(a, b string) int { // as their keys are sorted
		x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
		return bytes.Compare(x[:], y[:])
	})
	for name, accept := range map[string]func(d *deliveries, a delivery.Acceptance) error{
		"one": func(d *deliveries, a delivery.Acceptance) error {
			_, _, err := d.Accept(context.WithoutCancel(d.t.Context()), []delivery.Acceptance{a}, nil)
			return err
		},
		"a list": func(d *deliveries, a delivery.Acceptance) error {
			_, _, err := d.Accept(context.WithoutCancel(d.t.Context()), []delivery.Acceptance{a, {Event: d.wanted()}}, nil)
			return err
		},
		"with a key": func(d *deliveries, a delivery.Acceptance) error {
			idem := delivery.Idempotency{TenantID: "default", Key: "k", Request: []byte("r"), ExpiresAt: d.now.Add(time.Hour)}
			_, earlier, err := d.Accept(context.WithoutCancel(d.t.Context()), []delivery.Acceptance{a}, &idem)
			if err == nil && earlier != nil {
				err = errors.New("it is taken for a repetition of itself")
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := setupDeliveries(t)
			first := d.wanted(targets...)
			d.takeAll(d.keyed(first, words...))
			// Whoever gives keys back has the last and wants the first, and a third has the middle one until both wait.
			holds := func(target int) pgx.Tx {
				tx, err := d.pool.Begin(t.Context())
				require.NoError(t, err)
				t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
				_, err = tx.Exec(t.Context(), `SET LOCAL deadlock_timeout = '1 min'`) // the acceptance finds out
				require.NoError(t, err)
				_, err = tx.Exec(t.Context(), `DELETE FROM alert_dedup WHERE target = $1`, targets[target].Key())
				require.NoError(t, err)
				return tx
			}
			other, third := holds(2), holds(1)
			var g errgroup.Group
			second := d.wanted(targets...)
			g.Go(func() error { return accept(d, d.keyed(second, words...)) })
			d.waitsForLock(1)
			g.Go(func() error {
				ctx := context.WithoutCancel(t.Context())
				if _, err := other.Exec(ctx, `DELETE FROM alert_dedup WHERE target = $1`, targets[0].Key()); err != nil {
					return err
				}
				return other.Commit(ctx)
			})
			d.waitsForLock(2)
			require.NoError(t, third.Commit(t.Context()))
			require.NoError(t, g.Wait())
			require.Equal(t, delivery.InFlight, d.history(second, "inapp").State, "all keys were given back")
			var deadlocks int
			require.Eventually(t, func() bool { // of a backend that has nothing to do
				return d.pool.QueryRow(t.Context(), `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&deadlocks) == nil && deadlocks > 0
			}, 20*time.Second, 50*time.Millisecond)
		})
	}
}

// What has failed for good has told nobody: the same message is no duplicate of it.
func TestAFailureForGoodGivesItsKeyBack(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	first, second := d.wanted(), d.wanted()
	d.takeAll(d.keyed(first, "a"))
	d.first(first, "webhook", refused)
	require.Equal(t, [][]uuid.UUID{{uuid.Nil}}, d.takeAll(d.keyed(second, "a")))

	letter := d.first(second, "webhook", again)
	third, fourth := d.wanted(), d.wanted()
	require.Equal(t, [][]uuid.UUID{{second.ID}}, d.takeAll(d.keyed(third, "a")), "it is still being retried")
	d.retry(letter, refused)
	require.Equal(t, [][]uuid.UUID{{uuid.Nil}}, d.takeAll(d.keyed(fourth, "a")))
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	idem := delivery.Idempotency{TenantID: "default", Key: "k-1", Request: []byte("request"), ExpiresAt: d.now.Add(time.Hour)}
	submit := func(i delivery.Idempotency) (delivery.Event, *delivery.Earlier, error) {
		e := d.wanted()
		_, earlier, err := d.Accept(t.Context(), []delivery.Acceptance{{Event: e}}, &i)
		return e, earlier, err
	}
	first, earlier, err := submit(idem)
	require.NoError(t, err)
	require.Nil(t, earlier)

	_, earlier, err = submit(idem)
	require.NoError(t, err)
	require.Equal(t, &delivery.Earlier{EventIDs: []uuid.UUID{first.ID}}, earlier, "nobody has been answered yet")
	require.NoError(t, d.RecordAnswer(t.Context(), idem, json.RawMessage(`{"n": 1}`)))
	require.NoError(t, d.RecordAnswer(t.Context(), idem, json.RawMessage(`{"n": 2}`)))
	_, earlier, err = submit(idem)
	require.NoError(t, err)
	require.JSONEq(t, `{"n": 1}`, string(earlier.Answer), "the first answer stays")

	other := idem
	other.Request = []byte("another")
	_, _, err = submit(other)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	other.TenantID = "other"
	_, earlier, err = submit(other)
	require.NoError(t, err)
	require.Nil(t, earlier)
	d.requireAccounts(deliverytest.Accounts{Events: 2, InFlight: 2})

	earlier, err = d.Earlier(t.Context(), idem)
	require.NoError(t, err)
	require.Equal(t, []uuid.UUID{first.ID}, earlier.EventIDs, "looked up without a claim")
	require.JSONEq(t, `{"n": 1}`, string(earlier.Answer))
	other.TenantID = "default"
	_, err = d.Earlier(t.Context(), other)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	other.Key = "k-2"
	earlier, err = d.Earlier(t.Context(), other)
	require.NoError(t, err)
	require.Nil(t, earlier)

	d.now = d.now.Add(2 * time.Hour)
	earlier, err = d.Earlier(t.Context(), idem)
	require.NoError(t, err)
	require.Nil(t, earlier, "a key is kept for a time")
	_, earlier, err = submit(idem)
	require.NoError(t, err)
	require.Nil(t, earlier, "then it is free")
}

func TestTheSameIdempotencyKeyAtOnce(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	idem := delivery.Idempotency{TenantID: "default", Key: "k-1", Request: []byte("request"), ExpiresAt: d.now.Add(time.Hour)}
	var g errgroup.Group
	var taken atomic.Int32
	for range 16 {
		g.Go(func() error {
			_, earlier, err := d.Accept(t.Context(), []delivery.Acceptance{{Event: d.wanted()}}, &idem)
			if err == nil && earlier == nil {
				taken.Add(1)
			}
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.EqualValues(t, 1, taken.Load())
	d.requireAccounts(deliverytest.Accounts{Events: 1, InFlight: 1})
}

// One that can't be stored fails alone, whoever it shared its transaction with.
func TestACallerIsNotFailedByAnother(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	var g errgroup.Group
	for i := range 40 {
		g.Go(func() error {
			e := d.wanted()
			if i%4 == 0 {
				e.Title = "a\x00b"
			}
			err := d.take(e)
			if i%4 == 0 {
				require.Equal(t, fault.Invalid, fault.CodeOf(err), "%v", err)
				return nil
			}
			return err
		})
	}
	require.NoError(t, g.Wait())
	d.requireAccounts(deliverytest.Accounts{Events: 30, InFlight: 30})
}

func TestFirstAttemptsForTheWorker(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e := d.wanted(delivery.Target{Channel: "inapp"}, delivery.Target{Channel: "chat", Destination: "ops"})
	d.takeAll(delivery.Acceptance{Event: e, Later: true})
	d.requireAccounts(deliverytest.Accounts{Events: 1, InFlight: 2, Jobs: 2})

	job := func(target string) (id int64) {
		require.NoError(t, d.pool.QueryRow(t.Context(), `SELECT job_id FROM alert_inflight WHERE target = $1`, target).Scan(&id))
		return id
	}
	got, target, ok, err := d.InFlightForJob(t.Context(), e.ID, "destination:ops", job("destination:ops"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, e.ID, got.ID)
	require.Equal(t, e.Targets[1], target)
	for _, other := range []int64{job("inapp"), 0} {
		_, _, ok, err = d.InFlightForJob(t.Context(), e.ID, "destination:ops", other)
		require.NoError(t, err)
		require.False(t, ok, "job %d is not its", other)
	}

	// What waits for its turn is not interrupted; what lost its job gets another, and what died is a letter.
	d.now = d.now.Add(time.Hour)
	d.queueInterrupted(0)
	lost, died := job("inapp"), job("destination:ops")
	d.exec(`DELETE FROM river_job WHERE id = $1`, lost)
	d.exec(`UPDATE river_job SET state = 'running', attempted_at = $2 WHERE id = $1`, died, d.now.Add(-time.Minute))
	d.queueInterrupted(2)
	require.NotEqual(t, lost, job("inapp"))
	require.Equal(t, []string{"1 interrupted interrupted"}, d.attemptsAt(e, "destination:ops"))
	d.exec(`DELETE FROM river_job WHERE id = $1`, died)
	d.requireAccounts(deliverytest.Accounts{Events: 1, InFlight: 1, Pending: 1, Attempts: 1, Jobs: 2})
}

// A job without anything to do would be taken for drift by the audit of a worker that was away.
func TestADuplicateHasNoJob(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	first, second := d.keyed(d.wanted(), "a"), d.keyed(d.wanted(), "a")
	first.Later, second.Later = true, true
	d.takeAll(first)
	d.takeAll(second)
	d.requireAccounts(deliverytest.Accounts{Events: 2, InFlight: 1, Jobs: 1})
	third, fourth := d.keyed(d.wanted(), "b"), d.keyed(d.wanted(), "b")
	third.Later, fourth.Later = true, true
	d.takeAll(third, fourth)
	d.requireAccounts(deliverytest.Accounts{Events: 4, InFlight: 2, Jobs: 2})
}

func (d *deliveries) attemptsAt(e delivery.Event, target string) []string {
	d.t.Helper()
	var list []string
	for _, a := range d.history(e, target).Attempts {
		word := "delivered"
		switch {
		case a.Outcome.Cause == delivery.Interrupted:
			word = "interrupted interrupted"
		case !a.Outcome.Delivered():
			word = "failed " + string(a.Outcome.Cause)
		}
		list = append(list, string(rune('0'+a.Number))+" "+word)
	}
	return list
}

// record writes down a verdict on a first attempt.
func (d *deliveries) recordFirst(v delivery.Verdict) uuid.UUID {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 5*time.Second)
	defer cancel()
	letter, err := d.RecordFirst(ctx, v)
	require.NoError(d.t, err)
	return letter
}

func TestAFirstAttemptThatWaitsForItsTurnStaysInFlight(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e := d.accept("webhook")
	letter := d.recordFirst(delivery.Verdict{
		Delivery: delivery.Delivery{Event: e, Target: e.Targets[0], Attempt: 1}, State: delivery.InFlight, DecidedAt: d.now,
		Hold: &delivery.Hold{Reason: delivery.HeldByRate, Until: d.now.Add(time.Minute)},
	})
	require.Zero(t, letter)
	d.requireAccounts(deliverytest.Accounts{Events: 1, InFlight: 1, Jobs: 1})
}

func TestBehindAnOpenBreaker(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e := d.accept("webhook")
	hold := &delivery.Hold{Reason: delivery.HeldByBreaker, Until: d.now.Add(time.Minute)}
	letter := d.recordFirst(delivery.Verdict{
		Delivery:    delivery.Delivery{Event: e, Target: e.Targets[0], Endpoint: delivery.Endpoint{ID: "webhook:1"}, Attempt: 1},
		Attempt:     delivery.Attempt{Outcome: delivery.Outcome{Cause: delivery.BreakerOpen, Retry: true, Detail: "not sent"}},
		State:       delivery.Pending,
		NextRetryAt: hold.Until, DecidedAt: d.now, Hold: hold,
	})
	d.requireAccounts(deliverytest.Accounts{Events: 1, Pending: 1, Jobs: 1})
	l, attempts, err := d.DeadLetter(t.Context(), "default", letter)
	require.NoError(t, err)
	require.Equal(t, delivery.HeldByBreaker, l.HeldBy)
	require.Equal(t, "webhook:1", l.Endpoint)
	require.Equal(t, delivery.BreakerOpen, l.Cause)
	require.Empty(t, attempts, "nothing was sent")

	// Held again, it uses up nothing; then its first attempt counts as the first.
	d.now = d.now.Add(2 * time.Minute)
	job := d.job(letter)
	l = d.load(letter, job)
	until := d.now.Add(time.Minute)
	require.NoError(t, d.RecordRetry(t.Context(), job.ID, l, delivery.Verdict{
		State: delivery.Pending, NextRetryAt: until, DecidedAt: d.now, Hold: &delivery.Hold{Reason: delivery.HeldByRate, Until: until},
	}))
	l, _, err = d.DeadLetter(t.Context(), "default", letter)
	require.NoError(t, err)
	require.Equal(t, delivery.HeldByRate, l.HeldBy)
	require.Equal(t, until, *l.NextRetryAt)
	require.Zero(t, l.Attempts)
	d.retry(letter, again)
	l, _, err = d.DeadLetter(t.Context(), "default", letter)
	require.NoError(t, err)
	require.Zero(t, l.RetryCount)
	require.Equal(t, 1, l.Attempts)
	require.Empty(t, l.HeldBy)
	d.retry(letter, arrived)
	require.Equal(t, []string{"1 failed http_5xx", "2 delivered"}, d.attempts(e, "webhook"))
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e := d.wanted()
	e.ExpiresAt = d.now.Add(time.Hour)
	d.takeAll(d.keyed(e, "a"))
	letter := d.first(e, "webhook", again)
	d.now = d.now.Add(2 * time.Hour)
	job := d.job(letter)
	l := d.load(letter, job)
	require.Equal(t, e.ExpiresAt, l.Event.ExpiresAt)
	require.NoError(t, d.RecordRetry(t.Context(), job.ID, l, delivery.Verdict{State: delivery.Expired, DecidedAt: d.now}))
	l, _, err := d.DeadLetter(t.Context(), "default", letter)
	require.NoError(t, err)
	require.Equal(t, delivery.Expired, l.State)
	require.Equal(t, d.now, *l.ClosedAt)
	require.Nil(t, l.NextRetryAt)
	require.Equal(t, [][]uuid.UUID{{uuid.Nil}}, d.takeAll(d.keyed(d.wanted(), "a")), "it told nobody")

	late := d.wanted()
	late.ExpiresAt = d.now
	d.takeAll(delivery.Acceptance{Event: late})
	letter = d.recordFirst(delivery.Verdict{
		Delivery: delivery.Delivery{Event: late, Target: late.Targets[0], Attempt: 1}, State: delivery.Expired, DecidedAt: d.now,
	})
	l, attempts, err := d.DeadLetter(t.Context(), "default", letter)
	require.NoError(t, err)
	require.Equal(t, delivery.Expired, l.State)
	require.Empty(t, attempts)
}

func TestALaterEventSupersedesWhatItEnds(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	about := func(subject string, resolves bool) delivery.Event {
		d.now = d.now.Add(time.Second)
		e := d.wanted()
		e.Subject, e.Resolves = subject, resolves
		d.takeAll(delivery.Acceptance{Event: e})
		return e
	}
	pending, exhausted, inFlight, other := about("g", false), about("g", false), about("g", false), about("h", false)
	d.first(pending, "webhook", again)
	d.first(exhausted, "webhook", refused)
	d.first(other, "webhook", again)
	about("g", true)
	require.Equal(t, delivery.Superseded, d.history(pending, "webhook").State)
	require.Equal(t, delivery.Superseded, d.history(exhausted, "webhook").State)
	require.Equal(t, delivery.Pending, d.history(other, "webhook").State)

	// What was on its way is superseded as it fails; what fires anew is not.
	d.first(inFlight, "webhook", again)
	require.Equal(t, delivery.Superseded, d.history(inFlight, "webhook").State)
	anew := about("g", false)
	d.first(anew, "webhook", again)
	require.Equal(t, delivery.Pending, d.history(anew, "webhook").State)
}

func TestFallback(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(d *deliveries, e delivery.Event){
		"refused at once": func(d *deliveries, e delivery.Event) { d.first(e, "webhook", refused) },
		"refused later": func(d *deliveries, e delivery.Event) {
			letter := d.first(e, "webhook", again)
			d.requireAccounts(deliverytest.Accounts{Events: 1, InFlight: 1, Pending: 1, Attempts: 1, Jobs: 1})
			d.retry(letter, refused)
		},
		"interrupted too often": func(d *deliveries, e delivery.Event) {
			letter := d.first(e, "webhook", again)
			d.now = d.now.Add(2 * time.Minute)
			d.job(letter)
			n, err := d.RescheduleOrphans(d.t.Context(), d.now.Add(time.Second), 1, 10)
			require.NoError(d.t, err)
			require.Equal(d.t, 1, n)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := setupDeliveries(t)
			e := d.wanted(delivery.Target{Channel: "webhook", URL: "https://example.org/"}, delivery.Target{Channel: "chat", Destination: "ops"})
			e.Fallback = []delivery.Target{{Channel: "inapp"}}
			d.takeAll(d.keyed(e, "a", "b"))
			fail(d, e)
			got, targets, err := d.History(t.Context(), "default", e.ID)
			require.NoError(t, err)
			require.Len(t, targets, 3)
			require.Empty(t, got.Fallback, "it is used once")
			require.Equal(t, delivery.InFlight, d.history(e, "inapp").State)
			a := deliverytest.Count(t, d.pool)
			require.Equal(t, 2, a.InFlight)
			require.Equal(t, 1, a.Exhausted)
			var jobs int
			require.NoError(t, d.pool.QueryRow(t.Context(), `SELECT count(*) FROM river_job WHERE kind = 'deliver'`).Scan(&jobs))
			require.Equal(t, 1, jobs)
			require.Equal(t, [][]uuid.UUID{{uuid.Nil}}, d.takeAll(d.keyed(d.wanted(), "a")), "what failed for good told nobody")
		})
	}
}

// What a later event has ended is closed like anything else: no job waits for it, and who fires again
// is not taken for its repetition.
func TestWhatIsSupersededLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for _, failsFirst := range []bool{true, false} {
		d := setupDeliveries(t)
		fires := d.wanted()
		fires.Subject = "g"
		d.takeAll(d.keyed(fires, "a"))
		if failsFirst {
			d.first(fires, "webhook", again)
		}
		d.now = d.now.Add(time.Second)
		ends := d.wanted()
		ends.Subject, ends.Resolves = "g", true
		d.takeAll(d.keyed(ends, "b"))
		if !failsFirst {
			d.first(fires, "webhook", again)
		}
		require.Equal(t, delivery.Superseded, d.history(fires, "webhook").State)

		stray, err := d.DeleteStrayJobs(t.Context(), time.Now().Add(time.Minute), 100)
		require.NoError(t, err)
		require.Empty(t, stray, "an audit would call it drift")

		d.now = d.now.Add(time.Second)
		anew := d.wanted()
		anew.Subject = "g"
		require.Equal(t, [][]uuid.UUID{{uuid.Nil}}, d.takeAll(d.keyed(anew, "a")), "it was never sent")
	}
}

// The reconciler gives a letter up for good, too: its key is free, and its fallback is tried.
func TestALetterThatKillsItsWorkersFallsBack(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e := d.wanted()
	e.Fallback = []delivery.Target{{Channel: "inapp"}}
	d.takeAll(d.keyed(e, "a"))
	letter := d.first(e, "webhook", again)
	for range maxInterruptions {
		d.interrupt(letter)
	}
	require.Equal(t, delivery.Exhausted, d.history(e, "webhook").State)
	require.Equal(t, delivery.InFlight, d.history(e, "inapp").State)
	anew := d.wanted()
	require.Equal(t, [][]uuid.UUID{{uuid.Nil}}, d.takeAll(d.keyed(anew, "a")))
}

// A fallback is for what failed for good. What was closed meanwhile on purpose, or by a later event,
// has not: to send it another way would be to send it after all.
func TestNoFallbackForWhatIsClosed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		close func(d *deliveries, e delivery.Event)
		state delivery.State
	}{
		{"discarded", func(d *deliveries, e delivery.Event) {
			_, err := d.DiscardDeadLetter(t.Context(), "default", d.letterOf(e), delivery.By{Actor: "test"})
			require.NoError(t, err)
		}, delivery.Discarded},
		{"superseded", func(d *deliveries, e delivery.Event) {
			d.now = d.now.Add(time.Second)
			ends := d.wanted()
			ends.Subject, ends.Resolves = e.Subject, true
			d.takeAll(delivery.Acceptance{Event: ends})
		}, delivery.Superseded},
	}
	for _, tt := range tests {
		d := setupDeliveries(t)
		e := d.wanted()
		e.Subject, e.Fallback = "g", []delivery.Target{{Channel: "inapp"}}
		d.takeAll(delivery.Acceptance{Event: e})
		letter := d.first(e, "webhook", again)
		d.now = d.now.Add(2 * time.Minute)
		job := d.job(letter)
		l := d.load(letter, job)
		tt.close(d, e)
		d.record(job, l, refused)
		require.Equal(t, tt.state, d.history(e, "webhook").State)
		got, targets, err := d.History(t.Context(), "default", e.ID)
		require.NoError(t, err)
		require.Len(t, targets, 1, tt.name)
		require.NotEmpty(t, got.Fallback, tt.name)
	}

	// Superseded as its first attempt is refused for good.
	d := setupDeliveries(t)
	e := d.wanted()
	e.Subject, e.Fallback = "g", []delivery.Target{{Channel: "inapp"}}
	d.takeAll(delivery.Acceptance{Event: e})
	d.now = d.now.Add(time.Second)
	ends := d.wanted()
	ends.Subject, ends.Resolves = "g", true
	d.takeAll(delivery.Acceptance{Event: ends})
	d.first(e, "webhook", refused)
	_, targets, err := d.History(t.Context(), "default", e.ID)
	require.NoError(t, err)
	require.Len(t, targets, 1)
}

// Of a cluster's two copies of one message the second may come late, when what it tells the end of has
// begun again.
func TestARepetitionEndsNothing(t *testing.T) {
	t.Parallel()
	for _, failsFirst := range []bool{true, false} {
		d := setupDeliveries(t)
		about := func(resolves bool, word string) delivery.Event {
			d.now = d.now.Add(time.Second)
			e := d.wanted()
			e.Subject, e.Resolves = "g", resolves
			d.takeAll(d.keyed(e, word))
			return e
		}
		about(true, "ended")
		anew := about(false, "fires")
		if failsFirst {
			d.first(anew, "webhook", again)
		}
		about(true, "ended")
		if !failsFirst {
			d.first(anew, "webhook", again)
		}
		require.Equal(t, delivery.Pending, d.history(anew, "webhook").State)
	}
}

// A message that nobody took in time goes to its fallback, once, and there without the time to live: it
// is over by then.
func TestTheFallbackOfWhatExpired(t *testing.T) {
	t.Parallel()
	expired := func(d *deliveries, e delivery.Event, i int) {
		d.recordFirst(delivery.Verdict{
			Delivery: delivery.Delivery{Event: e, Target: e.Targets[i], Attempt: 1}, State: delivery.Expired, DecidedAt: d.now,
		})
	}
	waited := func(d *deliveries, letter uuid.UUID) func() {
		job := d.job(letter)
		l := d.load(letter, job)
		return func() {
			require.NoError(d.t, d.RecordRetry(d.t.Context(), job.ID, l, delivery.Verdict{State: delivery.Expired, DecidedAt: d.now}))
		}
	}
	for name, expire := range map[string]func(d *deliveries, e delivery.Event){
		"before its first attempt": func(d *deliveries, e delivery.Event) {
			d.now = e.ExpiresAt
			expired(d, e, 0)
			expired(d, e, 1)
		},
		"waiting for a retry": func(d *deliveries, e delivery.Event) {
			a, b := d.first(e, "webhook", again), d.first(e, "chat", again)
			d.now = e.ExpiresAt
			first, second := waited(d, a), waited(d, b)
			first()
			first() // the job runs again: it has nothing more to say
			second()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := setupDeliveries(t)
			e := d.wanted(delivery.Target{Channel: "webhook", URL: "https://example.org/"}, delivery.Target{Channel: "chat", Destination: "ops"})
			e.Fallback, e.ExpiresAt = []delivery.Target{{Channel: "inapp"}}, d.now.Add(time.Hour)
			d.takeAll(delivery.Acceptance{Event: e})
			expire(d, e)
			require.Equal(t, delivery.Expired, d.history(e, "webhook").State)
			require.Equal(t, delivery.Expired, d.history(e, "destination:ops").State)
			require.Equal(t, delivery.InFlight, d.history(e, "inapp").State)
			var job int64
			require.NoError(t, d.pool.QueryRow(t.Context(), `SELECT id FROM river_job WHERE kind = 'deliver'`).Scan(&job), "one, whatever expired")

			got, target, ok, err := d.InFlightForJob(t.Context(), e.ID, "inapp", job)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, delivery.Target{Channel: "inapp", Fallback: true}, target)
			require.True(t, got.ExpiresAt.IsZero(), "it is worth telling there")
			letter := d.first(got, "inapp", again)
			l, _, err := d.DeadLetter(t.Context(), "default", letter)
			require.NoError(t, err)
			require.True(t, l.Event.ExpiresAt.IsZero())
			whole, _, err := d.History(t.Context(), "default", e.ID)
			require.NoError(t, err)
			require.Equal(t, e.ExpiresAt, whole.ExpiresAt)
		})
	}
}

// An outcome that comes after its attempt was given up decides nothing: the letter is another's by then.
func TestALateRefusalUsesNoFallback(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	e := d.wanted(delivery.Target{Channel: "webhook", URL: "https://example.org/"})
	e.Fallback = []delivery.Target{{Channel: "inapp"}}
	d.takeAll(delivery.Acceptance{Event: e})
	d.now = d.now.Add(time.Hour)
	n, err := d.QueueInterrupted(t.Context(), d.now, 10)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	letter := d.first(e, "webhook", refused)
	require.Equal(t, delivery.Pending, d.history(e, "webhook").State)

	d.now = d.now.Add(time.Minute)
	job := d.job(letter)
	l := d.load(letter, job)
	n, err = d.RescheduleOrphans(t.Context(), d.now.Add(time.Second), 5, 10)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	d.record(job, l, refused)
	got, _, err := d.History(t.Context(), "default", e.ID)
	require.NoError(t, err)
	require.Equal(t, e.Fallback, got.Fallback, "it is still to be used")
}
