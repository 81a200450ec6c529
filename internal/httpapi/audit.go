package httpapi

import (
	"context"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/pkg/api"
)

// AuditLog knows who did what.
type AuditLog interface {
	AuditLog(ctx context.Context, tenantID string, f audit.Filter, before uuid.UUID, limit int) ([]audit.Entry, error)
}

func (h *handlers) ListAudit(ctx context.Context, r api.ListAuditRequestObject) (api.ListAuditResponseObject, error) {
	before, limit := uuid.Max, limitOf(r.Params.Limit)
	if err := decodeCursor(r.Params.Cursor, &before); err != nil {
		return nil, err
	}
	filter := audit.Filter{
		Subject: value(r.Params.Subject), SubjectID: value(r.Params.SubjectId), Action: value(r.Params.Action), Actor: value(r.Params.Actor),
	}
	entries, err := h.AuditLog.AuditLog(ctx, auth.Tenant(ctx), filter, before, limit+1)
	if err != nil {
		return nil, err
	}
	var page api.ListAudit200JSONResponse
	if len(entries) > limit {
		entries = entries[:limit]
		page.NextCursor = encodeCursor(entries[limit-1].ID)
	}
	page.Items = make([]api.AuditEntry, len(entries))
	for i, e := range entries {
		page.Items[i] = api.AuditEntry{
			Id: e.ID, At: e.At, Actor: e.Actor, Action: e.Action, Subject: e.Subject, SubjectId: e.SubjectID,
			Reason: orNull(e.Reason), Detail: e.Detail,
		}
	}
	return page, nil
}
