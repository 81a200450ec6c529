package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/store"
)

// prunes calls prune again and again, and requires what each call deletes.
func prunes(t *testing.T, prune func(context.Context, time.Time, int) (int, error), before time.Time, limit int, want ...int) {
	t.Helper()
	for i, n := range want {
		got, err := prune(t.Context(), before, limit)
		require.NoError(t, err)
		require.Equal(t, n, got, "call %d", i)
	}
}

func TestPruneOperations(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fill(4)
	letters, err := q.DeadLetters(t.Context(), "default", delivery.LetterFilter{}, uuid.Max, 10)
	require.NoError(t, err)
	var ids []uuid.UUID
	for i, l := range letters { // each operation has one letter
		exec(t, q.pool, `UPDATE alert_dlq SET alert_id = $2 WHERE id = $1`, l.ID, l.ID.String())
		kind := delivery.Replay
		if i < 2 {
			kind = delivery.Discard
		}
		o := q.start(delivery.Operation{Kind: kind, PerSecond: 10, Filter: delivery.LetterFilter{AlertID: l.ID.String()}})
		require.Equal(t, 1, q.slice(o.ID).Released)
		ids = append(ids, o.ID)
	}
	for _, id := range ids[:3] { // the last goes on
		exec(t, q.pool, `UPDATE alert_dlq_operations SET state = 'done', ended_at = now(), job_id = NULL WHERE id = $1`, id)
	}
	prunes(t, q.PruneOperations, time.Now().Add(-time.Hour), 10, 0)
	exec(t, q.pool, `UPDATE alert_dlq_operations SET started_at = now() - interval '2 h'`)
	prunes(t, q.PruneOperations, time.Now().Add(time.Minute), 1, 1, 1, 0)
	left, err := q.Operations(t.Context(), "default", uuid.Max, 10)
	require.NoError(t, err)
	require.Equal(t, []uuid.UUID{ids[3], ids[2]}, []uuid.UUID{left[0].ID, left[1].ID}, "one runs, the letter of the other is open")
	exec(t, q.pool, `DELETE FROM alert_dlq WHERE operation_id = $1`, ids[2])
	prunes(t, q.PruneOperations, time.Now().Add(time.Minute), 10, 1)
}

func TestPruneNotifications(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	s := store.New(d.pool, store.Options{})
	now := time.Now()
	for age, read := range map[time.Duration]any{
		time.Hour: nil, 2 * time.Hour: now.Add(-time.Minute), 100 * time.Hour: now.Add(-90 * time.Hour), 101 * time.Hour: now.Add(-89 * time.Hour),
		102 * time.Hour: nil, 103 * time.Hour: now.Add(-time.Minute),
	} {
		d.exec(`INSERT INTO notifications (id, tenant_id, user_id, event_id, alert_id, title, message, severity, data, created_at, read_at)
			VALUES ($1, 'default', 'ada', gen_random_uuid(), '', '', '', 'info', '{}', $2, $3)`, idOf(now.Add(-age)), now.Add(-age), read)
	}
	count := func() (n int) {
		require.NoError(t, d.pool.QueryRow(t.Context(), `SELECT count(*) FROM notifications`).Scan(&n))
		return n
	}
	prunes(t, s.PruneReadNotifications, now.Add(-24*time.Hour), 1, 1, 1, 0)
	require.Equal(t, 4, count(), "what was read a minute ago stays, however old it is, and what nobody has read")
	prunes(t, s.PruneNotifications, now.Add(-102*time.Hour-time.Minute), 10, 1)
	prunes(t, s.PruneNotifications, now.Add(-24*time.Hour), 1, 1, 0)
	require.Equal(t, 2, count())
}

func TestPruneAuditLog(t *testing.T) {
	t.Parallel()
	d := setupDeliveries(t)
	s := store.New(d.pool, store.Options{})
	now := time.Now()
	for i := range 5 {
		at := now.Add(-time.Duration(i) * time.Hour)
		d.exec(`INSERT INTO audit_log (id, tenant_id, at, actor, action, subject, subject_id, detail)
			VALUES ($1, $2, $3, 'api', 'rule.create', 'rule', '', '{}')`, idOf(at), []string{"default", "other"}[i%2], at)
	}
	prunes(t, s.PruneAuditLog, now.Add(-90*time.Minute), 2, 2, 1, 0)
	var oldest time.Time
	require.NoError(t, d.pool.QueryRow(t.Context(), `SELECT min(at) FROM audit_log`).Scan(&oldest))
	require.WithinDuration(t, now.Add(-time.Hour), oldest, time.Second)
}

// idOf returns an id of version 7 made at a time.
func idOf(at time.Time) uuid.UUID {
	id := uuid.Must(uuid.NewV7())
	ms := at.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id
}
