package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

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

// etagOf names what an answer holds.
func etagOf(answer any) (string, error) {
	raw, err := json.Marshal(answer)
	if err != nil {
		return "", fmt.Errorf("entity tag: %w", err)
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
		AgentsUsed: notNull(t.AgentsUsed), CapabilitiesUsed: notNull(t.CapabilitiesUsed), Sources: notNull(t.Sources),
		Steps: toSteps(t.Steps), Staleness: make([]api.Staleness, len(t.Staleness)),
	}
	for i, s := range t.Staleness {
		trace.Staleness[i] = api.Staleness{
			As: s.As, Capability: s.Capability, Asof: s.Asof, OldestSource: s.OldestSource,
			OldestAsof: s.OldestAsof, AgeDays: s.AgeDays,
		}
	}
	return trace
}

func toSteps(list []patterns.StepTrace) []api.TraceStep {
	steps := make([]api.TraceStep, len(list))
	for i, s := range list {
		steps[i] = api.TraceStep{
			Index: s.Index, Capability: s.Capability, Agent: s.Agent, As: s.As, Status: api.TraceStepStatus(s.Status),
			StartedAt: s.StartedAt, DurationSeconds: s.DurationSeconds, Reason: orNull(s.Reason), Error: orNull(s.Error),
			Items: orNull(s.Items),
		}
		if s.Steps != nil {
			steps[i].Steps = new(toSteps(s.Steps))
		}
	}
	return steps
}
