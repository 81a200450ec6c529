package httpapi

import (
	"cmp"
	"context"
	"encoding/json"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/pkg/agent"
	"github.com/dawsos/dawsos/pkg/api"
)

func (h *handlers) ListAgents(ctx context.Context, r api.ListAgentsRequestObject) (api.ListAgentsResponseObject, error) {
	var after string
	if err := decodeCursor(r.Params.Cursor, &after); err != nil {
		return nil, err
	}
	limit := limitOf(r.Params.Limit)
	page := api.ListAgents200JSONResponse{Items: []api.Agent{}}
	caller, _ := auth.From(ctx)
	for _, s := range h.Agents.States() {
		if s.Name <= after {
			continue
		}
		if len(page.Items) == limit {
			page.NextCursor = encodeCursor(page.Items[limit-1].Name)
			break
		}
		if !caller.Operates() {
			s = s.For(caller.TenantID)
		}
		page.Items = append(page.Items, toAgent(s))
	}
	return page, nil
}

func toAgent(s agents.State) api.Agent {
	thresholds := s.Breaker.Thresholds
	a := api.Agent{
		Name: s.Name, Remote: s.Remote, Url: shown(s.URL), Available: s.Available, UnavailableReason: orNull(s.Unavailable),
		Breaker: api.Breaker{
			State: api.BreakerState(s.Breaker.State), Since: s.Breaker.Since.UTC(),
			RetryAfterSeconds: orNull(s.Breaker.RetryAfter.Seconds()), Failures: orNull(thresholds.Failures),
			FailureRate: orNull(thresholds.FailureRate), MinCalls: orNull(thresholds.MinCalls),
			WindowSeconds: orNull(thresholds.Window.Seconds()), DelaySeconds: thresholds.Delay.Seconds(),
			Successes: thresholds.Successes,
		},
		Policies: api.AgentPolicies{TimeoutSeconds: s.Policies.Timeout.Seconds()},
		Calls: api.AgentCalls{
			Succeeded: s.Calls.Succeeded, Failed: s.Calls.Failed, Refused: s.Calls.Refused,
			Retried: s.Calls.Retried, InFlight: s.Calls.InFlight,
		},
		Capabilities: make([]api.Capability, len(s.Capabilities)),
	}
	if p := s.Policies.Retry; p.Attempts > 1 {
		a.Policies.Retry = &api.RetryPolicy{
			Attempts: p.Attempts, DelaySeconds: p.Delay.Seconds(), MaxDelaySeconds: p.MaxDelay.Seconds(),
		}
	}
	if p := s.Policies.RateLimit; p != nil {
		a.Policies.RateLimit = &api.RateLimit{Calls: p.Calls, PerSeconds: p.Per.Seconds(), WaitSeconds: p.Wait.Seconds()}
	}
	if p := s.Policies.Bulkhead; p != nil {
		a.Policies.Bulkhead = &api.Bulkhead{Calls: p.Calls, WaitSeconds: p.Wait.Seconds()}
	}
	if e := s.LastError; e != nil {
		a.LastError = &api.AgentError{At: e.At.UTC(), Capability: e.Capability, Code: string(e.Code), Detail: e.Detail}
	}
	for i, c := range s.Capabilities {
		a.Capabilities[i] = api.Capability{
			Name: c.Name, Description: c.Description, Args: schemaOrNull(c.Args), Result: schemaOrNull(c.Result),
			Purity: api.CapabilityPurity(cmp.Or(c.Purity, agent.Reading)), Repeatable: c.Repeatable(),
			TimeoutSeconds: cmp.Or(c.Timeout, s.Policies.Timeout).Seconds(),
			Cost:           api.CapabilityCost(cmp.Or(c.Cost, agent.Low)), Delegates: c.Delegates,
		}
	}
	return a
}

func schemaOrNull(schema json.RawMessage) *json.RawMessage {
	if len(schema) == 0 {
		return nil
	}
	return &schema
}
