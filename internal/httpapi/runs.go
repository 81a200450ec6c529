package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/runs"
	"github.com/dawsos/dawsos/pkg/api"
)

func (h *handlers) ListRuns(ctx context.Context, r api.ListRunsRequestObject) (api.ListRunsResponseObject, error) {
	var behind runs.Cursor
	if err := decodeCursor(r.Params.Cursor, &behind); err != nil {
		return nil, err
	}
	filter := runs.Filter{PatternID: value(r.Params.PatternId), Outcome: runs.Outcome(value(r.Params.Outcome))}
	found, next, err := h.Runs.Runs(ctx, auth.Tenant(ctx), filter, behind, limitOf(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	page := api.ListRuns200JSONResponse{Items: make([]api.Run, len(found))}
	if next != nil {
		page.NextCursor = encodeCursor(next)
	}
	for i, run := range found {
		page.Items[i] = toRun(run)
	}
	return page, nil
}

func (h *handlers) GetRun(ctx context.Context, r api.GetRunRequestObject) (api.GetRunResponseObject, error) {
	run, err := h.Runs.Run(ctx, auth.Tenant(ctx), r.Id.String())
	if err != nil {
		return nil, err
	}
	detail, err := toRunDetail(run)
	if err != nil {
		return nil, err
	}
	etag, err := etagOf(detail)
	if err != nil {
		return nil, err
	}
	if matches(value(r.Params.IfNoneMatch), etag) {
		return api.GetRun304Response{Headers: api.GetRun304ResponseHeaders{ETag: &etag}}, nil
	}
	return api.GetRun200JSONResponse{Body: detail, Headers: api.GetRun200ResponseHeaders{ETag: &etag}}, nil
}

func (h *handlers) ReplayRun(ctx context.Context, r api.ReplayRunRequestObject) (api.ReplayRunResponseObject, error) {
	replay, err := h.Replayer.Replay(ctx, auth.Tenant(ctx), requestIDFrom(ctx), r.Id.String())
	if err != nil {
		return nil, err
	}
	answer := api.ReplayRun200JSONResponse{
		RunId: replay.Recorded.ID, RecordedDataHash: orNull(replay.Recorded.DataHash),
		Identical: replay.Identical, DefinitionChanged: replay.DefinitionChanged,
	}
	if replay.Err != nil {
		code := fault.CodeOf(replay.Err)
		if code == fault.Internal || code == fault.PatternError {
			h.Log.ErrorContext(ctx, "replay failed", "request_id", requestIDFrom(ctx), "run_id", replay.Recorded.ID, "err", replay.Err)
		}
		answer.Problem = &api.Failure{Code: string(code), Detail: fault.Detail(replay.Err)}
	} else {
		answer.Replayed, answer.DataHash = new(toAnswer(replay.Answer)), &replay.Answer.DataHash
	}
	return answer, nil
}

func toAnswer(a *patterns.Answer) api.ExecuteAnswer {
	return api.ExecuteAnswer{
		RunId: a.RunID, PatternId: a.PatternID, Data: a.Data, Charts: notNull(a.Charts), Warnings: notNull(a.Warnings),
		Trace: toTrace(a.Trace), DataHash: a.DataHash,
	}
}

func toRun(r patterns.Run) api.Run {
	run := api.Run{
		Id: r.ID, PatternId: r.PatternID, DefinitionHash: r.DefinitionHash, RequestId: r.RequestID,
		TraceId: cmp.Or(r.Context.TraceID, r.Trace.TraceID), UserId: orNull(r.UserID), Outcome: api.RunOutcomeSuccess,
		Asof: r.Context.Asof.Format(time.DateOnly), PricingPackId: r.Context.PricingPack.ID,
		StartedAt: r.StartedAt.UTC(), DurationSeconds: r.Duration.Seconds(), DataHash: orNull(r.DataHash),
	}
	if p := r.Context.Portfolio; p != nil {
		run.PortfolioId, run.LedgerVersion = &p.ID, &p.LedgerVersion
	}
	if r.ErrorCode != "" {
		run.Outcome, run.Error = api.RunOutcomeError, &api.Failure{Code: string(r.ErrorCode), Detail: r.ErrorDetail}
	}
	return run
}

func toRunDetail(r patterns.Run) (api.RunDetail, error) {
	inputs := json.RawMessage("{}")
	if len(r.Inputs) > 0 {
		var err error
		if inputs, err = json.Marshal(r.Inputs); err != nil {
			return api.RunDetail{}, fmt.Errorf("inputs of run %s: %w", r.ID, err)
		}
	}
	run, pack := toRun(r), r.Context.PricingPack
	detail := api.RunDetail{
		Id: run.Id, PatternId: run.PatternId, DefinitionHash: run.DefinitionHash, RequestId: run.RequestId,
		TraceId: run.TraceId, UserId: run.UserId, Outcome: run.Outcome, Error: run.Error, Asof: run.Asof,
		PricingPackId: run.PricingPackId, PortfolioId: run.PortfolioId, LedgerVersion: run.LedgerVersion,
		StartedAt: run.StartedAt, DurationSeconds: run.DurationSeconds, DataHash: run.DataHash,
		Inputs: inputs, Trace: toTrace(r.Trace), Warnings: notNull(r.Warnings),
		Context: api.RunContext{
			Asof: run.Asof, RequireFresh: r.RequireFresh,
			PricingPack: api.RunPack{
				Id: pack.ID, Date: pack.Date.Format(time.DateOnly), Revision: pack.Revision, Hash: pack.Hash,
			},
		},
	}
	if p := r.Context.Portfolio; p != nil {
		detail.Context.Portfolio = &api.RunPortfolio{Id: p.ID, BaseCurrency: p.BaseCurrency, LedgerVersion: p.LedgerVersion}
	}
	return detail, nil
}

// notNull returns a list that JSON does not show as null.
func notNull[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
