package httpapi

import (
	"context"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/periodic"
	"github.com/dawsos/dawsos/pkg/api"
)

// AuditLog knows who did what.
type AuditLog interface {
	AuditLog(ctx context.Context, tenantID string, f audit.Filter, before uuid.UUID, limit int) ([]audit.Entry, error)
}

// Jobs knows what the worker does by the clock.
type Jobs interface {
	PeriodicJobs(ctx context.Context) ([]periodic.Job, error)
	RunPeriodicJob(ctx context.Context, tenantID, name string, by delivery.By) error
}

func (h *handlers) ListAudit(ctx context.Context, r api.ListAuditRequestObject) (api.ListAuditResponseObject, error) {
	before, limit := uuid.Max, limitOf(r.Params.Limit)
	if err := decodeCursor(r.Params.Cursor, &before); err != nil {
		return nil, err
	}
	filter := audit.Filter{
		Subject: value(r.Params.Subject), SubjectID: value(r.Params.SubjectId), Action: value(r.Params.Action), Actor: value(r.Params.Actor),
	}
	entries, err := h.AuditLog.AuditLog(ctx, h.TenantID, filter, before, limit+1)
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

func (h *handlers) ListJobs(ctx context.Context, _ api.ListJobsRequestObject) (api.ListJobsResponseObject, error) {
	list, err := h.Jobs.PeriodicJobs(ctx)
	if err != nil {
		return nil, err
	}
	answer := api.ListJobs200JSONResponse{Items: make([]api.PeriodicJob, len(list))}
	for i, j := range list {
		answer.Items[i] = api.PeriodicJob{
			Name: j.Name, Description: j.Description, IntervalSeconds: j.Interval.Seconds(), State: api.PeriodicJobState(j.State),
			LastStartedAt: j.LastStartedAt, LastEndedAt: j.LastEndedAt, NextAt: j.NextAt,
		}
	}
	return answer, nil
}

func (h *handlers) RunJob(ctx context.Context, r api.RunJobRequestObject) (api.RunJobResponseObject, error) {
	if err := h.Jobs.RunPeriodicJob(ctx, h.TenantID, r.Name, by(r.Params.XClient, r.Body)); err != nil {
		return nil, err
	}
	return api.RunJob202JSONResponse{Name: r.Name}, nil
}
