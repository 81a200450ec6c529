package httpapi

import (
	"context"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/periodic"
	"github.com/dawsos/dawsos/pkg/api"
)

// Jobs knows what the worker does by the clock.
type Jobs interface {
	PeriodicJobs(ctx context.Context) ([]periodic.Job, error)
	RunPeriodicJob(ctx context.Context, tenantID, name string, by delivery.By) error
	JobRuns(ctx context.Context, name string, before uuid.UUID, limit int) ([]periodic.Run, error)
}

func (h *handlers) ListJobs(ctx context.Context, _ api.ListJobsRequestObject) (api.ListJobsResponseObject, error) {
	list, err := h.Jobs.PeriodicJobs(ctx)
	if err != nil {
		return nil, err
	}
	answer := api.ListJobs200JSONResponse{Items: make([]api.PeriodicJob, len(list))}
	for i, j := range list {
		item := api.PeriodicJob{
			Name: j.Name, Description: j.Description, Schedule: j.Schedule.String(), After: orNull(j.After), OffReason: orNull(j.Off),
			State: api.PeriodicJobState(j.State), LastStartedAt: j.LastStartedAt, LastEndedAt: j.LastEndedAt,
			LastSuccessAt: j.LastSuccessAt, NextAt: j.NextAt, Runs: toJobRuns(j.Runs),
		}
		if every := j.Schedule.Interval().Seconds(); every > 0 {
			item.IntervalSeconds = &every
		}
		answer.Items[i] = item
	}
	return answer, nil
}

func (h *handlers) RunJob(ctx context.Context, r api.RunJobRequestObject) (api.RunJobResponseObject, error) {
	if err := h.Jobs.RunPeriodicJob(ctx, auth.Tenant(ctx), r.Name, by(ctx, r.Params.XClient, r.Body)); err != nil {
		return nil, err
	}
	return api.RunJob202JSONResponse{Name: r.Name}, nil
}

func (h *handlers) ListJobRuns(ctx context.Context, r api.ListJobRunsRequestObject) (api.ListJobRunsResponseObject, error) {
	before, limit := uuid.Max, limitOf(r.Params.Limit)
	if err := decodeCursor(r.Params.Cursor, &before); err != nil {
		return nil, err
	}
	list, err := h.Jobs.JobRuns(ctx, r.Name, before, limit+1)
	if err != nil {
		return nil, err
	}
	var page api.ListJobRuns200JSONResponse
	if len(list) > limit {
		list = list[:limit]
		page.NextCursor = encodeCursor(list[limit-1].ID)
	}
	page.Items = toJobRuns(list)
	return page, nil
}

func toJobRuns(list []periodic.Run) []api.JobRun {
	out := make([]api.JobRun, len(list))
	for i, r := range list {
		out[i] = api.JobRun{
			Id: r.ID, Job: r.Job, TenantId: orNull(r.TenantID), Trigger: api.JobRunTrigger(r.Trigger), Attempt: r.Attempt,
			Status: api.JobRunStatus(r.State), StartedAt: r.StartedAt, EndedAt: r.EndedAt, Error: orNull(r.Error), Detail: r.Detail,
		}
		if r.Chain != uuid.Nil {
			out[i].Chain = &r.Chain
		}
	}
	return out
}
