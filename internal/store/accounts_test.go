package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/internal/store/deliverytest"
)

// balances returns what stands on the accounts of a channel, without those that are empty.
func (d *deliveries) balances(channel string) map[string]int64 {
	d.t.Helper()
	list, err := d.Balances(d.t.Context())
	require.NoError(d.t, err)
	sums := map[string]int64{}
	for _, b := range list {
		if b.Channel == channel && b.Balance != 0 {
			sums[b.Account] = b.Balance
		}
	}
	return sums
}

func TestAccountsFollowEveryMove(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	first := d.wanted()
	d.takeAll(d.keyed(first, "a"))
	require.Equal(t, map[string]int64{"accepted": 1, "in_flight": 1}, d.balances("webhook"))
	letter := d.first(first, "webhook", again)
	require.Equal(t, map[string]int64{"accepted": 1, "pending": 1}, d.balances("webhook"))
	d.takeAll(d.keyed(d.wanted(), "a"))
	require.Equal(t, map[string]int64{"accepted": 2, "pending": 1, "duplicate": 1}, d.balances("webhook"))
	require.NoError(t, d.FoldAccounts(t.Context()))
	require.Equal(t, map[string]int64{"accepted": 2, "pending": 1, "duplicate": 1}, d.balances("webhook"), "folding changes no balance")
	d.retry(letter, again)
	d.retry(letter, refused)
	require.Equal(t, map[string]int64{"accepted": 2, "exhausted": 1, "duplicate": 1}, d.balances("webhook"))
	d.exec(`UPDATE alert_dlq SET state = 'discarded', closed_at = now()`)
	require.Equal(t, map[string]int64{"accepted": 2, "discarded": 1, "duplicate": 1}, d.balances("webhook"))
	second := d.wanted()
	d.takeAll(d.keyed(second, "b"))
	d.first(second, "webhook", arrived)
	require.NoError(t, d.FoldAccounts(t.Context()))
	require.NoError(t, d.FoldAccounts(t.Context()))
	require.Equal(t, map[string]int64{"accepted": 3, "discarded": 1, "duplicate": 1, "delivered": 1}, d.balances("webhook"))
	found, err := d.AuditAccounts(t.Context())
	require.NoError(t, err)
	require.Empty(t, found)
}

func TestAuditAccountsTellsAndCorrects(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	d.pending()
	d.accept("inapp")
	d.exec(`INSERT INTO alert_account_changes VALUES ('default', 'webhook', 'pending', 2), ('default', 'inapp', 'delivered', 1)`)
	found, err := d.AuditAccounts(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{
		"tenant default, webhook: pending stands at 3, there are 1 rows",
		"tenant default, inapp: -1 more accepted than accounted for",
	}, found)
	found, err = d.AuditAccounts(t.Context())
	require.NoError(t, err)
	require.Empty(t, found)
	require.Equal(t, map[string]int64{"accepted": 1, "pending": 1}, d.balances("webhook"))
	// What is made up has no rows.
	d.exec(`DELETE FROM alert_account_changes WHERE channel = 'inapp'`)
	d.exec(`INSERT INTO alert_account_changes VALUES ('default', 'inapp', 'accepted', 1), ('default', 'inapp', 'in_flight', 1)`)
}

func TestAuditPlacesFindsWhatIsLost(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	d.now = time.Now()
	lost, kept := d.accept("webhook", "inapp"), d.accept("webhook")
	d.exec(`ALTER TABLE alert_inflight DISABLE TRIGGER USER`) // as a defect would lose it
	d.exec(`DELETE FROM alert_inflight WHERE event_id = $1 AND target = 'webhook'`, lost.ID)
	d.exec(`ALTER TABLE alert_inflight ENABLE TRIGGER USER`)
	until := d.now.Add(time.Second)
	nowhere, several, err := d.AuditPlaces(t.Context(), until, until.Add(time.Hour), 10)
	require.NoError(t, err)
	require.Empty(t, nowhere, "it was accepted before")
	require.Empty(t, several)
	nowhere, several, err = d.AuditPlaces(t.Context(), d.now.Add(-time.Minute), until, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"event " + lost.ID.String() + " on webhook"}, nowhere)
	require.Empty(t, several)
	_, err = d.AuditAccounts(t.Context())
	require.NoError(t, err)

	// From there the reconciler takes it up.
	d.now = d.now.Add(time.Minute)
	d.queueInterrupted(3)
	require.Equal(t, delivery.Pending, d.history(lost, "webhook").State)
	require.Equal(t, delivery.Pending, d.history(kept, "webhook").State)

	d.exec(`ALTER TABLE alert_deliveries DISABLE TRIGGER USER`)
	d.exec(`INSERT INTO alert_deliveries (id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, delivery_methods, attempts, accepted_at, delivered_at)
		SELECT id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, '[]', 1, accepted_at, now() FROM alert_dlq WHERE event_id = $1`, kept.ID)
	d.exec(`ALTER TABLE alert_deliveries ENABLE TRIGGER USER`)
	nowhere, several, err = d.AuditPlaces(t.Context(), d.now.Add(-time.Hour), until, 10)
	require.NoError(t, err)
	require.Empty(t, nowhere)
	require.Equal(t, []string{"event " + kept.ID.String() + " on webhook"}, several)
	d.exec(`DELETE FROM alert_deliveries WHERE event_id = $1`, kept.ID)
}

func TestStrayJobsAreDeleted(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	_, letter := d.pending()
	waiting := d.wanted()
	d.takeAll(delivery.Acceptance{Event: waiting, Later: true})
	stray, err := d.river.Insert(t.Context(), jobs.RetryArgs{DeadLetterID: letter}, nil)
	require.NoError(t, err)
	_, err = d.river.Insert(t.Context(), jobs.DeliverArgs{EventID: waiting.ID, Target: "pigeon"}, nil)
	require.NoError(t, err)
	found, err := d.DeleteStrayJobs(t.Context(), time.Now().Add(-time.Minute), 10)
	require.NoError(t, err)
	require.Empty(t, found, "what is young may belong to a transaction that is under way")
	found, err = d.DeleteStrayJobs(t.Context(), time.Now().Add(time.Minute), 10)
	require.NoError(t, err)
	require.Len(t, found, 2)
	_, err = d.river.JobGet(t.Context(), stray.Job.ID)
	require.Error(t, err)
	d.requireAccounts(deliverytest.Accounts{Events: 2, InFlight: 1, Pending: 1, Attempts: 1, Jobs: 2})
}

func TestOldestAndLag(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	oldest, err := d.OldestOpen(t.Context())
	require.NoError(t, err)
	require.Empty(t, oldest)
	since := d.now.Add(250 * time.Millisecond)
	d.pending()
	d.now = d.now.Add(time.Hour)
	d.pending()
	require.NoError(t, d.FoldAccounts(t.Context()))
	oldest, err = d.OldestOpen(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]time.Time{"webhook": since}, oldest)
	d.takeAll(delivery.Acceptance{Event: d.wanted(), Later: true})
	lag, err := d.QueueLag(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, jobs.Queues(), slices.Collect(maps.Keys(lag)))
	for queue, since := range lag {
		require.Equal(t, queue != jobs.QueueDelivery, since.IsZero(), queue)
	}
}

func TestPruneEventsKeepsWhatIsOpen(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	done, open, closed := d.accept("webhook"), d.accept("webhook"), d.accept("webhook")
	d.first(done, "webhook", arrived)
	d.first(open, "webhook", refused)
	letter := d.first(closed, "webhook", refused)
	d.exec(`UPDATE alert_dlq SET state = 'discarded', closed_at = now() WHERE id = $1`, letter)
	d.accept("webhook") // in flight
	prune := func(before time.Time, limit, want int) {
		n, err := d.PruneEvents(t.Context(), before, limit)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	prune(idTime(done.ID), 10, 0)
	until := time.Now().Add(time.Second)
	prune(until, 1, 1)
	prune(until, 10, 1)
	prune(until, 10, 0)
	require.Equal(t, deliverytest.Accounts{Events: 2, InFlight: 1, Exhausted: 1, Attempts: 1}, deliverytest.Count(t, d.pool))
	require.Equal(t, map[string]int64{"accepted": 4, "delivered": 1, "exhausted": 1, "discarded": 1, "in_flight": 1}, d.balances("webhook"),
		"the accounts remember what has aged out")
	d.exec(`DELETE FROM alert_account_changes WHERE account IN ('delivered', 'discarded')`)
	d.exec(`INSERT INTO alert_account_changes VALUES ('default', 'webhook', 'accepted', -2)`)
}

// Retention comes to an event while one of its closed letters is being replayed: the letter is open when it
// is committed, and stays with everything of its event.
func TestPruneEventsKeepsWhatIsReopened(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	d := newDeliveries(t, dbtest.Connect(t, address))
	reopened, done := d.accept("inapp", "webhook"), d.accept("webhook")
	letter := d.first(reopened, "webhook", refused)
	d.first(reopened, "inapp", refused)
	d.first(done, "webhook", arrived)
	d.exec(`UPDATE alert_dlq SET state = 'discarded', closed_at = now()`)
	want := deliverytest.Count(t, d.pool)
	want.Events, want.Delivered, want.Attempts = want.Events-1, 0, want.Attempts-1

	config, err := pgxpool.ParseConfig(address)
	require.NoError(t, err)
	pruned := make(chan error, 1)
	h := &hook{query: "ReleaseLetters", run: func() {
		go func() {
			n, err := d.PruneEvents(context.WithoutCancel(t.Context()), time.Now().Add(time.Second), 10)
			if err == nil && n != 1 {
				err = fmt.Errorf("%d events were deleted", n)
			}
			pruned <- err
		}()
		d.waitsForLock(1)
	}}
	config.ConnConfig.Tracer = h
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	operators := store.NewDeliveries(pool, d.river, slog.New(slog.DiscardHandler), time.Now)
	_, err = operators.ReplayDeadLetter(t.Context(), "default", letter, operator)
	require.NoError(t, err)
	require.NoError(t, <-pruned)

	require.Equal(t, delivery.Pending, d.history(reopened, "webhook").State)
	require.Equal(t, delivery.Discarded, d.history(reopened, "inapp").State)
	want.Pending, want.Jobs = 1, 1
	require.Equal(t, want, deliverytest.Count(t, d.pool))
	d.retry(letter, arrived)
	prunes(t, d.PruneEvents, time.Now().Add(time.Second), 10, 1)
	d.exec(`DELETE FROM alert_account_changes`) // they remember what has aged out
}

// waitsForLock waits until n statements wait for others.
func (d *deliveries) waitsForLock(n int) {
	d.t.Helper()
	require.Eventually(d.t, func() bool {
		var waiting int
		err := d.pool.QueryRow(d.t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting)
		return err == nil && waiting == n
	}, 20*time.Second, 5*time.Millisecond, "nobody waits")
}

// idTime is when an id of version 7 was made.
func idTime(id uuid.UUID) time.Time {
	sec, nsec := id.Time().UnixTime()
	return time.Unix(sec, nsec)
}

// A letter that was closed while an attempt was under way, which then succeeds, is delivered after all,
// and counted once.
func TestAccountsOfALetterThatIsDeliveredAfterItWasClosed(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"discarded", "expired", "superseded"} {
		d := setupDeliveries(t)
		_, letter := d.pending()
		d.now = d.now.Add(2 * time.Minute)
		job := d.job(letter)
		l := d.load(letter, job)
		d.exec(`UPDATE alert_dlq SET state = $1, closed_at = now(), next_retry_at = NULL, job_id = NULL`, state)
		require.Equal(t, map[string]int64{"accepted": 1, state: 1}, d.balances("webhook"))
		d.record(job, l, arrived)
		require.Equal(t, map[string]int64{"accepted": 1, "delivered": 1}, d.balances("webhook"))
		found, err := d.AuditAccounts(t.Context())
		require.NoError(t, err)
		require.Empty(t, found)
	}
}
