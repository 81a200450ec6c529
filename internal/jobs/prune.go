package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/riverqueue/river"
)

// PruneRunsArgs asks for recorded runs to be deleted that are past their retention.
type PruneRunsArgs struct{}

// Kind implements river.JobArgs.
func (PruneRunsArgs) Kind() string { return "prune_runs" }

// InsertOpts implements river.JobArgsWithInsertOpts. One that fails is not repeated: the next does
// its work as well.
func (PruneRunsArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueUpkeep, MaxAttempts: 1}
}

const (
	// PruneInterval is how often recorded runs are pruned, and so by how much one may outlive its
	// retention.
	PruneInterval = time.Hour
	// pruneBatch bounds how many rows one transaction deletes.
	pruneBatch = 5000
	// pruneTime is after how long the job makes way for other upkeep, to go on after prunePause. It
	// lies well below the client's limit for a job, at which River takes its worker for dead.
	pruneTime  = 5 * time.Second
	prunePause = time.Second
)

// RunPruner deletes recorded runs.
type RunPruner interface {
	// PruneRuns deletes up to limit runs that started before a time and returns how many.
	PruneRuns(ctx context.Context, startedBefore time.Time, limit int) (int, error)
}

// PruneRunsWorker works PruneRunsArgs.
type PruneRunsWorker struct {
	river.WorkerDefaults[PruneRunsArgs]
	pruner    RunPruner
	retention time.Duration
	pruned    prometheus.Counter
	log       *slog.Logger
	now       func() time.Time
}

// NewPruneRunsWorker returns the worker, which keeps runs for retention.
func NewPruneRunsWorker(
	p RunPruner, retention time.Duration, reg prometheus.Registerer, log *slog.Logger, now func() time.Time,
) *PruneRunsWorker {
	return &PruneRunsWorker{
		pruner: p, retention: retention, log: log, now: now,
		pruned: promauto.With(reg).NewCounter(prometheus.CounterOpts{
			Name: "dawsos_runs_pruned_total", Help: "Recorded pattern runs deleted at the end of their retention.",
		}),
	}
}

// Work deletes in short transactions, so that neither locks nor dead rows pile up. With more to do
// than it has time for it snoozes, which costs no attempt.
func (w *PruneRunsWorker) Work(ctx context.Context, _ *river.Job[PruneRunsArgs]) error {
	begun := w.now()
	before := begun.Add(-w.retention)
	total := 0
	defer func() {
		if total > 0 {
			w.log.InfoContext(ctx, "pruned recorded runs", "count", total, "started_before", before.UTC())
		}
	}()
	for {
		n, err := w.pruner.PruneRuns(ctx, before, pruneBatch)
		total += n
		w.pruned.Add(float64(n))
		switch {
		case err != nil:
			return fmt.Errorf("prune recorded runs: %w", err)
		case n < pruneBatch:
			return nil
		case w.now().Sub(begun) >= pruneTime:
			return river.JobSnooze(prunePause)
		}
	}
}
