package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/periodic"
	"github.com/dawsos/dawsos/internal/store/db"
)

// JobRuns records the runs of periodic jobs.
type JobRuns struct {
	*Packs
	pool *pgxpool.Pool
}

// NewJobRuns returns the store. What follows a run goes in through inserter.
func NewJobRuns(pool *pgxpool.Pool, inserter *river.Client[pgx.Tx], now func() time.Time) *JobRuns {
	return &JobRuns{Packs: NewPacks(pool, inserter, now), pool: pool}
}

var (
	_ jobs.RunBook    = (*JobRuns)(nil)
	_ jobs.RunHistory = (*JobRuns)(nil)
	_ jobs.PackShelf  = (*Packs)(nil)
)

// BeginRun implements jobs.RunBook.
func (s *JobRuns) BeginRun(ctx context.Context, r periodic.Run, jobID int64) (uuid.UUID, error) {
	id, err := s.q.BeginJobRun(ctx, db.BeginJobRunParams{
		ID: s.newID(), Job: r.Job, TenantID: nilIfZero(r.TenantID), Trigger: string(r.Trigger), Chain: nilIfZero(r.Chain),
		JobID: &jobID, Attempt: int32(r.Attempt), StartedAt: r.StartedAt, //nolint:gosec // River's own are small
	})
	if err != nil {
		return uuid.Nil, fmt.Errorf("begin run of %s: %w", r.Job, err)
	}
	return id, nil
}

// maxErrorText bounds what is kept of an error.
const maxErrorText = 4000

// EndRun implements jobs.RunBook.
func (s *JobRuns) EndRun(ctx context.Context, r periodic.Run, e jobs.Ending) error {
	text := asStorable(e.Error)
	if len(text) > maxErrorText {
		text = asStorable(text[:maxErrorText])
	}
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		err := q.EndJobRun(ctx, db.EndJobRunParams{
			ID: r.ID, Status: string(e.State), EndedAt: e.At, Error: nilIfZero(text), Detail: orEmpty(e.Detail),
		})
		if err != nil {
			return fmt.Errorf("end run of %s: %w", r.Job, err)
		}
		if len(e.SkippedJobs) > 0 {
			p := db.SkipJobRunsParams{
				Jobs: e.SkippedJobs, TenantID: nilIfZero(r.TenantID), Chain: nilIfZero(r.Chain), At: &e.At, Reason: r.Job + " failed before it",
			}
			for range e.SkippedJobs {
				p.Ids = append(p.Ids, s.newID())
			}
			if err := q.SkipJobRuns(ctx, p); err != nil {
				return fmt.Errorf("record what is skipped after %s: %w", r.Job, err)
			}
		}
		if e.Next == nil {
			return nil
		}
		if _, err := s.jobs.InsertTx(ctx, tx, e.Next, nil); err != nil {
			return fmt.Errorf("insert %s: %w", e.Next.Kind(), err)
		}
		return nil
	})
}

func orEmpty(detail json.RawMessage) json.RawMessage {
	if len(detail) == 0 {
		return json.RawMessage("{}")
	}
	return detail
}

// LastSuccesses implements jobs.RunHistory.
func (s *JobRuns) LastSuccesses(ctx context.Context, names []string) (map[string]time.Time, error) {
	return lastSuccesses(ctx, s.q, names)
}

// LastSuccesses returns when each job last ended well; jobs that never did are absent.
func (s *PeriodicJobs) LastSuccesses(ctx context.Context, names []string) (map[string]time.Time, error) {
	return lastSuccesses(ctx, s.q, names)
}

func lastSuccesses(ctx context.Context, q *db.Queries, names []string) (map[string]time.Time, error) {
	rows, err := q.LastSuccesses(ctx, names)
	if err != nil {
		return nil, fmt.Errorf("last successes of jobs: %w", err)
	}
	ends := make(map[string]time.Time, len(rows))
	for _, r := range rows {
		ends[r.Job] = r.EndedAt.UTC()
	}
	return ends, nil
}

// CatchUp puts in the jobs whose time has passed while no worker was there, once, and returns their names.
func (s *JobRuns) CatchUp(ctx context.Context, all []jobs.Periodic) ([]string, error) {
	names := answers(all, jobs.Periodic.Name)
	rows, err := s.q.LastJobRuns(ctx, names, 1)
	if err != nil {
		return nil, fmt.Errorf("last runs of jobs: %w", err)
	}
	begun := make(map[string]time.Time, len(rows))
	for _, r := range rows {
		begun[r.JobRun.Job] = r.JobRun.StartedAt
	}
	var late []string
	for _, p := range jobs.CatchUp(all, begun, s.now()) {
		err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			// Of workers that start together one puts it in.
			if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('dawsos late job ' || $1, 0))`, p.Name()); err != nil {
				return err
			}
			busy, err := s.q.WithTx(tx).JobUnderWay(ctx, p.Name())
			if err != nil || busy {
				return err
			}
			late = append(late, p.Name())
			_, err = s.jobs.InsertTx(ctx, tx, p.Args, jobs.TriggeredBy(periodic.BySchedule))
			return err
		})
		if err != nil {
			return late, fmt.Errorf("insert %s, which is late: %w", p.Name(), err)
		}
	}
	return late, nil
}

// Resume begins a nightly order for each tenant with warming packs when no job waits that would bring them on,
// and returns the tenants. An order that was cut off by the end of its worker is taken up again only once
// its job has had its time, an hour for some; and one that has failed for good, never. Where another worker
// is in the middle of one, the same work is done twice.
func (s *JobRuns) Resume(ctx context.Context) (tenants []string, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		// Of workers that start together one does.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('dawsos late job ' || $1, 0))`, jobs.NightlyFirst); err != nil {
			return err
		}
		q := s.q.WithTx(tx)
		waiting, err := q.WaitingJobs(ctx, jobs.NightlyToFresh())
		if err != nil || len(waiting) > 0 {
			return err
		}
		if tenants, err = q.TenantsWithWarmingPacks(ctx); err != nil {
			return err
		}
		for _, tenant := range tenants {
			if err := s.enqueueBuild(ctx, tx, tenant, periodic.BySchedule); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("go on with warming pricing packs: %w", err)
	}
	return tenants, nil
}

// PruneJobRuns deletes up to limit runs that began before a time, and returns how many. The last success of
// each job stays.
func (s *Store) PruneJobRuns(ctx context.Context, begunBefore time.Time, limit int) (int, error) {
	n, err := s.q.PruneJobRuns(ctx, idAt(begunBefore), int32(limit)) //nolint:gosec // a small constant
	return int(n), err
}

func toJobRun(r db.JobRun) periodic.Run {
	return periodic.Run{
		ID: r.ID, Job: r.Job, TenantID: deref(r.TenantID), Trigger: periodic.Trigger(r.Trigger), Chain: deref(r.Chain),
		Attempt: int(r.Attempt), State: periodic.State(r.Status), StartedAt: r.StartedAt.UTC(), EndedAt: utc(r.EndedAt),
		Error: deref(r.Error), Detail: r.Detail,
	}
}

// estimateReady judges when warming packs of a tenant will be fresh: when the nightly order that is under
// way began, or now where one waits to begin, and how long the last orders took. Nil when none is under way
// or none has ended yet.
func (s *Store) estimateReady(ctx context.Context, tenantID string) (*time.Time, error) {
	took, err := s.q.ChainSeconds(ctx, jobs.NightlyFresh)
	if err != nil {
		return nil, fmt.Errorf("durations of the last nightly orders: %w", err)
	}
	if took.Chains == 0 {
		return nil, nil //nolint:nilnil // it is not known
	}
	now := s.now().UTC()
	waiting, err := s.q.WaitingJobs(ctx, []string{jobs.NightlyFirst})
	if err != nil {
		return nil, fmt.Errorf("waiting jobs: %w", err)
	}
	begun := now
	if len(waiting) == 0 {
		under, err := s.q.ChainUnderWay(ctx, db.ChainUnderWayParams{
			First: jobs.NightlyFirst, Last: jobs.NightlyFresh, TenantID: &tenantID, Dependent: jobs.NightlyDependents(), After: now.Add(-24 * time.Hour),
		})
		if err != nil {
			return nil, fmt.Errorf("nightly order that is under way: %w", err)
		}
		if len(under) == 0 {
			return nil, nil //nolint:nilnil // nothing is
		}
		begun = under[0].UTC()
	}
	ready := begun.Add(time.Duration(took.Seconds * float64(time.Second)))
	if soon := now.Add(leastEstimate); ready.Before(soon) {
		ready = soon // it takes longer than the last ones did
	}
	ready = ready.Truncate(time.Second)
	return &ready, nil
}

// leastEstimate is the least time that a pack which is not ready is taken to need.
const leastEstimate = 2 * time.Second
