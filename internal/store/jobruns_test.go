package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/periodic"
	"github.com/dawsos/dawsos/internal/store"
)

// The last runs of each job are found by index, however many there are; and so is what is past its retention,
// of which the last success of each job stays.
func TestJobRunsAreFoundByIndex(t *testing.T) {
	t.Parallel()
	config := dbtest.New(t).Config()
	last, pruned := &listing{name: "LastJobRuns"}, &listing{name: "PruneJobRuns"}
	connect := func(l *listing) *pgxpool.Pool {
		c := config.Copy()
		c.ConnConfig.Tracer = l
		pool, err := pgxpool.NewWithConfig(t.Context(), c)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		return pool
	}
	pool := connect(last)
	exec(t, pool, `
		INSERT INTO job_runs (id, job, trigger, status, started_at, ended_at)
		SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || '7000' || '8000' || lpad(to_hex(n), 12, '0'))::uuid, j, 'schedule',
			CASE WHEN n % 10 = 0 OR j = 'backup' AND n > 100 THEN 'failed' ELSE 'succeeded' END, at, at
		FROM (
			SELECT n, (ARRAY['build_packs', 'backup', 'evaluate_alerts'])[1 + n % 3] AS j, to_timestamp(1700000000 + n) AS at
			FROM generate_series(1, 30000) AS n
		) AS runs`)
	exec(t, pool, `ANALYZE job_runs`)
	runs := store.NewJobRuns(pool, nil, time.Now)
	_, err := runs.CatchUp(t.Context(), jobs.Periodics(jobs.Schedules{Evaluate: periodic.Every(time.Hour)}))
	require.NoError(t, err)
	found := plan(t, pool, statements{sql: last.last.Load().sql, args: []any{"{build_packs,backup,evaluate_alerts}", 5}})
	require.Contains(t, found, "job_runs_job")
	require.NotContains(t, found, "Seq Scan on job_runs")

	pool = connect(pruned)
	s := store.New(pool, store.Options{})
	n, err := s.PruneJobRuns(t.Context(), time.Now(), 100)
	require.NoError(t, err)
	require.Equal(t, 100, n)
	found = plan(t, pool, statements{sql: pruned.last.Load().sql, args: []any{uuid.Max, 100}})
	require.NotContains(t, found, "Unique", "the last successes are not looked up all at once")
	n, err = s.PruneJobRuns(t.Context(), time.Now(), 100_000)
	require.NoError(t, err)
	require.Equal(t, 30000-100-3, n)
	ends, err := store.NewJobRuns(pool, nil, time.Now).LastSuccesses(t.Context(), []string{"build_packs", "backup", "evaluate_alerts"})
	require.NoError(t, err)
	at := func(n int64) time.Time { return time.Unix(1700000000+n, 0).UTC() }
	require.Equal(t, map[string]time.Time{"build_packs": at(29997), "backup": at(97), "evaluate_alerts": at(29999)}, ends)
}
