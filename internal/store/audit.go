package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/store/db"
)

// addAudit writes e in the transaction of what it tells of, giving it an id.
func addAudit(ctx context.Context, tx pgx.Tx, e audit.Entry) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	detail := e.Detail
	if detail == nil {
		detail = json.RawMessage("{}")
	}
	err = db.New(tx).AddAudit(ctx, db.AddAuditParams{
		ID: id, TenantID: e.TenantID, At: e.At, Actor: cmp.Or(e.Actor, audit.System), Action: e.Action,
		Subject: e.Subject, SubjectID: e.SubjectID, Reason: nilIfZero(asStorable(e.Reason)), Detail: detail,
	})
	if err != nil {
		return fmt.Errorf("audit %s of %s %s: %w", e.Action, e.Subject, e.SubjectID, err)
	}
	return nil
}

// AuditLog returns up to limit entries that precede before (newest first); uuid.Max starts.
func (s *Store) AuditLog(ctx context.Context, tenantID string, f audit.Filter, before uuid.UUID, limit int) ([]audit.Entry, error) {
	rows, err := s.listAudit(ctx, tenantID, f, before, int32(limit)) //nolint:gosec // bounded by the API
	if err != nil {
		return nil, fmt.Errorf("list audit log: %w", err)
	}
	entries := make([]audit.Entry, len(rows))
	for i, r := range rows {
		entries[i] = audit.Entry{
			ID: r.ID, TenantID: r.TenantID, At: r.At.UTC(), Actor: r.Actor, Action: r.Action, Subject: r.Subject,
			SubjectID: r.SubjectID, Reason: zeroIfNil(r.Reason), Detail: r.Detail,
		}
	}
	return entries, nil
}

// listAudit asks by the index that finds the fewest entries.
func (s *Store) listAudit(ctx context.Context, tenantID string, f audit.Filter, before uuid.UUID, limit int32) ([]db.AuditLog, error) {
	switch {
	case f.SubjectID != "":
		return s.q.AuditLogOfSubjectID(ctx, db.AuditLogOfSubjectIDParams{
			TenantID: tenantID, SubjectID: f.SubjectID, Before: before, RowLimit: limit,
			Subject: nilIfZero(f.Subject), Action: nilIfZero(f.Action), Actor: nilIfZero(f.Actor),
		})
	case f.Actor != "":
		return s.q.AuditLogOfActor(ctx, db.AuditLogOfActorParams{
			TenantID: tenantID, Actor: f.Actor, Before: before, RowLimit: limit, Subject: nilIfZero(f.Subject), Action: nilIfZero(f.Action),
		})
	case f.Action != "":
		return s.q.AuditLogOfAction(ctx, db.AuditLogOfActionParams{
			TenantID: tenantID, Action: f.Action, Before: before, RowLimit: limit, Subject: nilIfZero(f.Subject),
		})
	case f.Subject != "":
		return s.q.AuditLogOfSubject(ctx, db.AuditLogOfSubjectParams{TenantID: tenantID, Subject: f.Subject, Before: before, RowLimit: limit})
	default:
		return s.q.AuditLog(ctx, tenantID, before, limit)
	}
}

// PruneAuditLog deletes up to limit entries that were written before a time, and returns how many.
func (s *Store) PruneAuditLog(ctx context.Context, writtenBefore time.Time, limit int) (int, error) {
	n, err := s.q.PruneAuditLog(ctx, idAt(writtenBefore), int32(limit)) //nolint:gosec // a small constant
	return int(n), err
}
