package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
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

// lastRuns is how many runs of each job are shown with it.
const lastRuns = 5

// PeriodicJobs returns the jobs that run by the clock, in order of name, with their last runs. What River
// knows says whether one waits or runs; how it went stands in our own table.
func (s *PeriodicJobs) PeriodicJobs(ctx context.Context) ([]periodic.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	names := answers(s.all, jobs.Periodic.Name)
	rows, err := s.q.PeriodicRuns(ctx, names)
	if err != nil {
		return nil, fmt.Errorf("runs of periodic jobs: %w", err)
	}
	last := make(map[string]db.PeriodicRunsRow, len(rows))
	for _, r := range rows {
		last[r.Kind] = r
	}
	recorded, err := s.q.LastJobRuns(ctx, names, lastRuns)
	if err != nil {
		return nil, fmt.Errorf("recorded runs of periodic jobs: %w", err)
	}
	runs := map[string][]periodic.Run{}
	for _, r := range recorded {
		runs[r.JobRun.Job] = append(runs[r.JobRun.Job], toJobRun(r.JobRun))
	}
	successes, err := s.LastSuccesses(ctx, names)
	if err != nil {
		return nil, err
	}
	now := s.now().UTC()
	return answers(s.all, func(p jobs.Periodic) periodic.Job {
		j := periodic.Job{
			Name: p.Name(), Description: p.Description, Schedule: p.Schedule, After: p.After, Off: p.Off,
			State: periodic.Never, Runs: runs[p.Name()],
		}
		if at, ok := successes[j.Name]; ok {
			j.LastSuccessAt = &at
		}
		begun := now
		if r, ok := last[j.Name]; ok {
			j.LastStartedAt, j.LastEndedAt, j.State = utc(r.AttemptedAt), utc(r.FinalizedAt), stateOfRun(r.State)
			begun = r.CreatedAt
		}
		if len(j.Runs) > 0 {
			newest := j.Runs[0]
			if j.State == periodic.Never || j.State == periodic.Succeeded && newest.State != periodic.Running {
				// River forgets, and does not know what was skipped.
				j.LastStartedAt, j.LastEndedAt, j.State = &newest.StartedAt, newest.EndedAt, newest.State
			}
		}
		if j.State == periodic.Never || p.Off != "" {
			begun = now // nothing has set its clock yet, or it stands still
		}
		if next := p.Schedule.Next(begun); !next.IsZero() && p.Off == "" && (j.State != periodic.Never || p.Schedule.Interval() == 0) {
			if next.Before(now) { // the worker was away, or is about to
				next = now
			}
			j.NextAt = &next
		}
		return j
	}), nil
}

// JobRuns returns up to limit runs of a job that precede before (newest first); uuid.Max starts. A job that
// there is not is fault.NotFound.
func (s *PeriodicJobs) JobRuns(ctx context.Context, name string, before uuid.UUID, limit int) ([]periodic.Run, error) {
	if !slices.ContainsFunc(s.all, func(p jobs.Periodic) bool { return p.Name() == name }) {
		return nil, errNoJob()
	}
	rows, err := s.q.JobRuns(ctx, name, before, int32(limit)) //nolint:gosec // bounded by the API
	if err != nil {
		return nil, fmt.Errorf("runs of job %s: %w", name, err)
	}
	return answers(rows, toJobRun), nil
}

func errNoJob() error { return fault.New(fault.NotFound, "there is no periodic job of this name") }

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
	return errNoJob()
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
		if p.Off != "" {
			return fault.New(fault.Conflict, "job %s is off: %s", p.Name(), p.Off)
		}
		if _, err := s.jobs.InsertTx(ctx, tx, p.Args, jobs.TriggeredBy(periodic.ByHand)); err != nil {
			return fmt.Errorf("insert job %s: %w", p.Name(), err)
		}
		return addAudit(ctx, tx, audit.Entry{
			TenantID: tenantID, At: s.now().UTC().Truncate(time.Microsecond), Actor: by.Actor, Action: "job.run", Subject: "job",
			SubjectID: p.Name(), Reason: by.Reason,
		})
	})
}
