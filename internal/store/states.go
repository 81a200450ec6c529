package store

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/store/db"
)

// Summaries returns up to limit events that precede before (newest first), with where each stands;
// uuid.Max starts.
func (s *Deliveries) Summaries(ctx context.Context, tenantID string, f delivery.EventFilter, before uuid.UUID, limit int) ([]delivery.Summary, error) {
	return s.summaries(ctx, tenantID, func(q *db.Queries) ([]db.EventSummariesRow, error) {
		rows, err := listEvents(ctx, q, tenantID, f, before, int32(limit)) //nolint:gosec // bounded by the API
		if err != nil {
			return nil, fmt.Errorf("list events: %w", err)
		}
		return rows, nil
	})
}

// listEvents asks by the index that finds the fewest events: an alert has fewer than a user.
func listEvents(
	ctx context.Context, q *db.Queries, tenantID string, f delivery.EventFilter, before uuid.UUID, limit int32,
) ([]db.EventSummariesRow, error) {
	p := db.EventSummariesParams{
		TenantID: tenantID, Before: before, Source: nilIfZero(string(f.Source)), RowLimit: limit,
		AcceptedAfter: nilIfZero(f.AcceptedAfter), AcceptedBefore: nilIfZero(f.AcceptedBefore),
	}
	if !f.AcceptedAfter.IsZero() {
		p.Since = idAt(f.AcceptedAfter.Add(-idSlack))
	}
	if end := idAt(f.AcceptedBefore.Add(idSlack)); !f.AcceptedBefore.IsZero() && bytes.Compare(end[:], before[:]) < 0 {
		p.Before = end
	}
	switch {
	case f.AlertID != "":
		rows, err := q.EventSummariesOfAlert(ctx, db.EventSummariesOfAlertParams{
			TenantID: p.TenantID, AlertID: f.AlertID, UserID: nilIfZero(f.UserID), Source: p.Source, Before: p.Before, Since: p.Since,
			AcceptedAfter: p.AcceptedAfter, AcceptedBefore: p.AcceptedBefore, RowLimit: p.RowLimit,
		})
		return answers(rows, func(r db.EventSummariesOfAlertRow) db.EventSummariesRow { return db.EventSummariesRow(r) }), err
	case f.UserID != "":
		rows, err := q.EventSummariesOfUser(ctx, db.EventSummariesOfUserParams{
			TenantID: p.TenantID, UserID: f.UserID, Source: p.Source, Before: p.Before, Since: p.Since,
			AcceptedAfter: p.AcceptedAfter, AcceptedBefore: p.AcceptedBefore, RowLimit: p.RowLimit,
		})
		return answers(rows, func(r db.EventSummariesOfUserRow) db.EventSummariesRow { return db.EventSummariesRow(r) }), err
	case f.Source != "" && f.Source != delivery.Direct:
		rows, err := q.EventSummariesOfSource(ctx, db.EventSummariesOfSourceParams{
			TenantID: p.TenantID, Source: string(f.Source), Before: p.Before, Since: p.Since,
			AcceptedAfter: p.AcceptedAfter, AcceptedBefore: p.AcceptedBefore, RowLimit: p.RowLimit,
		})
		return answers(rows, func(r db.EventSummariesOfSourceRow) db.EventSummariesRow { return db.EventSummariesRow(r) }), err
	default:
		return q.EventSummaries(ctx, p)
	}
}

// idSlack is how far an event's id may be from when it was accepted: they are made one after the other.
const idSlack = time.Second

// SummariesOf returns the events with these ids, in their order, with where each stands.
func (s *Deliveries) SummariesOf(ctx context.Context, tenantID string, ids []uuid.UUID) ([]delivery.Summary, error) {
	return s.summaries(ctx, tenantID, func(q *db.Queries) ([]db.EventSummariesRow, error) {
		rows, err := q.EventSummariesByID(ctx, tenantID, ids)
		if err != nil {
			return nil, fmt.Errorf("events by id: %w", err)
		}
		byID := make(map[uuid.UUID]db.EventSummariesByIDRow, len(rows))
		for _, r := range rows {
			byID[r.ID] = r
		}
		ordered := make([]db.EventSummariesRow, len(ids))
		for i, id := range ids {
			r, ok := byID[id]
			if !ok {
				return nil, fault.New(fault.NotFound, "no event %s", id)
			}
			ordered[i] = db.EventSummariesRow(r)
		}
		return ordered, nil
	})
}

// summaries adds to the events that list finds where they stand: two statements, whatever their
// number, over one snapshot.
func (s *Deliveries) summaries(
	ctx context.Context, tenantID string, list func(*db.Queries) ([]db.EventSummariesRow, error),
) ([]delivery.Summary, error) {
	var found []delivery.Summary
	err := pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		rows, err := list(q)
		if err != nil || len(rows) == 0 {
			return err
		}
		found = make([]delivery.Summary, len(rows))
		ids := make([]uuid.UUID, len(rows))
		standing := make(map[unit]*delivery.TargetHistory, len(rows))
		for i, r := range rows {
			if found[i], err = summary(r); err != nil {
				return err
			}
			ids[i] = r.ID
			for j := range found[i].Targets {
				t := &found[i].Targets[j]
				standing[unit{r.ID, t.Target.Key()}] = t
			}
		}
		states, err := q.EventStates(ctx, tenantID, ids)
		if err != nil {
			return fmt.Errorf("states of events: %w", err)
		}
		for _, state := range states {
			if t := standing[unit{state.EventID, state.Target}]; t != nil {
				stand(t, state)
			}
		}
		return nil
	})
	return found, err
}

// summary returns an event whose targets are all in flight until it is known better.
func summary(r db.EventSummariesRow) (delivery.Summary, error) {
	targets, err := targetList(r.Channels)
	if err != nil {
		return delivery.Summary{}, fmt.Errorf("event %s: channels: %w", r.ID, err)
	}
	s := delivery.Summary{
		Event: delivery.Event{
			ID: r.ID, TenantID: r.TenantID, Source: delivery.Source(r.Source), AlertID: r.AlertID, UserID: r.UserID,
			Title: r.Title, Severity: delivery.Severity(r.Severity), Targets: targets,
			AcceptedAt: r.AcceptedAt.UTC(), ExpiresAt: zeroIfNil(utc(r.ExpiresAt)),
		},
		Targets: make([]delivery.TargetHistory, len(targets)),
	}
	for i, t := range targets {
		s.Targets[i] = delivery.TargetHistory{Target: t, State: delivery.InFlight}
	}
	return s, nil
}

func stand(t *delivery.TargetHistory, r db.EventStatesRow) {
	t.State = delivery.State(r.State)
	t.DeliveredAt, t.DuplicateOf = utc(r.DeliveredAt), zeroIfNil(r.OfEventID)
	if r.DeadLetterID != nil {
		t.Letter = &delivery.DeadLetter{
			ID: *r.DeadLetterID, State: t.State, Cause: delivery.Cause(zeroIfNil(r.Cause)), NextRetryAt: utc(r.NextRetryAt),
		}
	}
}
