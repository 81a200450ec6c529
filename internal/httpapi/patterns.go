package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/pkg/api"
	"github.com/dawsos/dawsos/pkg/pattern"
)

func (h *handlers) ListPatterns(_ context.Context, r api.ListPatternsRequestObject) (api.ListPatternsResponseObject, error) {
	var after string
	if err := decodeCursor(r.Params.Cursor, &after); err != nil {
		return nil, err
	}
	limit := limitOf(r.Params.Limit)
	page := api.ListPatterns200JSONResponse{Items: []pattern.Definition{}}
	for _, d := range h.Catalog.Definitions() {
		if d.ID <= after {
			continue
		}
		if len(page.Items) == limit {
			page.NextCursor = encodeCursor(page.Items[limit-1].ID)
			break
		}
		page.Items = append(page.Items, *d)
	}
	return page, nil
}

func (h *handlers) GetPattern(_ context.Context, r api.GetPatternRequestObject) (api.GetPatternResponseObject, error) {
	d, err := h.Catalog.Definition(r.Id)
	if err != nil {
		return nil, err
	}
	etag, err := etagOf(d)
	if err != nil {
		return nil, err
	}
	if matches(value(r.Params.IfNoneMatch), etag) {
		return api.GetPattern304Response{Headers: api.GetPattern304ResponseHeaders{ETag: &etag}}, nil
	}
	return api.GetPattern200JSONResponse{Body: *d, Headers: api.GetPattern200ResponseHeaders{ETag: &etag}}, nil
}

// etagOf names a definition's content.
func etagOf(d *pattern.Definition) (string, error) {
	raw, err := json.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("pattern %s: %w", d.ID, err)
	}
	sum := sha256.Sum256(raw)
	return `"` + hex.EncodeToString(sum[:16]) + `"`, nil
}

// matches reads an If-None-Match header (RFC 9110, section 13.1.2).
func matches(header, etag string) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
		if candidate == "*" || candidate == etag {
			return true
		}
	}
	return false
}

func (h *handlers) ExecutePattern(ctx context.Context, r api.ExecutePatternRequestObject) (api.ExecutePatternResponseObject, error) {
	req := patterns.Request{
		TenantID: h.TenantID, RequestID: requestIDFrom(ctx), PatternID: r.Id, RequireFresh: true,
	}
	if r.Body.Inputs != nil {
		dec := json.NewDecoder(bytes.NewReader(*r.Body.Inputs))
		dec.UseNumber() // keeps the digits
		if err := dec.Decode(&req.Inputs); err != nil {
			return nil, fault.Wrap(err, fault.Malformed, "the inputs are not valid JSON")
		}
	}
	if r.Body.RequireFresh != nil {
		req.RequireFresh = *r.Body.RequireFresh
	}
	if r.Body.Asof != nil {
		asof, err := time.Parse(time.DateOnly, *r.Body.Asof)
		if err != nil {
			return nil, fault.InvalidField("/asof", "must be a day, YYYY-MM-DD")
		}
		req.Asof = &asof
	}
	answer, err := h.Patterns.Execute(ctx, req)
	if err != nil {
		return nil, err
	}
	return api.ExecutePattern200JSONResponse{
		PatternId: answer.PatternID, Data: answer.Data, Charts: answer.Charts, Warnings: answer.Warnings,
		Trace: toTrace(answer.Trace), DataHash: answer.DataHash,
	}, nil
}

// partialTrace is what a failed run had done, nil for every other error.
func partialTrace(err error) *api.Trace {
	t, ok := patterns.TraceOf(err)
	if !ok {
		return nil
	}
	return new(toTrace(t))
}

func toTrace(t patterns.Trace) api.Trace {
	trace := api.Trace{
		RequestId: t.RequestID, TraceId: t.TraceID, PatternId: t.PatternID, PricingPackId: t.PricingPackID,
		LedgerVersion: orNull(t.LedgerVersion), Asof: t.Asof, DurationSeconds: t.DurationSeconds,
		AgentsUsed: t.AgentsUsed, CapabilitiesUsed: t.CapabilitiesUsed, Sources: t.Sources,
		Steps: make([]api.TraceStep, len(t.Steps)), Staleness: make([]api.Staleness, len(t.Staleness)),
	}
	for i, s := range t.Steps {
		trace.Steps[i] = api.TraceStep{
			Index: s.Index, Capability: s.Capability, Agent: s.Agent, As: s.As, Status: api.TraceStepStatus(s.Status),
			StartedAt: s.StartedAt, DurationSeconds: s.DurationSeconds, Error: orNull(s.Error),
		}
	}
	for i, s := range t.Staleness {
		trace.Staleness[i] = api.Staleness{
			As: s.As, Capability: s.Capability, Asof: s.Asof, OldestSource: s.OldestSource,
			OldestAsof: s.OldestAsof, AgeDays: s.AgeDays,
		}
	}
	return trace
}
