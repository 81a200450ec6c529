package jobs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/store"
)

// pruner tells what the worker asked for. The real one is tested in internal/store.
type pruner struct {
	deleted []int // what the calls return, one after the other
	err     error // of the call after the last
	before  time.Time
	onCall  func()
}

func (p *pruner) PruneRuns(_ context.Context, before time.Time, limit int) (int, error) {
	p.before = before
	if p.onCall != nil {
		p.onCall()
	}
	if len(p.deleted) == 0 {
		return 0, p.err
	}
	return next(&p.deleted, limit), nil
}

func requirePruned(t *testing.T, reg *prometheus.Registry, n int) {
	t.Helper()
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(fmt.Sprintf(`
# HELP dawsos_runs_pruned_total Recorded pattern runs deleted at the end of their retention.
# TYPE dawsos_runs_pruned_total counter
dawsos_runs_pruned_total %d
`, n))))
}

func TestPruneGoesOnUntilABatchIsNotFull(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		deleted []int
		err     error
		total   int
		lines   int
	}{
		"nothing to do": {total: 0},
		"some":          {deleted: []int{7, 1}, total: 7, lines: 1},
		"many":          {deleted: []int{5000, 5000, 3, 1}, total: 10003, lines: 1},
		"a failure":     {deleted: []int{5000}, err: errors.New("boom"), total: 5000, lines: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg, log := prometheus.NewRegistry(), &bytes.Buffer{}
			p := &pruner{deleted: c.deleted, err: c.err}
			w := jobs.NewPruneRunsWorker(p, 24*time.Hour, reg, slog.New(slog.NewTextHandler(log, nil)), func() time.Time { return now })
			requirePruned(t, reg, 0)
			require.ErrorIs(t, w.Work(t.Context(), &river.Job[jobs.PruneRunsArgs]{}), c.err)
			requirePruned(t, reg, c.total)
			require.True(t, p.before.Equal(now.Add(-24*time.Hour)))
			require.Equal(t, c.lines, strings.Count(log.String(), fmt.Sprintf("count=%d", c.total)))
		})
	}
}

// A job must end before River takes its worker for dead, and other upkeep waits behind it.
func TestPruneMakesWay(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	p := &pruner{deleted: []int{5000, 5000, 5000, 5000}, onCall: func() { now = now.Add(2 * time.Second) }}
	w := jobs.NewPruneRunsWorker(p, time.Hour, prometheus.NewRegistry(), slog.New(slog.DiscardHandler), func() time.Time { return now })
	var snooze *river.JobSnoozeError
	require.ErrorAs(t, w.Work(t.Context(), &river.Job[jobs.PruneRunsArgs]{}), &snooze)
	require.Positive(t, snooze.Duration)
	require.Len(t, p.deleted, 1)
}

// The whole way: a periodic job on a running worker deletes what is past its retention.
func TestPruneOnAWorker(t *testing.T) {
	t.Parallel()
	b := setup(t, answers(arrived))
	b.exec(`
		INSERT INTO pattern_runs (id, tenant_id, request_id, trace_id, pattern_id, definition_hash, inputs, asof, require_fresh,
			pricing_pack_id, pricing_pack_date, pricing_pack_revision, pricing_pack_hash, started_at, duration_seconds,
			outcome, data_hash, warnings, trace)
		SELECT gen_random_uuid(), 'default', '', '', 'p', '', '{}', '2026-01-01', false, gen_random_uuid(), '2026-01-01', 1, '',
			now() - n * interval '1 minute', 1, 'success', 'x', '[]', '{}'
		FROM generate_series(1, 6100) AS n`)
	reg := prometheus.NewRegistry()
	workers := river.NewWorkers()
	river.AddWorker(workers, jobs.NewPruneRunsWorker(store.New(b.pool, store.Options{}), 90*time.Minute+30*time.Second, reg, b.quiet, time.Now))
	client := b.client(&river.Config{
		Workers: workers, Queues: map[string]river.QueueConfig{jobs.QueueUpkeep: {MaxWorkers: 1}},
		PeriodicJobs: []*river.PeriodicJob{river.NewPeriodicJob(river.PeriodicInterval(jobs.PruneInterval),
			func() (river.JobArgs, *river.InsertOpts) { return jobs.PruneRunsArgs{}, nil }, &river.PeriodicJobOpts{RunOnStart: true})},
	})
	events, unsubscribe := client.Subscribe(river.EventKindJobCompleted, river.EventKindJobFailed)
	defer unsubscribe()
	require.NoError(t, client.Start(context.WithoutCancel(t.Context())))
	defer func() { require.NoError(t, client.Stop(context.WithoutCancel(t.Context()))) }()
	select {
	case e := <-events:
		require.Equal(t, river.EventKindJobCompleted, e.Kind)
		require.Equal(t, "prune_runs", e.Job.Kind)
	case <-time.After(patience):
		require.FailNow(t, "not pruned")
	}
	var left int
	require.NoError(t, b.pool.QueryRow(t.Context(), `SELECT count(*) FROM pattern_runs`).Scan(&left))
	require.Equal(t, 90, left)
	requirePruned(t, reg, 6010)
}
