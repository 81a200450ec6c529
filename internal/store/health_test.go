package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/health"
	"github.com/dawsos/dawsos/internal/store"
)

// databaseNow is the time by which processes are judged.
func databaseNow(t *testing.T, pool *pgxpool.Pool) (now time.Time) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&now))
	return now.UTC()
}

// A process is known from its first word on, and how it is follows from when it was last heard.
func TestProcesses(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	only := func() health.Process {
		t.Helper()
		list, err := s.Processes(t.Context())
		require.NoError(t, err)
		require.Len(t, list, 1)
		return list[0]
	}
	before := databaseNow(t, pool)
	me := health.Process{ID: uuid.Must(uuid.NewV7()), Role: "worker", Host: "here", PID: 7, Version: "v1", Commit: "abc", Reason: "schema can't be read"}
	require.NoError(t, s.Beat(t.Context(), me))
	first := only()
	require.Equal(t, "unready", first.State())
	require.Equal(t, first.StartedAt, first.HeardAt)
	require.False(t, first.StartedAt.Before(before))
	want := me
	want.StartedAt, want.HeardAt, want.Running = first.StartedAt, first.HeardAt, true
	require.Equal(t, want, first)

	me.Reason = ""
	require.NoError(t, s.Beat(t.Context(), me))
	second := only()
	require.Equal(t, "ready", second.State())
	require.Equal(t, first.StartedAt, second.StartedAt)
	require.True(t, second.HeardAt.After(first.HeardAt))

	exec(t, pool, `UPDATE processes SET heard_at = now() - interval '14 s'`)
	require.Equal(t, "ready", only().State())
	exec(t, pool, `UPDATE processes SET heard_at = now() - interval '16 s'`)
	require.Equal(t, "gone", only().State())
	require.NoError(t, s.Beat(t.Context(), me))
	require.Equal(t, "ready", only().State(), "it was not gone")

	require.NoError(t, s.StopProcess(t.Context(), me.ID))
	stopped := only()
	require.Equal(t, "stopped", stopped.State())
	require.False(t, stopped.Running)
	require.Equal(t, stopped.HeardAt, *stopped.StoppedAt)
	require.NoError(t, s.StopProcess(t.Context(), uuid.New()), "one that was never heard")

	exec(t, pool, `UPDATE processes SET heard_at = now() - interval '61 minutes'`)
	list, err := s.Processes(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)
}

// What dies and is started again all the time does not hide what runs, and what is old goes, some at a time.
func TestManyProcesses(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	worker := health.Process{ID: uuid.Must(uuid.NewV7()), Role: "worker", Host: "here", PID: 7, Version: "v1"}
	require.NoError(t, s.Beat(t.Context(), worker))
	fill := func(n int, age string) {
		exec(t, pool, `INSERT INTO processes (id, role, host, pid, version, commit, started_at, heard_at)
			SELECT gen_random_uuid(), 'api', 'here', i, 'v1', '', now() - $2::text::interval, now() - $2::text::interval FROM generate_series(1, $1::integer) AS i`, n, age)
	}
	fill(200, "30 minutes")
	list, err := s.Processes(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 100)
	require.Equal(t, worker.ID, list[0].ID)
	require.True(t, list[0].Running)
	require.Equal(t, "gone", list[1].State())

	fill(1200, "25 hours")
	left := func() (n int) {
		require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM processes").Scan(&n))
		return n
	}
	require.NoError(t, s.PruneProcesses(t.Context()))
	require.Equal(t, 401, left())
	require.NoError(t, s.PruneProcesses(t.Context()))
	require.Equal(t, 201, left())
	require.NoError(t, s.PruneProcesses(t.Context()))
	require.Equal(t, 201, left())
}

func TestDatabase(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	d, err := s.Database(t.Context())
	require.NoError(t, err)
	var version string
	var schema int64
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT split_part(current_setting('server_version'), ' ', 1), (SELECT max(version_id) FROM goose_db_version)").Scan(&version, &schema))
	require.Equal(t, version, d.Number())
	require.Equal(t, schema, d.Schema)
	require.Positive(t, d.Bytes)
	require.Positive(t, d.Connections)
	require.GreaterOrEqual(t, d.MaxConnections, d.Connections)
}

// happened adds what the last hour counts, at a time and for a tenant.
func happened(t *testing.T, pool *pgxpool.Pool, tenant string, at time.Time, delivered, failed, interrupted, runs, failedRuns int) {
	t.Helper()
	exec(t, pool, `INSERT INTO alert_deliveries (id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, delivery_methods, attempts, accepted_at, delivered_at)
		SELECT gen_random_uuid(), $1, gen_random_uuid(), 'inapp', 'inapp', 'a', 'u', '', '[]', 1, $2, $2 FROM generate_series(1, $3::integer)`, tenant, at, delivered)
	for outcome, n := range map[string]int{"delivered": delivered, "failed": failed, "interrupted": interrupted} {
		exec(t, pool, `INSERT INTO alert_attempts (event_id, target, channel, attempt, tenant_id, started_at, duration_seconds, outcome)
			SELECT gen_random_uuid(), 'inapp', 'inapp', 1, $1, $2, 0.1, $4 FROM generate_series(1, $3::integer)`, tenant, at, n, outcome)
	}
	for code, n := range map[string]int{"": runs - failedRuns, "internal": failedRuns} {
		exec(t, pool, `INSERT INTO pattern_runs (id, tenant_id, request_id, trace_id, pattern_id, definition_hash, inputs, asof, require_fresh,
				pricing_pack_id, pricing_pack_date, pricing_pack_revision, pricing_pack_hash, started_at, duration_seconds, outcome, error_code, warnings, data_hash, trace)
			SELECT gen_random_uuid(), $1, 'r', '', 'p', '', '{}', '2026-05-01', false, gen_random_uuid(), '2026-05-01', 1, '', $2, 0.1,
				CASE WHEN $4 = '' THEN 'success' ELSE 'error' END, nullif($4, ''), '[]', CASE WHEN $4 = '' THEN 'hash' END, '{}'
			FROM generate_series(1, $3::integer)`, tenant, at, n, code)
	}
}

// The last hour is of sixty minutes by the database's clock, that under way included.
func TestLastHour(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	empty, err := s.LastHour(t.Context(), "default")
	require.NoError(t, err)
	require.Equal(t, health.Hour{Since: empty.Since, Until: empty.Until}, empty)
	now := databaseNow(t, pool)
	require.Equal(t, time.Hour, empty.Until.Sub(empty.Since))
	require.Equal(t, empty.Since, empty.Since.Truncate(time.Minute))

	// The minute may end meanwhile: then the hour is another one.
	minute := now.Truncate(time.Minute)
	first, last := minute.Add(-57*time.Minute), minute.Add(-2*time.Minute)
	happened(t, pool, "default", first, 3, 2, 1, 5, 2)
	happened(t, pool, "default", first.Add(time.Minute-time.Microsecond), 1, 0, 0, 1, 1)
	happened(t, pool, "default", last, 0, 4, 0, 0, 0)
	happened(t, pool, "default", last.Add(time.Minute), 0, 0, 0, 1, 0)
	happened(t, pool, "default", minute.Add(-time.Hour), 7, 7, 7, 7, 7) // a minute too old
	happened(t, pool, "default", minute.Add(2*time.Hour), 7, 7, 7, 7, 7)
	happened(t, pool, "other", last, 9, 9, 9, 9, 9)
	h, err := s.LastHour(t.Context(), "default")
	require.NoError(t, err)
	require.Equal(t, health.Hour{
		Since: h.Since, Until: h.Until,
		Delivered: health.Count{Number: 4}, Failed: health.Count{Number: 7}, Runs: health.Count{Number: 7}, FailedRuns: health.Count{Number: 3},
		Minutes: []health.Minute{{At: first, Delivered: 4, Failed: 3}, {At: last, Failed: 4}},
	}, h)

	happened(t, pool, "default", databaseNow(t, pool), 1, 0, 0, 0, 0)
	h, err = s.LastHour(t.Context(), "default")
	require.NoError(t, err)
	require.Equal(t, 5, h.Delivered.Number, "the minute under way")
}

// More than can be counted of a minute is said to be more.
func TestLastHourOfTooMuch(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	at := databaseNow(t, pool).Truncate(time.Minute).Add(-2 * time.Minute)
	happened(t, pool, "default", at, health.MaxMinute, health.MaxMinute+1, 0, 1, 0)
	happened(t, pool, "default", at.Add(-time.Minute), 1, 1, 0, 0, 0)
	h, err := s.LastHour(t.Context(), "default")
	require.NoError(t, err)
	require.Equal(t, health.Count{Number: health.MaxMinute + 1}, h.Delivered, "of two minutes, and all of it")
	require.Equal(t, health.Count{Number: health.MaxMinute + 1, More: true}, h.Failed)
	require.Equal(t, health.Count{Number: 1}, h.Runs)
}

// The oldest open letter is that of its tenant, whatever is closed or another's.
func TestOldestOpenLetter(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	s := store.New(q.pool, store.Options{})
	oldest := func() time.Time {
		t.Helper()
		at, err := s.OldestOpenLetter(t.Context(), "default")
		require.NoError(t, err)
		return at
	}
	require.Zero(t, oldest())
	q.fill(4) // exhausted: the receiver refuses all
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	exec(t, q.pool, `UPDATE alert_dlq AS l SET created_at = $1::timestamptz + n.n * interval '1 hour'
		FROM (SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM alert_dlq) AS n WHERE n.id = l.id`, start)
	require.Equal(t, start, oldest())
	_, err := q.DiscardDeadLetter(t.Context(), "default", q.letterOf(`SELECT id FROM alert_dlq ORDER BY id LIMIT 1`), operator)
	require.NoError(t, err)
	require.Equal(t, start.Add(time.Hour), oldest())
	exec(t, q.pool, `UPDATE alert_dlq SET tenant_id = 'other' WHERE created_at = $1`, start.Add(time.Hour))
	require.Equal(t, start.Add(2*time.Hour), oldest())
	exec(t, q.pool, `UPDATE alert_dlq SET state = 'pending', next_retry_at = now() WHERE created_at = $1`, start.Add(3*time.Hour))
	require.Equal(t, start.Add(2*time.Hour), oldest())
	exec(t, q.pool, fmt.Sprintf(`DELETE FROM alert_dlq WHERE state = '%s'`, delivery.Exhausted))
	require.Equal(t, start.Add(3*time.Hour), oldest())
}
