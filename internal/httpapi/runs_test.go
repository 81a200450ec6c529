package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
	"github.com/dawsos/dawsos/pkg/api"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// keepRuns records runs that were made some time ago, by patterns that are gone.
func keepRuns(t *testing.T, s *site) {
	t.Helper()
	recorded := make([]patterns.Run, 5)
	for n := range recorded {
		run := patterns.Run{
			ID: runID(n), TenantID: store.DefaultTenant, RequestID: fmt.Sprint("request-", n), PatternID: "made_up",
			DefinitionHash: strings.Repeat("d", 64), RequireFresh: true,
			StartedAt: at.Add(time.Duration(n) * time.Second), Duration: 1500 * time.Microsecond,
			Context: agent.Context{
				Asof: time.Date(2007, 5, 8, 0, 0, 0, 0, time.UTC),
				PricingPack: agent.Pack{
					ID: "7d0f3c0e-6d52-5b0e-8f0d-3c0a52a7b9a1", Date: time.Date(2007, 5, 7, 0, 0, 0, 0, time.UTC), Revision: 3, Hash: "h",
				},
			},
			Trace: patterns.Trace{
				PatternID: "made_up", Asof: "2007-05-08",
				Steps: []patterns.StepTrace{{As: "x", Capability: "a.b", Agent: "analyst", Status: patterns.StatusSuccess, StartedAt: at}},
			},
			Warnings: []string{"old data"}, DataHash: strings.Repeat("c", 64),
		}
		switch n {
		case 1:
			run.PatternID, run.UserID, run.Inputs = "made_up_too", "ada", map[string]any{"n": json.Number("1.10"), "s": "<b>"}
			run.Context.Portfolio = &agent.Portfolio{
				ID: "5a9e2e0c-7a0b-5a57-9f0a-6a2d6f0f4c1e", BaseCurrency: "CHF", LedgerVersion: "v", LedgerSeq: 7,
			}
			run.Context.TraceID = strings.Repeat("e", 32)
		case 2:
			run.DataHash, run.ErrorCode, run.ErrorDetail = "", fault.InsufficientData, "no prices of XYZ"
		}
		recorded[n] = run
	}
	require.NoError(t, s.db.InsertRuns(t.Context(), recorded))
}

func testRuns(t *testing.T, s *site) {
	t.Helper()
	list := func(target string) (ids []string, pages int) {
		for next := ""; ; {
			var page struct {
				Items []api.Run
				Next  *string `json:"next_cursor"`
			}
			s.get(t, target+next).into(&page)
			for _, r := range page.Items {
				ids = append(ids, r.Id)
			}
			pages++
			if page.Next == nil {
				return ids, pages
			}
			next = "&cursor=" + *page.Next
		}
	}
	all, pages := list("/v1/runs?pattern_id=made_up&limit=200")
	require.Equal(t, []string{runID(4), runID(3), runID(2), runID(0)}, all, "newest first")
	require.Equal(t, 1, pages)
	paged, pages := list("/v1/runs?pattern_id=made_up&limit=3")
	require.Equal(t, all, paged)
	require.Equal(t, 2, pages)
	full, pages := list("/v1/runs?pattern_id=made_up&limit=4")
	require.Equal(t, all, full)
	require.Equal(t, 1, pages, "a full page is no promise of another")

	failed, _ := list("/v1/runs?pattern_id=made_up&outcome=error")
	require.Equal(t, []string{runID(2)}, failed)
	others, _ := list("/v1/runs?pattern_id=made_up_too&outcome=success")
	require.Equal(t, []string{runID(1)}, others)
	anyFailed, _ := list("/v1/runs?outcome=error&limit=3")
	require.Contains(t, anyFailed, runID(2))
	require.NotContains(t, anyFailed, runID(1))
	require.Equal(t, []any{}, s.get(t, "/v1/runs?pattern_id=nope").object()["items"], "an empty page is a list")
	for _, item := range s.get(t, "/v1/runs").object()["items"].([]any) {
		require.NotContains(t, item, "trace")
		require.NotContains(t, item, "inputs")
	}
}

func testRun(t *testing.T, s *site) {
	t.Helper()
	a := s.get(t, "/v1/runs/"+runID(1))
	require.Equal(t, http.StatusOK, a.status)
	require.Contains(t, string(a.body), `"n":1.10`, "digits are kept")
	r := a.object()
	const portfolio = "5a9e2e0c-7a0b-5a57-9f0a-6a2d6f0f4c1e"
	for key, want := range map[string]any{
		"id": runID(1), "pattern_id": "made_up_too", "user_id": "ada", "request_id": "request-1", "trace_id": strings.Repeat("e", 32),
		"outcome": "success", "error": nil, "asof": "2007-05-08", "pricing_pack_id": "7d0f3c0e-6d52-5b0e-8f0d-3c0a52a7b9a1",
		"portfolio_id": portfolio, "ledger_version": "v", "started_at": "2026-03-02T08:30:01Z", "duration_seconds": 0.0015,
		"data_hash": strings.Repeat("c", 64), "definition_hash": strings.Repeat("d", 64),
		"inputs": map[string]any{"n": 1.1, "s": "<b>"}, "warnings": []any{"old data"},
		"context": map[string]any{
			"asof": "2007-05-08", "require_fresh": true,
			"pricing_pack": map[string]any{"id": "7d0f3c0e-6d52-5b0e-8f0d-3c0a52a7b9a1", "date": "2007-05-07", "revision": 3.0, "hash": "h"},
			"portfolio":    map[string]any{"id": portfolio, "base_currency": "CHF", "ledger_version": "v"},
		},
	} {
		require.Equal(t, want, r[key], key)
	}
	require.Len(t, r["trace"].(map[string]any)["steps"], 1)

	failed := s.get(t, "/v1/runs/"+runID(2)).object()
	require.Equal(t, "error", failed["outcome"])
	require.Equal(t, map[string]any{"code": "insufficient_data", "detail": "no prices of XYZ"}, failed["error"])
	require.Nil(t, failed["data_hash"])
	require.Nil(t, failed["portfolio_id"])
	require.Nil(t, failed["context"].(map[string]any)["portfolio"])
	require.Equal(t, map[string]any{}, failed["inputs"])

	etag := a.header.Get("ETag")
	require.Regexp(t, `^"[0-9a-f]{32}"$`, etag)
	require.NotEqual(t, etag, s.get(t, "/v1/runs/"+runID(2)).header.Get("ETag"))
	unchanged := s.get(t, "/v1/runs/"+runID(1), "If-None-Match", etag)
	require.Equal(t, http.StatusNotModified, unchanged.status)
	require.Equal(t, etag, unchanged.header.Get("ETag"))
	require.Equal(t, http.StatusOK, s.get(t, "/v1/runs/"+runID(1), "If-None-Match", `"other"`).status)
	s.get(t, "/v1/runs/"+uuid.NewString()).problem(404, fault.NotFound)
}

// A run that was waited for is there at once, and is told exactly as it was answered.
func testRecorded(t *testing.T, s *site) {
	t.Helper()
	const inputs = `{"n": 2.50, "words": ["<b>", "é"], "shape": {"a b": 7}}`
	a := s.post(t, "/v1/patterns/test_everything/execute?record=true",
		`{"inputs": `+inputs+`, "asof": "2007-05-08", "require_fresh": false}`, "X-Request-Id", "recorded-1")
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	var answered api.ExecuteAnswer
	a.into(&answered)

	run := s.get(t, "/v1/runs/"+answered.RunId)
	var told api.RunDetail
	run.into(&told)
	require.JSONEq(t, string(member(t, a.body, "trace")), string(member(t, run.body, "trace")))
	require.Equal(t, answered.Trace, told.Trace)
	require.Equal(t, answered.Warnings, told.Warnings)
	require.Len(t, told.Warnings, 3)
	require.Equal(t, answered.DataHash, *told.DataHash)
	require.JSONEq(t, `{"n": 2.50, "kind": "a", "words": ["<b>", "é"], "shape": {"a b": 7}, "id": null, "day": null, "on": null}`, string(told.Inputs))
	require.Contains(t, string(run.body), `"n":2.50`, "digits are kept")
	require.Equal(t, "recorded-1", told.RequestId)
	require.Equal(t, api.RunOutcomeSuccess, told.Outcome)
	require.Equal(t, "2007-05-08", told.Context.Asof)
	require.Equal(t, answered.Trace.PricingPackId, told.Context.PricingPack.Id)
	require.False(t, told.Context.RequireFresh)
	require.Nil(t, told.Context.Portfolio)

	// A failure is recorded too, up to where it failed.
	lacking := s.post(t, "/v1/patterns/test_lack/execute?record=true", `{"inputs": {"word": "recorded"}}`, "X-Request-Id", "recorded-2")
	problem := lacking.problem(422, fault.InsufficientData)
	failed := s.runOf(t, "test_lack", "recorded-2")
	require.Equal(t, &api.Failure{Code: problem.Code, Detail: problem.Detail}, failed.Error)
	require.Equal(t, *problem.Trace, failed.Trace)
	require.JSONEq(t, `{"n": null, "day": null, "on": null, "word": "recorded"}`, string(failed.Inputs))
	require.Nil(t, failed.DataHash)

	// So is a run that was streamed; its first event names it.
	events := s.post(t, "/v1/patterns/test_lack/execute?record=true", `{}`, "Accept", asEvents).events()
	var started api.RunStarted
	require.NoError(t, json.Unmarshal([]byte(events[0].data), &started))
	var streamed api.RunDetail
	s.get(t, "/v1/runs/"+started.RunId).into(&streamed)
	require.Equal(t, started.RequestId, streamed.RequestId)
	require.Len(t, streamed.Trace.Steps, 2)
}

// member returns the bytes of an object's member.
func member(t *testing.T, object []byte, name string) json.RawMessage {
	t.Helper()
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(object, &members))
	require.Contains(t, members, name)
	return members[name]
}

// runOf finds the run that a request made.
func (s *site) runOf(t *testing.T, patternID, requestID string) api.RunDetail {
	t.Helper()
	var page struct{ Items []api.Run }
	s.get(t, "/v1/runs?limit=200&pattern_id="+patternID).into(&page)
	i := slices.IndexFunc(page.Items, func(r api.Run) bool { return r.RequestId == requestID })
	require.GreaterOrEqual(t, i, 0, "no run of the request %s", requestID)
	var run api.RunDetail
	s.get(t, "/v1/runs/"+page.Items[i].Id).into(&run)
	return run
}

func testReplay(t *testing.T, s *site) {
	t.Helper()
	record := func(target string, body any) string {
		t.Helper()
		var answered api.ExecuteAnswer
		a := s.post(t, target+"?record=true", body)
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		a.into(&answered)
		return answered.RunId
	}
	run := record(overview, asSpecified())
	replay := func(id string) string { return "/v1/runs/" + id + "/replay" }
	for name, body := range map[string]any{"no body": nil, "empty": "", "space": " \n", "an empty object": "{}"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := s.post(t, replay(run), body)
			require.Equal(t, http.StatusOK, a.status, "%s", a.body)
			r := a.object()
			require.Equal(t, run, r["run_id"])
			require.Equal(t, true, r["identical"])
			require.Equal(t, false, r["definition_changed"])
			require.Nil(t, r["problem"])
			require.Equal(t, r["recorded_data_hash"], r["data_hash"])
			replayed := r["replayed"].(map[string]any)
			require.NotEqual(t, run, replayed["run_id"], "it is a run of its own")
			require.Equal(t, a.header.Get("X-Request-Id"), replayed["trace"].(map[string]any)["request_id"])
			for _, step := range replayed["trace"].(map[string]any)["steps"].([]any) {
				require.Equal(t, "success", step.(map[string]any)["status"], "nothing comes from the cache")
			}
		})
	}

	s.post(t, "/v1/patterns/test_lack/execute?record=true", `{}`, "X-Request-Id", "replay-lack").problem(422, fault.InsufficientData)
	same := s.post(t, replay(s.runOf(t, "test_lack", "replay-lack").Id), nil).object()
	require.Nil(t, same["replayed"])
	require.Nil(t, same["data_hash"])
	require.Nil(t, same["recorded_data_hash"])
	require.Equal(t, true, same["identical"])
	require.Equal(t, map[string]any{"code": "insufficient_data", "detail": "no prices of XYZ"}, same["problem"])

	s.post(t, "/v1/patterns/test_panic/execute?record=true", `{}`, "X-Request-Id", "replay-panic").problem(500, fault.Internal)
	a := s.post(t, replay(s.runOf(t, "test_panic", "replay-panic").Id), nil, "X-Request-Id", "replay-of-the-panic")
	broken := a.object()
	require.Equal(t, true, broken["identical"])
	require.Equal(t, "internal", broken["problem"].(map[string]any)["code"])
	require.NotContains(t, string(a.body), "secret")
	require.Regexp(t, `msg="replay failed" request_id=replay-of-the-panic .*secret of the agent`, s.log.String(), "the log says why")

	// A run of another definition, and one of a pattern that is gone.
	answered := s.runOf(t, "test_lack", "replay-lack")
	changed := patterns.Run{
		ID: uuid.NewString(), TenantID: store.DefaultTenant, PatternID: "test_ok", DefinitionHash: "another", DataHash: "another",
		StartedAt: at, Trace: patterns.Trace{Asof: answered.Asof},
		Context: agent.Context{Asof: time.Date(2007, 5, 8, 0, 0, 0, 0, time.UTC), PricingPack: agent.Pack{ID: answered.PricingPackId}},
	}
	require.NoError(t, s.db.InsertRuns(t.Context(), []patterns.Run{changed}))
	other := s.post(t, replay(changed.ID), nil).object()
	require.Equal(t, true, other["definition_changed"])
	require.Equal(t, false, other["identical"])
	require.NotNil(t, other["replayed"])
	require.Contains(t, s.post(t, replay(runID(0)), nil).problem(404, fault.NotFound).Detail, "made_up")

	s.post(t, replay(uuid.NewString()), nil).problem(404, fault.NotFound)
	s.post(t, "/v1/runs/1/replay", nil).invalid("/path/id")
	s.post(t, replay(run), `{"asof": "2007-05-08"}`).invalid("/asof")
	s.post(t, replay(run), `[]`).invalid("")
	s.post(t, replay(run), `{`).problem(400, fault.Malformed)
	s.post(t, replay(run), `{}`, "Content-Type", "text/plain").problem(415, fault.UnsupportedMedia)
	s.post(t, replay(run), strings.Repeat(" ", maxBody+1)).problem(413, fault.TooLarge)
}

// A replay sees the ledger as it was; a new run sees what has been booked since.
func testReplayAfterABooking(t *testing.T, s *site) {
	t.Helper()
	var p api.Portfolio
	s.post(t, "/v1/portfolios", map[string]any{"name": "Replay", "base_currency": "CHF"}).into(&p)
	book := func(amount string) {
		t.Helper()
		a := s.post(t, "/v1/portfolios/"+p.Id.String()+"/transactions",
			map[string]any{"date": "2006-01-03", "type": "DEPOSIT", "currency": "CHF", "amount": amount})
		require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	}
	execute := func() (answered api.ExecuteAnswer) {
		t.Helper()
		a := s.post(t, "/v1/patterns/test_ledger/execute?record=true", map[string]any{"inputs": map[string]any{"portfolio_id": p.Id}})
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		a.into(&answered)
		return answered
	}
	replay := func(id string) (r api.Replay) {
		t.Helper()
		s.post(t, "/v1/runs/"+id+"/replay", nil).into(&r)
		return r
	}
	book("1000")
	before := execute()
	require.True(t, replay(before.RunId).Identical)

	book("500")
	again := replay(before.RunId)
	require.True(t, again.Identical, "the ledger is pinned")
	require.Equal(t, string(before.Data), string(again.Replayed.Data))
	require.Equal(t, before.Trace.LedgerVersion, again.Replayed.Trace.LedgerVersion)
	after := execute()
	require.NotEqual(t, before.DataHash, after.DataHash)
	require.NotEqual(t, before.Trace.LedgerVersion, after.Trace.LedgerVersion)
	require.True(t, replay(after.RunId).Identical)
}

// caller is whom the header Authorization describes: a tenant and a role.
type caller struct{}

func (caller) Authenticate(r *http.Request) (auth.Principal, error) {
	tenant, role, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return auth.Principal{TenantID: tenant, Subject: "key:test", Role: auth.Role(role)}, nil
}

// What went wrong with a call is told to the tenant that it was for, and to who runs the system.
func TestAgentsKeepErrorsToTheirTenants(t *testing.T) {
	t.Parallel()
	trial := agent.Capability{Name: "quotes.latest", Run: func(_ context.Context, r agent.Request) (agent.Result, error) {
		return agent.Result{}, fault.New(fault.Unavailable, "no quote of %s", r.Args["symbol"])
	}}
	registry := prometheus.NewRegistry()
	runtime, err := agents.New(agents.Config{Agents: map[string]agents.AgentConfig{"quotes": {Breaker: agents.BreakerConfig{Failures: 100}}}}, []agent.Agent{able{"quotes", []agent.Capability{trial}}},
		agents.Options{Registerer: registry, Metrics: agents.NewMetrics(registry)})
	require.NoError(t, err)
	s := newFrontSite(t, func(o *httpapi.Options) { o.Agents, o.Auth = runtime, caller{} })
	call := func(tenant string) {
		_, err := runtime.Run(t.Context(), agent.Request{
			Capability: "quotes.latest", Args: map[string]any{"symbol": "SECRET"}, Context: agent.Context{TenantID: tenant, RequestID: "r1"},
		})
		require.Equal(t, fault.Unavailable, fault.CodeOf(err))
	}
	for _, c := range []struct {
		of, who string
		told    bool
	}{
		{"a", "a read-only", true},
		{"a", "b read-only", false},
		{"a", "b admin", false},
		{"a", "default admin", true},
		{"a", "default operator", true},
		{"a", "default read-only", false},
		{"default", "default read-only", true},
		{"default", "a admin", false},
		{"", "a admin", false},
		{"", "default operator", true},
	} {
		call(c.of)
		var page struct{ Items []api.Agent }
		s.get(t, "/v1/agents", "Authorization", c.who).into(&page)
		e := page.Items[0].LastError
		require.Equal(t, "unavailable", e.Code)
		require.WithinDuration(t, time.Now(), e.At, time.Minute)
		if c.told {
			require.Equal(t, "no quote of SECRET", e.Detail, c)
		} else {
			require.Equal(t, "a call of another tenant; who runs the system may see more", e.Detail, c)
		}
	}
}

// What an agent is, has done and suffers from is told as the runtime has it.
func TestAgents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		registry := prometheus.NewRegistry()
		wait := make(chan struct{})
		failing := errors.New("secret of the agent")
		fail := true
		trial := agent.Capability{Name: "quotes.latest", Run: func(context.Context, agent.Request) (agent.Result, error) {
			if fail {
				return agent.Result{}, failing
			}
			<-wait
			return agent.Result{}, nil
		}}
		plain := agent.Capability{Name: "a.plain", Run: func(context.Context, agent.Request) (agent.Result, error) { return agent.Result{}, nil }}
		rich := agent.Capability{
			Name: "a.rich", Description: "All of it.", Args: []byte(`{"type": "object"}`), Result: []byte(`true`),
			Purity: agent.Effectful, Timeout: 250 * time.Millisecond, Cost: agent.High, Delegates: true, Run: plain.Run,
		}
		runtime, err := agents.New(agents.Config{Agents: map[string]agents.AgentConfig{
			"analyst": {Timeout: 1500 * time.Millisecond, Retry: agents.RetryConfig{Attempts: 1}},
			"quotes": {
				Timeout: time.Second, Retry: agents.RetryConfig{Attempts: 3, Delay: 100 * time.Millisecond},
				Breaker:   agents.BreakerConfig{FailureRate: 0.5, MinCalls: 2, Window: 30 * time.Second, Delay: 5 * time.Second, Successes: 2},
				RateLimit: &agents.RateLimitConfig{Calls: 50}, Bulkhead: &agents.BulkheadConfig{Calls: 8, Wait: 20 * time.Millisecond},
				Remote: &agents.RemoteConfig{URL: "https://user:secret@quotes.test/agent?token=secret#secret"},
			},
			"research": {Remote: &agents.RemoteConfig{URL: "https://research.test"}},
		}}, []agent.Agent{able{"analyst", []agent.Capability{plain, rich}}, able{"quotes", []agent.Capability{trial}}},
			agents.Options{Registerer: registry, Metrics: agents.NewMetrics(registry)})
		require.NoError(t, err)
		s := newFrontSite(t, func(o *httpapi.Options) { o.Agents = runtime })
		list := func() []api.Agent {
			t.Helper()
			a := s.get(t, "/v1/agents")
			require.NotContains(t, string(a.body), "secret")
			var page struct{ Items []api.Agent }
			a.into(&page)
			require.Len(t, page.Items, 3)
			return page.Items
		}
		call := func(capability string) fault.Code {
			_, err := runtime.Run(t.Context(), agent.Request{Capability: capability})
			return fault.CodeOf(err)
		}

		require.Empty(t, call("a.plain"))
		local := list()[0]
		require.Equal(t, "analyst", local.Name)
		require.True(t, local.Available)
		require.Nil(t, local.Url)
		require.Nil(t, local.LastError)
		require.Equal(t, api.AgentPolicies{TimeoutSeconds: 1.5}, local.Policies)
		require.Equal(t, api.Breaker{State: "CLOSED", Since: start.UTC(), Failures: new(5), DelaySeconds: 60, Successes: 1}, local.Breaker)
		require.Equal(t, api.AgentCalls{Succeeded: 1}, local.Calls)
		require.Equal(t, []api.Capability{
			{Name: "a.plain", Purity: "read", Repeatable: true, TimeoutSeconds: 1.5, Cost: "low"},
			{
				Name: "a.rich", Description: "All of it.", Purity: "effect", TimeoutSeconds: 0.25, Cost: "high", Delegates: true,
				Args: new(json.RawMessage(`{"type":"object"}`)), Result: new(json.RawMessage(`true`)),
			},
		}, local.Capabilities, "what is not declared is told as what it counts as")

		missing := list()[2]
		require.Equal(t, "research", missing.Name)
		require.True(t, missing.Remote)
		require.False(t, missing.Available)
		require.Equal(t, "it has not said yet what it can do", *missing.UnavailableReason)
		require.Equal(t, []api.Capability{}, missing.Capabilities)

		// The breaker opens, rests, and tries.
		require.Equal(t, api.AgentCalls{}, list()[1].Calls)
		<-time.After(time.Second)
		require.Equal(t, fault.Internal, call("quotes.latest"))
		require.Equal(t, api.CLOSED, list()[1].Breaker.State)
		require.Equal(t, fault.Internal, call("quotes.latest"))
		require.Equal(t, fault.BreakerOpen, call("quotes.latest"))
		failed := time.Now()
		<-time.After(1500 * time.Millisecond)
		remote := list()[1]
		require.Equal(t, "https://quotes.test/agent", *remote.Url)
		require.True(t, remote.Remote)
		require.Equal(t, api.Breaker{
			State: "OPEN", Since: failed.UTC(), RetryAfterSeconds: new(3.5), FailureRate: new(0.5), MinCalls: new(2),
			WindowSeconds: new(30.0), DelaySeconds: 5, Successes: 2,
		}, remote.Breaker)
		require.Equal(t, api.AgentPolicies{
			TimeoutSeconds: 1, Retry: &api.RetryPolicy{Attempts: 3, DelaySeconds: 0.1, MaxDelaySeconds: 1},
			RateLimit: &api.RateLimit{Calls: 50, PerSeconds: 1}, Bulkhead: &api.Bulkhead{Calls: 8, WaitSeconds: 0.02},
		}, remote.Policies)
		require.Equal(t, api.AgentCalls{Failed: 2, Refused: 1}, remote.Calls)
		require.Equal(t, &api.AgentError{
			At: failed.UTC(), Capability: "quotes.latest", Code: "internal", Detail: "an internal error occurred; the request id leads to it in the log",
		}, remote.LastError)

		<-time.After(3500 * time.Millisecond)
		require.Nil(t, list()[1].Breaker.RetryAfterSeconds, "the next call is a trial")
		fail = false
		tried := make(chan fault.Code)
		go func() { tried <- call("quotes.latest") }()
		synctest.Wait()
		remote = list()[1]
		require.Equal(t, api.HALFOPEN, remote.Breaker.State)
		require.EqualValues(t, 1, remote.Calls.InFlight)
		close(wait)
		require.Empty(t, <-tried)
		require.Empty(t, call("quotes.latest"))
		remote = list()[1]
		require.Equal(t, api.CLOSED, remote.Breaker.State)
		require.Equal(t, api.AgentCalls{Succeeded: 2, Failed: 2, Refused: 1}, remote.Calls)
		require.NotNil(t, remote.LastError, "it is not forgotten")

		runtime.SetAvailable("quotes", errors.New("secret of the network"))
		remote = list()[1]
		require.False(t, remote.Available)
		require.Equal(t, "it can't be reached", *remote.UnavailableReason)

		var names []string
		for next := ""; ; {
			var page struct {
				Items []api.Agent
				Next  *string `json:"next_cursor"`
			}
			s.get(t, "/v1/agents?limit=1"+next).into(&page)
			names = append(names, page.Items[0].Name)
			if page.Next == nil {
				break
			}
			next = "&cursor=" + *page.Next
		}
		require.Equal(t, []string{"analyst", "quotes", "research"}, names)
	})
}

// able is an agent with a name and capabilities.
type able struct {
	name         string
	capabilities []agent.Capability
}

func (a able) Name() string { return a.name }

func (a able) Capabilities() []agent.Capability { return a.capabilities }

// Runs of patterns move the figures of the agents that they ask.
func testAgents(t *testing.T, s *site) {
	t.Helper()
	troubled := func() api.Agent {
		t.Helper()
		var page struct{ Items []api.Agent }
		s.get(t, "/v1/agents").into(&page)
		require.Len(t, page.Items, 5)
		i := slices.IndexFunc(page.Items, func(a api.Agent) bool { return a.Name == "troubled" })
		return page.Items[i]
	}
	before := troubled()
	require.Equal(t, http.StatusOK, s.post(t, "/v1/patterns/test_ok/execute", "{}").status)
	s.post(t, "/v1/patterns/test_panic/execute", "{}").problem(500, fault.Internal)
	after := troubled()
	// Other tests ask the same agent at the same time.
	require.GreaterOrEqual(t, after.Calls.Succeeded, before.Calls.Succeeded+2)
	require.GreaterOrEqual(t, after.Calls.Failed, before.Calls.Failed+1)
	require.Equal(t, "test.panic", after.LastError.Capability)
	require.Equal(t, "internal", after.LastError.Code)
	require.NotContains(t, after.LastError.Detail, "secret")
}

func testValidate(t *testing.T, s *site) {
	t.Helper()
	const validate = "/v1/patterns/validate"
	const definition = `{"id": "p", "name": "P", "description": "d",
"inputs": {"count": {"type": "number"}},
"steps": [{"capability": "test.bounded", "args": {"n": "{{inputs.count}}"}, "as": "x"}],
"outputs": ["x"]}`
	check := func(body string) (v api.Validation) {
		t.Helper()
		a := s.post(t, validate, body)
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		a.into(&v)
		return v
	}
	finding := func(body string) api.Finding {
		t.Helper()
		v := check(body)
		require.Len(t, v.Problems, 1)
		require.Equal(t, v.Problems[0].Severity == api.FindingSeverityWarning, v.Valid, "a warning keeps nothing from being served")
		return v.Problems[0]
	}
	require.Equal(t, map[string]any{"valid": true, "problems": []any{}}, s.post(t, validate, definition).object())
	require.True(t, check(everything).Valid)

	for name, tt := range map[string]struct {
		old, new     string
		severity     api.FindingSeverity
		line, column int
		pointer      string
		step         string
		suggestion   string
	}{
		"JSON":                   {`"id": "p"`, `"id" "p"`, "error", 1, 7, "/id", "", ""},
		"an unknown key":         {`"outputs"`, `"sorts": 1, "outputs"`, "error", 4, 1, "/sorts", "", ""},
		"a misspelt key":         {`"description"`, `"descripton"`, "error", 1, 26, "/descripton", "", "description"},
		"an unknown capability":  {`"test.bounded"`, `"test.bonded"`, "error", 3, 26, "/steps/0/capability", "x", "test.bounded"},
		"a wrong argument":       {`"{{inputs.count}}"}`, `"{{inputs.count}}", "list": ["long"]}`, "error", 3, 85, "/steps/0/args/list/0", "x", ""},
		"an unknown input":       {`{{inputs.count}}`, `{{inputs.cuont}}`, "error", 3, 56, "/steps/0/args/n", "x", "count"},
		"an unknown result":      {`"outputs": ["x"]`, `"outputs": ["y"]`, "error", 4, 13, "/outputs/0", "", ""},
		"a condition":            {`"as": "x"`, `"as": "x", "condition": "inputs.count >"`, "error", 3, 0, "/steps/0/condition", "x", ""},
		"what nobody looks at":   {`"as": "x"}`, `"as": "x"}, {"capability": "test.ok", "as": "z"}`, "warning", 3, 0, "/steps/1/as", "z", ""},
		"a pattern that is none": {`"as": "x"}`, `"as": "x"}, {"capability": "pattern.run", "args": {"pattern": "test_o"}, "as": "z"}`, "error", 3, 0, "/steps/1/args/pattern", "z", "test_ok"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(definition, tt.old, tt.new, 1)
			require.NotEqual(t, definition, text)
			v := check(text)
			require.NotEmpty(t, v.Problems)
			f := v.Problems[0]
			require.Equal(t, tt.severity, f.Severity, "%+v", f)
			require.Equal(t, tt.severity == "warning", v.Valid)
			require.Equal(t, tt.line, *f.Line, "%+v", f)
			if tt.column > 0 {
				require.Equal(t, tt.column, *f.Column, "%+v", f)
			}
			require.Positive(t, *f.Column)
			require.Equal(t, tt.pointer, f.Pointer)
			if tt.step != "" {
				require.Equal(t, tt.step, *f.Step)
			}
			if tt.suggestion != "" {
				require.Equal(t, tt.suggestion, *f.Suggestion, "%+v", f)
			}
			require.NotEmpty(t, f.Message)
		})
	}
	require.Contains(t, finding(strings.Replace(definition, `"as": "x"}`, `"as": "x", "condition": "1 > 2"}`, 1)).Message, "never")
	for name, body := range map[string]string{
		"cut off": `{"id": "p"`, "not JSON at all": "id: p", "not UTF-8": "{\"id\": \"\xff\"}", "two": definition + definition,
		"a number": "1", "null": "null", "deep": strings.Repeat("[", 10_001),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := check(body)
			require.False(t, v.Valid)
			require.NotEmpty(t, v.Problems)
		})
	}

	many := check(`{"a": 1` + strings.Repeat(`, "a": 1`, 999) + `}`)
	require.False(t, many.Valid)
	require.Len(t, many.Problems, 500)
	require.Positive(t, *many.More)

	s.post(t, validate, "").problem(400, fault.Malformed)
	s.post(t, validate, " \n").problem(400, fault.Malformed)
	s.post(t, validate, definition, "Content-Type", "text/plain").problem(415, fault.UnsupportedMedia)
	s.post(t, validate, strings.Repeat(" ", maxBody)+definition).problem(413, fault.TooLarge)
	s.get(t, validate).problem(404, fault.NotFound) // there is no pattern of that name
}

// Each problem repeats the names around it: long ones must not make an answer of any size.
func TestALongName(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(o *httpapi.Options) { o.MaxBodyBytes = pattern.MaxSize })
	text := `{"id": "p", "name": "P", "steps": [{"capability": "test.ok", "as": "x", "args": {"` + strings.Repeat("k", 100_000) +
		`": ["{{a}}"` + strings.Repeat(`, "{{a}}"`, 99) + `]}}], "outputs": ["x"]}`
	a := s.post(t, "/v1/patterns/validate", text)
	require.Less(t, len(a.body), 3<<20)
	var v api.Validation
	a.into(&v)
	require.False(t, v.Valid)
	require.NotEmpty(t, v.Problems)
	require.Equal(t, 100, len(v.Problems)+*v.More)
}

// What bounds a file bounds the text of one, even where other bodies may be larger.
func TestALargeDefinition(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(o *httpapi.Options) { o.MaxBodyBytes = 2 * pattern.MaxSize })
	require.Equal(t, http.StatusOK, s.post(t, "/v1/patterns/validate", strings.Repeat("x", pattern.MaxSize)).status)
	a := s.post(t, "/v1/patterns/validate", strings.Repeat("x", pattern.MaxSize+1))
	require.Contains(t, a.problem(413, fault.TooLarge).Detail, "1048576")
}
