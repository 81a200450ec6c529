package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"github.com/dawsos/dawsos/internal/delivery"
)

// DeliverArgs asks for the first attempt of an event on a target, where it was left to the worker:
// nobody waits for its outcome, or its endpoint's rate was used up.
type DeliverArgs struct {
	EventID uuid.UUID `json:"event_id"`
	Target  string    `json:"target"`
}

// Kind implements river.JobArgs.
func (DeliverArgs) Kind() string { return "deliver" }

// InsertOpts implements river.JobArgsWithInsertOpts. As with retries, an interruption is the
// reconciler's.
func (DeliverArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueDelivery, MaxAttempts: 1}
}

// Firsts is where events wait for their first attempts.
type Firsts interface {
	// InFlightForJob returns the event and target whose first attempt the job may make; false when
	// there is none any more.
	InFlightForJob(ctx context.Context, eventID uuid.UUID, target string, jobID int64) (delivery.Event, delivery.Target, bool, error)
}

// DeliverWorker works DeliverArgs.
type DeliverWorker struct {
	river.WorkerDefaults[DeliverArgs]
	service *delivery.Service
	firsts  Firsts
	timeout time.Duration
	now     func() time.Time
}

// NewDeliverWorker returns the worker. attemptTimeout is what one attempt may take.
func NewDeliverWorker(s *delivery.Service, f Firsts, attemptTimeout time.Duration, now func() time.Time) *DeliverWorker {
	return &DeliverWorker{service: s, firsts: f, timeout: RetryTimeout(attemptTimeout), now: now}
}

// Timeout implements river.Worker.
func (w *DeliverWorker) Timeout(*river.Job[DeliverArgs]) time.Duration { return w.timeout }

// Work makes one first attempt. The service records it.
func (w *DeliverWorker) Work(ctx context.Context, job *river.Job[DeliverArgs]) error {
	e, t, ok, err := w.firsts.InFlightForJob(ctx, job.Args.EventID, job.Args.Target, job.ID)
	if err != nil {
		return fmt.Errorf("delivery of event %s to %s: load: %w", job.Args.EventID, job.Args.Target, err)
	}
	if !ok {
		return nil
	}
	v, err := w.service.FirstLater(ctx, e, t, job.ScheduledAt)
	switch {
	case err != nil:
		return fmt.Errorf("delivery of event %s to %s: %w", e.ID, t.Key(), err)
	case v.Hold != nil && v.State == delivery.InFlight: // its turn has not come; it may expire before that
		return river.JobSnooze(max(0, v.NextRetryAt.Sub(w.now())))
	case v.State == delivery.InFlight: // cut short by the stop of this worker: handed back unharmed
		return river.JobSnooze(0)
	}
	return nil
}
