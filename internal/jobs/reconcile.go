package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
)

// ReconcileArgs asks for a look at what interruptions left behind.
type ReconcileArgs struct{}

// Kind implements river.JobArgs.
func (ReconcileArgs) Kind() string { return "reconcile_deliveries" }

// InsertOpts implements river.JobArgsWithInsertOpts. A run that fails is not repeated: the next
// one is due in seconds.
func (ReconcileArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueUpkeep, MaxAttempts: 1}
}

const (
	// ReconcileInterval is how often interruptions are looked for.
	ReconcileInterval = 10 * time.Second
	// MaxInterruptions is how often a letter's attempt may be cut off by its process's death
	// before it is taken for the reason of it and left to the operators.
	MaxInterruptions = 5
	// reconcileBatch bounds how many rows one transaction moves.
	reconcileBatch = 500
)

// Repairs finds and mends interruptions. Both return how many rows they changed.
type Repairs interface {
	// QueueInterrupted turns events accepted before the given time, whose first attempt has
	// no recorded outcome on a channel, into dead letters that are due now.
	QueueInterrupted(ctx context.Context, acceptedBefore time.Time, limit int) (int, error)
	// RescheduleOrphans gives pending letters without a live job a new one, due now. A job that
	// has been running since before runningBefore is dead. After maxInterruptions the letter is
	// exhausted.
	RescheduleOrphans(ctx context.Context, runningBefore time.Time, maxInterruptions, limit int) (int, error)
}

// ReconcileWorker works ReconcileArgs.
type ReconcileWorker struct {
	river.WorkerDefaults[ReconcileArgs]
	repairs        Repairs
	attemptTimeout time.Duration
	log            *slog.Logger
	now            func() time.Time
}

// NewReconcileWorker returns the worker. attemptTimeout is what one attempt may take.
func NewReconcileWorker(r Repairs, attemptTimeout time.Duration, log *slog.Logger, now func() time.Time) *ReconcileWorker {
	return &ReconcileWorker{repairs: r, attemptTimeout: attemptTimeout, log: log, now: now}
}

// Work mends everything there is, in batches.
func (w *ReconcileWorker) Work(ctx context.Context, _ *river.Job[ReconcileArgs]) error {
	dead := w.now().Add(-w.patience())
	err := w.drain(ctx, "events without an outcome, queued for a retry", func() (int, error) {
		return w.repairs.QueueInterrupted(ctx, dead, reconcileBatch)
	})
	if err != nil {
		return fmt.Errorf("queue interrupted first attempts: %w", err)
	}
	err = w.drain(ctx, "dead letters without a live job, scheduled again", func() (int, error) {
		return w.repairs.RescheduleOrphans(ctx, dead, MaxInterruptions, reconcileBatch)
	})
	if err != nil {
		return fmt.Errorf("reschedule orphaned dead letters: %w", err)
	}
	return nil
}

// clockSkew is how far the clocks of the processes and of the database may be apart.
const clockSkew = 5 * time.Second

// patience is how long an attempt can be alive. A retry has its time to load and send, and then
// recordTime; a first attempt has attemptTimeout to send and as long again to record. Whoever is
// given up too early sends for nothing: the next attempt may repeat the message.
func (w *ReconcileWorker) patience() time.Duration {
	return RetryTimeout(w.attemptTimeout) + max(recordTime, w.attemptTimeout) + clockSkew
}

func (w *ReconcileWorker) drain(ctx context.Context, what string, batch func() (int, error)) error {
	for {
		n, err := batch()
		if n > 0 {
			w.log.WarnContext(ctx, "reconciler mended what interruptions left behind", "what", what, "count", n)
		}
		if err != nil || n < reconcileBatch {
			return err
		}
	}
}
