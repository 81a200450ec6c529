package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"

	"github.com/dawsos/dawsos/internal/delivery"
)

// OperationArgs asks for work on many dead letters, slice by slice: a replay, a discard or a drain.
type OperationArgs struct {
	OperationID uuid.UUID `json:"operation_id"`
}

// Kind implements river.JobArgs.
func (OperationArgs) Kind() string { return "dead_letter_operation" }

// InsertOpts implements river.JobArgsWithInsertOpts. A slice is one transaction: what was
// interrupted has not happened and is done again. The attempts last for a night of a database that
// is away.
func (OperationArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueUpkeep, MaxAttempts: 10_000}
}

const (
	// OperationSlice is the time from one slice to the next.
	OperationSlice = time.Second
	// operationRetry is how long a slice that failed waits.
	operationRetry = 5 * time.Second
	// operationTime bounds one slice.
	operationTime = 20 * time.Second
)

// Operations works on dead letters in slices.
type Operations interface {
	// WorkSlice makes the operation's next step, in one transaction. When the operation is not the
	// job's any more there is none.
	WorkSlice(ctx context.Context, operationID uuid.UUID, jobID int64) (Slice, error)
}

// Slice is what one step of an operation came to.
type Slice struct {
	Kind     delivery.OperationKind
	Released int  // letters that were made due, or discarded
	More     bool // another step is to follow
}

// OperationWorker works OperationArgs.
type OperationWorker struct {
	river.WorkerDefaults[OperationArgs]
	operations Operations
	released   *delivery.Releases
	now        func() time.Time
}

// NewOperationWorker returns the worker.
func NewOperationWorker(o Operations, reg prometheus.Registerer, now func() time.Time) *OperationWorker {
	return &OperationWorker{
		operations: o, now: now,
		released: delivery.NewReleases(reg, delivery.ReleasedByOperation, delivery.Replay, delivery.Discard, delivery.Drain),
	}
}

// Timeout implements river.Worker.
func (*OperationWorker) Timeout(*river.Job[OperationArgs]) time.Duration { return operationTime }

// NextRetry implements river.Worker.
func (w *OperationWorker) NextRetry(*river.Job[OperationArgs]) time.Time {
	return w.now().Add(operationRetry)
}

// Work works one slice.
func (w *OperationWorker) Work(ctx context.Context, job *river.Job[OperationArgs]) error {
	slice, err := w.operations.WorkSlice(ctx, job.Args.OperationID, job.ID)
	if err != nil {
		return fmt.Errorf("operation %s: %w", job.Args.OperationID, err)
	}
	if slice.Released > 0 {
		w.released.Add(slice.Kind, slice.Released)
	}
	if slice.More {
		return river.JobSnooze(OperationSlice)
	}
	return nil
}
