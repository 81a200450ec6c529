package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dawsos/dawsos/internal/health"
	"github.com/dawsos/dawsos/internal/store/db"
)

// Beat implements health.Registry.
func (s *Store) Beat(ctx context.Context, p health.Process) error {
	return s.q.Beat(ctx, db.BeatParams{
		ID: p.ID, Role: p.Role, Host: p.Host, Pid: int32(p.PID), Version: p.Version, Commit: p.Commit, //nolint:gosec // a process id
		Reason: nilIfZero(p.Reason),
	})
}

// StopProcess implements health.Registry.
func (s *Store) StopProcess(ctx context.Context, id uuid.UUID) error { return s.q.StopProcess(ctx, id) }

// PruneProcesses implements health.Registry.
func (s *Store) PruneProcesses(ctx context.Context) error {
	_, err := s.q.PruneProcesses(ctx)
	return err
}

// Processes returns those that were heard within the last hour, a hundred at the most: first those that run, by
// role, the youngest first.
func (s *Store) Processes(ctx context.Context) ([]health.Process, error) {
	rows, err := s.q.Processes(ctx, health.Silence.Seconds())
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	list := make([]health.Process, len(rows))
	for i, r := range rows {
		list[i] = health.Process{
			ID: r.ID, Role: r.Role, Host: r.Host, PID: int(r.Pid), Version: r.Version, Commit: r.Commit,
			StartedAt: r.StartedAt.UTC(), HeardAt: r.HeardAt.UTC(), StoppedAt: utc(r.StoppedAt), Running: r.Running,
		}
		if r.Reason != nil {
			list[i].Reason = *r.Reason
		}
	}
	return list, nil
}

// Database says how the server is.
func (s *Store) Database(ctx context.Context) (health.Database, error) {
	var d health.Database
	// Not with the other queries: sqlc knows neither the server's own views nor the tables of migrations.
	err := s.db.QueryRow(ctx, `SELECT current_setting('server_version'), pg_database_size(current_database()),
		(SELECT sum(numbackends) FROM pg_stat_database), current_setting('max_connections')::integer,
		(SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied)`,
	).Scan(&d.Version, &d.Bytes, &d.Connections, &d.MaxConnections, &d.Schema)
	if err != nil {
		return health.Database{}, fmt.Errorf("look at the database: %w", err)
	}
	return d, nil
}

// LastHour counts what a tenant's deliveries and runs did in the last hour.
func (s *Store) LastHour(ctx context.Context, tenantID string) (health.Hour, error) {
	var rows []db.LastHourRow
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		// Ranges of a minute look larger to the planner than they are: compiling them would take longer than
		// counting.
		if _, err := tx.Exec(ctx, `SET LOCAL jit = off`); err != nil {
			return err
		}
		var err error
		rows, err = s.q.WithTx(tx).LastHour(ctx, tenantID, health.MaxMinute+1)
		return err
	})
	if err != nil {
		return health.Hour{}, fmt.Errorf("count the last hour: %w", err)
	}
	var h health.Hour
	for _, r := range rows {
		at := r.At.UTC()
		if h.Since.IsZero() {
			h.Since = at
		}
		h.Until = at.Add(time.Minute)
		m := health.Minute{At: at, Delivered: h.Delivered.Add(r.Delivered), Failed: h.Failed.Add(r.Failed)}
		h.Runs.Add(r.Runs)
		h.FailedRuns.Add(r.FailedRuns)
		if m.Delivered+m.Failed > 0 {
			h.Minutes = append(h.Minutes, m)
		}
	}
	return h, nil
}

// OldestOpenLetter is since when the oldest open dead letter of a tenant has been one; the zero time when none
// is open.
func (s *Store) OldestOpenLetter(ctx context.Context, tenantID string) (time.Time, error) {
	oldest, err := s.q.OldestOpenLetter(ctx, tenantID)
	if err != nil {
		return time.Time{}, fmt.Errorf("oldest open dead letter: %w", err)
	}
	if len(oldest) == 0 {
		return time.Time{}, nil
	}
	return oldest[0].UTC(), nil
}
