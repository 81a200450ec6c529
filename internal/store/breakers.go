package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/breakers"
	"github.com/dawsos/dawsos/internal/store/db"
)

var _ breakers.Book = (*Store)(nil)

// RecordBreakerChanges implements breakers.Book.
func (s *Store) RecordBreakerChanges(ctx context.Context, changes []breakers.Change) error {
	var tenants []string
	params := make(map[string][]db.RecordBreakerChangeParams, 1)
	for _, c := range changes {
		if params[c.TenantID] == nil {
			tenants = append(tenants, c.TenantID)
		}
		params[c.TenantID] = append(params[c.TenantID], db.RecordBreakerChangeParams{
			ID: c.ID, TenantID: nilIfZero(c.TenantID), Role: c.Process.Role, Host: asStorable(c.Process.Host),
			Pid: int32(c.Process.PID), Kind: string(c.Kind), Name: asStorable(c.Name), //nolint:gosec // pids are smaller
			FromState: string(c.From), ToState: string(c.To), At: c.At, Reason: asStorable(c.Reason),
		})
	}
	for _, tenant := range tenants {
		if err := s.recordBreakerChanges(auth.With(ctx, auth.System(tenant)), params[tenant]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) recordBreakerChanges(ctx context.Context, params []db.RecordBreakerChangeParams) error {
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		var failed error
		s.q.WithTx(tx).RecordBreakerChange(ctx, params).Exec(func(_ int, err error) {
			if failed == nil { // what follows the first failure fails for that reason
				failed = err
			}
		})
		return failed
	})
	if err != nil {
		return fmt.Errorf("record changes of circuit breakers: %w", err)
	}
	return nil
}

// BreakersOn implements breakers.Book. It is for all tenants.
func (s *Store) BreakersOn(ctx context.Context, role, host string) ([]breakers.Standing, error) {
	rows, err := s.q.BreakersOn(ctx, role, asStorable(host))
	if err != nil {
		return nil, fmt.Errorf("list circuit breakers of a host: %w", err)
	}
	return standings(rows), nil
}

// BreakerStates returns the present states of all breakers that have changed within the last 30 days, in
// each process that has not ended: those of agents and those of the tenant's endpoints, by kind and name.
func (s *Store) BreakerStates(ctx context.Context, tenantID string) ([]breakers.Standing, error) {
	rows, err := s.q.BreakerStates(ctx, &tenantID)
	if err != nil {
		return nil, fmt.Errorf("list circuit breakers: %w", err)
	}
	return standings(rows), nil
}

func standings(rows []db.BreakerState) []breakers.Standing {
	list := make([]breakers.Standing, len(rows))
	for i, r := range rows {
		list[i] = breakers.Standing{
			TenantID: zeroIfNil(r.TenantID), Process: breakers.Process{Role: r.Role, Host: r.Host, PID: int(r.Pid)},
			Kind: breakers.Kind(r.Kind), Name: r.Name, State: breakers.State(r.State), Since: r.Since.UTC(),
		}
	}
	return list
}

// BreakerChanges returns up to limit changes that precede before (newest first); uuid.Max starts.
func (s *Store) BreakerChanges(ctx context.Context, tenantID string, f breakers.Filter, before uuid.UUID, limit int) ([]breakers.Change, error) {
	var rows []db.BreakerChange
	var err error
	if f.Name != "" {
		rows, err = s.q.BreakerChangesOfName(ctx, db.BreakerChangesOfNameParams{
			TenantID: &tenantID, Kind: string(f.Kind), Name: asStorable(f.Name), ToState: nilIfZero(string(f.To)),
			Before: before, RowLimit: int32(limit), //nolint:gosec // bounded by the console
		})
	} else {
		p := db.BreakerChangesParams{
			TenantID: &tenantID, Kinds: []string{string(breakers.Agent), string(breakers.Endpoint)},
			ToStates: []string{string(breakers.Closed), string(breakers.Open), string(breakers.HalfOpen), string(breakers.Gone)},
			Before:   before, RowLimit: int32(limit), //nolint:gosec // bounded by the console
		}
		if f.Kind != "" {
			p.Kinds = []string{string(f.Kind)}
		}
		if f.To != "" {
			p.ToStates = []string{string(f.To)}
		}
		var found []db.BreakerChangesRow
		found, err = s.q.BreakerChanges(ctx, p)
		for _, r := range found {
			rows = append(rows, r.BreakerChange)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list changes of circuit breakers: %w", err)
	}
	list := make([]breakers.Change, len(rows))
	for i, r := range rows {
		list[i] = breakers.Change{
			ID: r.ID, TenantID: zeroIfNil(r.TenantID), Process: breakers.Process{Role: r.Role, Host: r.Host, PID: int(r.Pid)},
			Kind: breakers.Kind(r.Kind), Name: r.Name, From: breakers.State(r.FromState), To: breakers.State(r.ToState),
			At: r.At.UTC(), Reason: r.Reason,
		}
	}
	return list, nil
}

// PruneBreakerChanges deletes up to limit changes that were made before a time, and returns how many.
func (s *Store) PruneBreakerChanges(ctx context.Context, changedBefore time.Time, limit int) (int, error) {
	n, err := s.q.PruneBreakerChanges(ctx, idAt(changedBefore), int32(limit), changedBefore) //nolint:gosec // a small constant
	return int(n), err
}
