package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/jobs"
	"github.com/dawsos/dawsos/internal/store/db"
)

// FoldAccounts implements jobs.Ledger.
func (s *Deliveries) FoldAccounts(ctx context.Context) error {
	_, err := s.q.FoldAccounts(ctx)
	return err
}

// Balances implements delivery.Ledger.
func (s *Deliveries) Balances(ctx context.Context) ([]delivery.Balance, error) {
	rows, err := s.q.Accounts(ctx)
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	list := make([]delivery.Balance, len(rows))
	for i, r := range rows {
		list[i] = delivery.Balance{TenantID: r.TenantID, Channel: r.Channel, Account: r.Account, Balance: r.Balance}
	}
	return list, nil
}

// OldestOpen implements delivery.Ledger.
func (s *Deliveries) OldestOpen(ctx context.Context) (map[string]time.Time, error) {
	rows, err := s.q.OldestOpen(ctx)
	if err != nil {
		return nil, fmt.Errorf("read oldest dead letters: %w", err)
	}
	oldest := make(map[string]time.Time)
	for _, r := range rows {
		if t, ok := oldest[r.Channel]; !ok || r.CreatedAt.Before(t) {
			oldest[r.Channel] = r.CreatedAt.UTC()
		}
	}
	return oldest, nil
}

// QueueLag implements delivery.Ledger.
func (s *Deliveries) QueueLag(ctx context.Context) (map[string]time.Time, error) {
	queues := jobs.Queues()
	rows, err := s.q.QueueLag(ctx, queues)
	if err != nil {
		return nil, fmt.Errorf("read queue lag: %w", err)
	}
	oldest := make(map[string]time.Time, len(queues))
	for _, queue := range queues {
		oldest[queue] = time.Time{}
	}
	for _, r := range rows {
		oldest[r.Queue] = r.ScheduledAt.UTC()
	}
	return oldest, nil
}

// AuditAccounts implements jobs.Ledger. Whatever differs is corrected, so that it is told once.
func (s *Deliveries) AuditAccounts(ctx context.Context) ([]string, error) {
	var found []string
	err := pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		found = nil
		q := s.q.WithTx(tx)
		miscounted, err := q.MiscountedAccounts(ctx)
		if err != nil {
			return err
		}
		moved := map[[2]string]int64{}
		for _, m := range miscounted {
			found = append(found, fmt.Sprintf("tenant %s, %s: %s stands at %d, there are %d rows", m.TenantID, m.Channel, m.Account, m.Balance, m.Present))
			moved[[2]string{m.TenantID, m.Channel}] += m.Present - m.Balance
			err := q.CorrectAccount(ctx, db.CorrectAccountParams{
				TenantID: m.TenantID, Channel: m.Channel, Account: m.Account, Change: m.Present - m.Balance,
			})
			if err != nil {
				return err
			}
		}
		unbalanced, err := q.UnbalancedAccounts(ctx) // with the corrections of above
		if err != nil {
			return err
		}
		for _, u := range unbalanced {
			if moved[[2]string{u.TenantID, u.Channel}] == 0 {
				found = append(found, fmt.Sprintf("tenant %s, %s: %d more accepted than accounted for", u.TenantID, u.Channel, u.Difference))
			}
			err := q.CorrectAccount(ctx, db.CorrectAccountParams{
				TenantID: u.TenantID, Channel: u.Channel, Account: "accepted", Change: -u.Difference,
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}

// AuditPlaces implements jobs.Ledger. What stands nowhere is put in flight, from where the
// reconciler takes it up; what stands in several places is only told.
func (s *Deliveries) AuditPlaces(ctx context.Context, since, until time.Time, limit int) (nowhere, several []string, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		nowhere, several = nil, nil
		q := s.q.WithTx(tx)
		rows, err := q.WrongPlaces(ctx, idAt(since), idAt(until), int32(limit)) //nolint:gosec // a small constant
		if err != nil {
			return err
		}
		for _, r := range rows {
			what := fmt.Sprintf("event %s on %s", r.EventID, r.Target)
			if r.Places > 1 {
				several = append(several, what)
				continue
			}
			nowhere = append(nowhere, what)
			err := q.PutInFlight(ctx, db.PutInFlightParams{
				EventID: r.EventID, Target: r.Target, Channel: r.Channel, TenantID: r.TenantID, AcceptedAt: r.AcceptedAt,
			})
			if err != nil {
				return err
			}
			// It was accepted once, however often it is put in flight.
			err = q.CorrectAccount(ctx, db.CorrectAccountParams{TenantID: r.TenantID, Channel: r.Channel, Account: "accepted", Change: -1})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return nowhere, several, err
}

// idAt returns the least id of version 7 that an event accepted at t can have.
func idAt(t time.Time) uuid.UUID {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], uint64(t.UnixMilli())<<16)
	return id
}

// DeleteStrayJobs implements jobs.Ledger.
func (s *Deliveries) DeleteStrayJobs(ctx context.Context, createdBefore time.Time, limit int) ([]string, error) {
	ids, err := s.q.JobsWithoutRow(ctx, createdBefore, int32(limit)) //nolint:gosec // a small constant
	if err != nil {
		return nil, err
	}
	var found []string
	for _, id := range ids {
		if _, err := s.jobs.JobDelete(ctx, id); err != nil { // it runs by now, and ends by itself
			continue
		}
		found = append(found, fmt.Sprintf("job %d", id))
	}
	return found, nil
}

// PruneEvents implements jobs.EventPruner.
func (s *Deliveries) PruneEvents(ctx context.Context, acceptedBefore time.Time, limit int) (int, error) {
	var n int64
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		ids, err := q.OldEvents(ctx, idAt(acceptedBefore), int32(limit)) //nolint:gosec // a small constant
		if err != nil || len(ids) == 0 {
			return err
		}
		if err := q.LockLettersOf(ctx, ids); err != nil {
			return err
		}
		n, err = q.PruneEvents(ctx, ids)
		return err
	})
	if err != nil {
		return 0, err
	}
	return int(n), nil
}

// PruneKeys implements jobs.EventPruner.
func (s *Deliveries) PruneKeys(ctx context.Context, expiredBefore time.Time, limit int) (int, error) {
	dedup, err := s.q.PruneDedup(ctx, expiredBefore, int32(limit)) //nolint:gosec // a small constant
	if err != nil {
		return 0, err
	}
	idempotency, err := s.q.PruneIdempotencyKeys(ctx, expiredBefore, int32(limit)) //nolint:gosec // a small constant
	return int(dedup + idempotency), err
}

// PruneOperations deletes up to limit operations that ended before a time and of whose letters none is
// open, and returns how many.
func (s *Deliveries) PruneOperations(ctx context.Context, endedBefore time.Time, limit int) (int, error) {
	n, err := s.q.PruneOperations(ctx, idAt(endedBefore), endedBefore, int32(limit)) //nolint:gosec // a small constant
	return int(n), err
}
