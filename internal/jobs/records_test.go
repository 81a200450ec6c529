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
)

// records tells what the worker asked for. The real ones are tested in internal/store.
type records struct {
	now    time.Time
	asked  []string
	left   map[string]int
	broken string
}

func (r *records) prune(what string, before time.Time, limit int) (int, error) {
	r.asked = append(r.asked, fmt.Sprintf("%s older than %s", what, r.now.Sub(before)))
	if what == r.broken {
		return 0, errors.New("boom")
	}
	n := min(limit, r.left[what])
	r.left[what] -= n
	return n, nil
}

func (r *records) PruneOperations(_ context.Context, before time.Time, limit int) (int, error) {
	return r.prune("operations", before, limit)
}

func (r *records) PruneReadNotifications(_ context.Context, before time.Time, limit int) (int, error) {
	return r.prune("read", before, limit)
}

func (r *records) PruneNotifications(_ context.Context, before time.Time, limit int) (int, error) {
	return r.prune("unread", before, limit)
}

func (r *records) PruneAuditLog(_ context.Context, before time.Time, limit int) (int, error) {
	return r.prune("audit", before, limit)
}

func (r *records) PruneJobRuns(_ context.Context, before time.Time, limit int) (int, error) {
	return r.prune("job runs", before, limit)
}

func (r *records) PruneMetrics(_ context.Context, before time.Time, limit int) (int, error) {
	return r.prune("metrics", before, limit)
}

func (r *records) PruneSessions(_ context.Context, before time.Time, limit int) (int, error) {
	return r.prune("sessions", before, limit)
}

func (r *records) PruneBreakerChanges(_ context.Context, before time.Time, limit int) (int, error) {
	return r.prune("breaker changes", before, limit)
}

func TestRecordsArePrunedEachAfterItsOwnTime(t *testing.T) {
	t.Parallel()
	keep := jobs.RecordRetention{Operations: time.Hour, ReadNotifications: 2 * time.Hour, UnreadNotifications: 3 * time.Hour, Audit: 4 * time.Hour, JobRuns: 5 * time.Hour, Metrics: 6 * time.Hour, BreakerChanges: 7 * time.Hour}
	reg, log := prometheus.NewRegistry(), &bytes.Buffer{}
	r := &records{now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), left: map[string]int{}}
	now := r.now
	w := jobs.NewPruneRecordsWorker(r, r, keep, reg, slog.New(slog.NewTextHandler(log, nil)), func() time.Time { return now })
	pruned := func(operations, notifications, audit int) {
		t.Helper()
		require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(fmt.Sprintf(`
# HELP dawsos_records_pruned_total Records deleted at the end of their retention: operations on dead letters, notifications, entries of the audit trail, runs of periodic jobs, figures of portfolios, changes of circuit breakers, sessions of the console.
# TYPE dawsos_records_pruned_total counter
dawsos_records_pruned_total{record="audit"} %d
dawsos_records_pruned_total{record="breaker_change"} 0
dawsos_records_pruned_total{record="job_run"} 0
dawsos_records_pruned_total{record="notification"} %d
dawsos_records_pruned_total{record="operation"} %d
dawsos_records_pruned_total{record="portfolio_metrics"} 0
dawsos_records_pruned_total{record="session"} 0
`, audit, notifications, operations))))
	}
	pruned(0, 0, 0)
	require.NoError(t, w.Work(t.Context(), &river.Job[jobs.PruneRecordsArgs]{}))
	require.Equal(t, []string{
		"operations older than 1h0m0s", "read older than 2h0m0s", "unread older than 3h0m0s", "audit older than 4h0m0s",
		"job runs older than 5h0m0s", "metrics older than 6h0m0s", "sessions older than 24h0m0s", "breaker changes older than 7h0m0s",
	}, r.asked)
	require.Empty(t, log.String(), "nothing to tell")

	r.left = map[string]int{"operations": 3, "read": 5001, "unread": 7, "audit": 2}
	r.broken, r.asked = "unread", nil
	require.ErrorContains(t, w.Work(t.Context(), &river.Job[jobs.PruneRecordsArgs]{}), "prune unread notifications: boom")
	pruned(3, 5001, 2)
	require.Equal(t, 3, strings.Count(log.String(), "pruned records"))

	// A job must end before River takes its worker for dead.
	r.left, r.broken = map[string]int{"read": 20000, "audit": 1}, ""
	late := jobs.NewPruneRecordsWorker(r, r, keep, prometheus.NewRegistry(), slog.New(slog.DiscardHandler), func() time.Time {
		now = now.Add(2 * time.Second)
		return now
	})
	_, snoozed := errors.AsType[*river.JobSnoozeError](late.Work(t.Context(), &river.Job[jobs.PruneRecordsArgs]{}))
	require.True(t, snoozed)
	require.Equal(t, 1, r.left["audit"], "its turn comes")
	require.Positive(t, r.left["read"])
}
