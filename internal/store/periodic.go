package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/periodic"
	"github.com/dawsos/dawsos/internal/store/db"
)

// PeriodicJobs knows the jobs that run by the clock.
type PeriodicJobs struct {
	*Deliveries
	all []jobs.Periodic
}

// NewPeriodicJobs returns what is known of all, whose jobs go in as those of d do.
func NewPeriodicJobs(d *Deliveries, all []jobs.Periodic) *PeriodicJobs {
	return &PeriodicJobs{Deliveries: d, all: all}
}

// PeriodicJobs returns the jobs that run by the clock, in order of name, with their last runs.
func (s *PeriodicJobs) PeriodicJobs(ctx context.Context) ([]periodic.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	rows, err := s.q.PeriodicRuns(ctx, answers(s.all, jobs.Periodic.Name))
	if err != nil {
		return nil, fmt.Errorf("runs of periodic jobs: %w", err)
	}
	last := make(map[string]db.PeriodicRunsRow, len(rows))
	for _, r := range rows {
		last[r.Kind] = r
	}
	now := s.now().UTC()
	return answers(s.all, func(p jobs.Periodic) periodic.Job {
		j := periodic.Job{Name: p.Name(), Description: p.Description, Interval: p.Interval, State: periodic.Never}
		r, ok := last[j.Name]
		if !ok {
			return j
		}
		j.LastStartedAt, j.LastEndedAt, j.State = utc(r.AttemptedAt), utc(r.FinalizedAt), stateOfRun(r.State)
		next := r.CreatedAt.Add(p.Interval).UTC()
		if next.Before(now) { // the worker was away, or is about to
			next = now
		}
		j.NextAt = &next
		return j
	}), nil
}

func stateOfRun(state string) periodic.State {
	switch rivertype.JobState(state) {
	case rivertype.JobStateRunning:
		return periodic.Running
	case rivertype.JobStateCompleted:
		return periodic.Succeeded
	case rivertype.JobStateDiscarded, rivertype.JobStateCancelled:
		return periodic.Failed
	default:
		return periodic.Waiting
	}
}

// RunPeriodicJob starts a job now, unless it waits or runs already. The tenant is the one whose trail
// tells of it.
func (s *PeriodicJobs) RunPeriodicJob(ctx context.Context, tenantID, name string, by delivery.By) error {
	for _, p := range s.all {
		if p.Name() == name {
			return s.runPeriodicJob(ctx, tenantID, p, by)
		}
	}
	return fault.New(fault.NotFound, "there is no periodic job of this name")
}

func (s *Deliveries) runPeriodicJob(ctx context.Context, tenantID string, p jobs.Periodic, by delivery.By) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		busy, err := s.q.WithTx(tx).JobUnderWay(ctx, p.Name())
		if err != nil {
			return fmt.Errorf("look for job %s: %w", p.Name(), err)
		}
		if busy {
			return fault.New(fault.Conflict, "job %s waits or runs already", p.Name())
		}
		if _, err := s.jobs.InsertManyTx(ctx, tx, []river.InsertManyParams{{Args: p.Args}}); err != nil {
			return fmt.Errorf("insert job %s: %w", p.Name(), err)
		}
		return addAudit(ctx, tx, audit.Entry{
			TenantID: tenantID, At: s.now().UTC().Truncate(time.Microsecond), Actor: by.Actor, Action: "job.run", Subject: "job",
			SubjectID: p.Name(), Reason: by.Reason,
		})
	})
}
