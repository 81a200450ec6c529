package jobs_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/store/deliverytest"
)

// repairs tells what the worker asked for. The real ones are tested in internal/store.
type repairs struct {
	interrupted, orphans []int // what the calls return, one after the other
	err                  error
	acceptedBefore       time.Time
	runningBefore        time.Time
	maxInterruptions     int
}

func next(results *[]int, limit int) int {
	if len(*results) == 0 {
		return 0
	}
	n := min((*results)[0], limit)
	*results = (*results)[1:]
	return n
}

func (r *repairs) QueueInterrupted(_ context.Context, before time.Time, limit int) (int, error) {
	r.acceptedBefore = before
	return next(&r.interrupted, limit), r.err
}

func (r *repairs) RescheduleOrphans(_ context.Context, before time.Time, maxInterruptions, limit int) (int, error) {
	r.runningBefore, r.maxInterruptions = before, maxInterruptions
	return next(&r.orphans, limit), r.err
}

func reconcile(t *testing.T, r *repairs, attemptTimeout time.Duration, now time.Time) error {
	t.Helper()
	w := jobs.NewReconcileWorker(r, attemptTimeout, slog.New(slog.DiscardHandler), func() time.Time { return now })
	return w.Work(t.Context(), &river.Job[jobs.ReconcileArgs]{})
}

func TestReconcileGoesOnUntilABatchIsNotFull(t *testing.T) {
	t.Parallel()
	r := &repairs{interrupted: []int{500, 500, 499, 1}, orphans: []int{500, 0, 1}}
	require.NoError(t, reconcile(t, r, time.Second, time.Now()))
	require.Equal(t, []int{1}, r.interrupted)
	require.Equal(t, []int{1}, r.orphans)
	require.Equal(t, jobs.MaxInterruptions, r.maxInterruptions)
}

func TestReconcileReportsWhatItCannotMend(t *testing.T) {
	t.Parallel()
	r := &repairs{interrupted: []int{500, 500}, err: errors.New("event 1 can't be mended")}
	require.ErrorIs(t, reconcile(t, r, time.Second, time.Now()), r.err)
	require.Equal(t, []int{500}, r.interrupted, "it stops there, the next run is due in seconds")
}

// An attempt that lives must not be taken for dead, however long its recording takes: its message
// would be sent again. A retry has RetryTimeout to load and send and 10 s to record, a first
// attempt has its own time twice.
func TestReconcileLeavesTheLivingTheirTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, attempt := range []time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second, time.Minute} {
		r := &repairs{}
		require.NoError(t, reconcile(t, r, attempt, now))
		require.Greater(t, now.Sub(r.runningBefore), jobs.RetryTimeout(attempt)+10*time.Second)
		require.Greater(t, now.Sub(r.acceptedBefore), 2*attempt)
		require.Less(t, now.Sub(r.runningBefore), time.Minute+3*attempt, "nor is the dead waited for too long")
	}
}

// The whole way back: the API dies in a first attempt, the reconciler finds it, a retry delivers.
func TestReconcileAndRetry(t *testing.T) {
	t.Parallel()
	b := setup(t, answers(again, arrived), time.Hour)
	event, _ := b.deliver(t.Context())
	// As if the API had died before it recorded the outcome, a while ago.
	b.exec(`DELETE FROM alert_dlq`)
	b.exec(`DELETE FROM alert_attempts`)
	b.exec(`DELETE FROM river_job`)
	b.exec(`DELETE FROM alert_account_changes`)
	b.exec(`INSERT INTO alert_inflight (event_id, target, channel, tenant_id, accepted_at) SELECT id, 'hook', 'hook', tenant_id, accepted_at - interval '1 hour' FROM alert_events`)
	require.Equal(t, deliverytest.Accounts{Events: 1, InFlight: 1}, deliverytest.Count(t, b.pool))

	w := b.work(b.store)
	_, err := w.Insert(t.Context(), jobs.ReconcileArgs{}, nil)
	require.NoError(t, err)
	for w.wait(river.EventKindJobCompleted).Job.Kind != (jobs.RetryArgs{}).Kind() {
	}
	h := b.history(event)
	require.Equal(t, delivery.Delivered, h.State)
	require.Equal(t, []delivery.Cause{delivery.Interrupted, delivery.None}, causes(h))
}
