package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/riverqueue/river"
)

// PruneRecordsArgs asks for what is kept for people to look up to be deleted where it is past its
// retention: operations on dead letters, notifications, the audit trail, runs of periodic jobs, the
// figures of portfolios that the nightly job has computed, and changes of circuit breakers.
type PruneRecordsArgs struct{}

// Kind implements river.JobArgs.
func (PruneRecordsArgs) Kind() string { return "prune_records" }

// InsertOpts implements river.JobArgsWithInsertOpts. One that fails is not repeated: the next does its
// work as well.
func (PruneRecordsArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueUpkeep, MaxAttempts: 1}
}

// OperationPruner deletes operations on dead letters.
type OperationPruner interface {
	// PruneOperations deletes up to limit operations that ended before a time and of whose letters none
	// is open, and returns how many.
	PruneOperations(ctx context.Context, endedBefore time.Time, limit int) (int, error)
}

// RecordPruner deletes all the others. All return how many, up to limit.
type RecordPruner interface {
	// PruneReadNotifications deletes those that were read before a time.
	PruneReadNotifications(ctx context.Context, readBefore time.Time, limit int) (int, error)
	// PruneNotifications deletes those that came before a time, read or not.
	PruneNotifications(ctx context.Context, cameBefore time.Time, limit int) (int, error)
	// PruneAuditLog deletes entries written before a time.
	PruneAuditLog(ctx context.Context, writtenBefore time.Time, limit int) (int, error)
	// PruneJobRuns deletes runs that began before a time, but for the last success of each job.
	PruneJobRuns(ctx context.Context, begunBefore time.Time, limit int) (int, error)
	// PruneMetrics deletes portfolios' figures computed before a time.
	PruneMetrics(ctx context.Context, computedBefore time.Time, limit int) (int, error)
	// PruneSessions deletes sessions of the console that were over before a time.
	PruneSessions(ctx context.Context, overBefore time.Time, limit int) (int, error)
	// PruneBreakerChanges deletes changes of circuit breakers made before a time.
	PruneBreakerChanges(ctx context.Context, changedBefore time.Time, limit int) (int, error)
}

// sessionRetention is how long a session is kept that is over: it opens nothing.
const sessionRetention = 24 * time.Hour

// RecordRetention is how long records are kept; all must be positive.
type RecordRetention struct {
	Operations          time.Duration // from their end
	ReadNotifications   time.Duration // from when they were read
	UnreadNotifications time.Duration // from when they came
	Audit               time.Duration
	JobRuns             time.Duration
	Metrics             time.Duration
	BreakerChanges      time.Duration
}

// The records, values of a label.
const (
	recordOperation    = "operation"
	recordNotification = "notification"
	recordAudit        = "audit"
	recordJobRun       = "job_run"
	recordMetrics      = "portfolio_metrics"
	recordBreaker      = "breaker_change"
	recordSession      = "session"
)

// PruneRecordsWorker works PruneRecordsArgs.
type PruneRecordsWorker struct {
	river.WorkerDefaults[PruneRecordsArgs]
	kinds  []prunable
	pruned *prometheus.CounterVec // record
	log    *slog.Logger
	now    func() time.Time
}

// prunable is one kind of records with a retention of its own.
type prunable struct {
	record    string
	what      string // in errors and log lines
	retention time.Duration
	prune     func(ctx context.Context, before time.Time, limit int) (int, error)
}

// NewPruneRecordsWorker returns the worker.
func NewPruneRecordsWorker(
	o OperationPruner, p RecordPruner, keep RecordRetention, reg prometheus.Registerer, log *slog.Logger, now func() time.Time,
) *PruneRecordsWorker {
	w := &PruneRecordsWorker{
		kinds: []prunable{
			{recordOperation, "operations on dead letters", keep.Operations, o.PruneOperations},
			{recordNotification, "read notifications", keep.ReadNotifications, p.PruneReadNotifications},
			{recordNotification, "unread notifications", keep.UnreadNotifications, p.PruneNotifications},
			{recordAudit, "audit trail", keep.Audit, p.PruneAuditLog},
			{recordJobRun, "runs of periodic jobs", keep.JobRuns, p.PruneJobRuns},
			{recordMetrics, "figures of portfolios", keep.Metrics, p.PruneMetrics},
			{recordSession, "sessions of the console", sessionRetention, p.PruneSessions},
			{recordBreaker, "changes of circuit breakers", keep.BreakerChanges, p.PruneBreakerChanges},
		},
		pruned: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "dawsos_records_pruned_total",
			Help: "Records deleted at the end of their retention: operations on dead letters, notifications, entries of the audit trail, runs of periodic jobs, figures of portfolios, changes of circuit breakers, sessions of the console.",
		}, []string{"record"}),
		log: log, now: now,
	}
	for _, k := range w.kinds {
		w.pruned.WithLabelValues(k.record)
	}
	return w
}

// Work deletes in short transactions, as PruneRunsWorker does. One kind that fails does not keep the
// others from it.
func (w *PruneRecordsWorker) Work(ctx context.Context, _ *river.Job[PruneRecordsArgs]) error {
	begun := w.now()
	var errs []error
	for _, k := range w.kinds {
		more, err := w.pruneKind(ctx, k, begun)
		if err != nil {
			errs = append(errs, fmt.Errorf("prune %s: %w", k.what, err))
		}
		if more {
			return errors.Join(append(errs, river.JobSnooze(prunePause))...)
		}
	}
	return errors.Join(errs...)
}

// pruneKind deletes one kind, and reports whether the job's time ended before it was done.
func (w *PruneRecordsWorker) pruneKind(ctx context.Context, k prunable, begun time.Time) (more bool, err error) {
	before, total := begun.Add(-k.retention), 0
	defer func() {
		if total > 0 {
			w.log.InfoContext(ctx, "pruned records", "what", k.what, "count", total, "before", before.UTC())
		}
	}()
	for {
		n, err := k.prune(ctx, before, pruneBatch)
		total += n
		w.pruned.WithLabelValues(k.record).Add(float64(n))
		switch {
		case err != nil || n < pruneBatch:
			return false, err
		case w.now().Sub(begun) >= pruneTime:
			return true, nil
		}
	}
}
