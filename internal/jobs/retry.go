package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"github.com/dawsos/dawsos/internal/delivery"
)

// RetryArgs asks for the next attempt of one dead letter.
type RetryArgs struct {
	DeadLetterID uuid.UUID `json:"dead_letter_id"`
}

// Kind implements river.JobArgs.
func (RetryArgs) Kind() string { return "retry_delivery" }

// InsertOpts implements river.JobArgsWithInsertOpts.
//
// One job accompanies a letter from its first failure to its end: a failed retry snoozes it until
// the next one is due, which costs no River attempt. So River's single attempt is only ever spent
// by an interruption: a worker killed in a retry, or a database that went away while the outcome
// was being recorded. River then discards the job without calling us, and the reconciler, which
// has to exist for that case anyway, is the one place where interruptions are handled.
func (RetryArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueDelivery, MaxAttempts: 1}
}

// Letters is where dead letters stand.
type Letters interface {
	// DeadLetterForJob returns the pending letter that the job may attempt; false when there is
	// none any more: delivered, replayed under another job, or gone.
	DeadLetterForJob(ctx context.Context, id uuid.UUID, jobID int64) (delivery.DeadLetter, bool, error)
	// RecordRetry writes down a retry: the letter leaves or stays, and the attempt is appended, in
	// one transaction. The job ends after it: should the worker die in between, the job that runs
	// again finds a letter that is no longer its own, or not due, and does nothing.
	RecordRetry(ctx context.Context, jobID int64, l delivery.DeadLetter, v delivery.Verdict) error
}

// RetryWorker works RetryArgs.
type RetryWorker struct {
	river.WorkerDefaults[RetryArgs]
	retrier *delivery.Retrier
	letters Letters
	timeout time.Duration
	now     func() time.Time
}

// recordTime is how long a job may take before its attempt, to load the letter, and again after
// it, to record what became of it.
const recordTime = 10 * time.Second

// NewRetryWorker returns the worker. attemptTimeout is what one attempt may take.
func NewRetryWorker(r *delivery.Retrier, l Letters, attemptTimeout time.Duration, now func() time.Time) *RetryWorker {
	return &RetryWorker{retrier: r, letters: l, timeout: RetryTimeout(attemptTimeout), now: now}
}

// RetryTimeout is how long a retry job has to load its letter and attempt it, when one attempt may
// take attemptTimeout. What came of it is recorded in a time of its own.
func RetryTimeout(attemptTimeout time.Duration) time.Duration { return attemptTimeout + recordTime }

// Timeout implements river.Worker.
func (w *RetryWorker) Timeout(*river.Job[RetryArgs]) time.Duration { return w.timeout }

// Work makes one retry.
func (w *RetryWorker) Work(ctx context.Context, job *river.Job[RetryArgs]) error {
	letter, ok, err := w.letters.DeadLetterForJob(ctx, job.Args.DeadLetterID, job.ID)
	if err != nil {
		return fmt.Errorf("retry of dead letter %s: load: %w", job.Args.DeadLetterID, err)
	}
	if !ok {
		return nil
	}
	if wait := letter.NextRetryAt.Sub(w.now()); wait > 0 {
		return river.JobSnooze(wait)
	}
	v := w.retrier.Retry(ctx, letter)
	if v.State == delivery.InFlight { // cut short by the stop of this worker: handed back unharmed
		return river.JobSnooze(0)
	}
	// What has happened is written down, also while the worker stops.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	if err := w.letters.RecordRetry(ctx, job.ID, letter, v); err != nil {
		return fmt.Errorf("retry of dead letter %s: record %s: %w", letter.ID, v.State, err)
	}
	if v.State == delivery.Pending {
		return river.JobSnooze(max(0, v.NextRetryAt.Sub(w.now())))
	}
	return nil
}
