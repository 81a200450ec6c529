package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
	"github.com/dawsos/dawsos/pkg/api"
	"github.com/dawsos/dawsos/pkg/pattern"
)

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
	all, pages := list("/v1/runs?limit=200")
	require.Equal(t, []string{runID(4), runID(3), runID(2), runID(1), runID(0)}, all, "newest first")
	require.Equal(t, 1, pages)
	paged, pages := list("/v1/runs?limit=2")
	require.Equal(t, all, paged)
	require.Equal(t, 3, pages)
	full, pages := list("/v1/runs?limit=5")
	require.Equal(t, all, full)
	require.Equal(t, 1, pages, "a full page is no promise of another")

	failed, _ := list("/v1/runs?outcome=error")
	require.Equal(t, []string{runID(2)}, failed)
	others, _ := list("/v1/runs?pattern_id=other&outcome=success")
	require.Equal(t, []string{runID(1)}, others)
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
	for key, want := range map[string]any{
		"id": runID(1), "pattern_id": "other", "user_id": "ada", "request_id": "request-1", "trace_id": strings.Repeat("e", 32),
		"outcome": "success", "error": nil, "asof": "2007-05-08", "pricing_pack_id": "pack", "portfolio_id": "p",
		"ledger_version": "v", "started_at": "2026-03-02T08:30:01Z", "duration_seconds": 0.0015,
		"data_hash": strings.Repeat("c", 64), "definition_hash": strings.Repeat("d", 64),
		"inputs": map[string]any{"n": 1.1, "s": "<b>"}, "warnings": []any{"old data"},
		"context": map[string]any{
			"asof": "2007-05-08", "require_fresh": true,
			"pricing_pack": map[string]any{"id": "pack", "date": "2007-05-07", "revision": 3.0, "hash": "h"},
			"portfolio":    map[string]any{"id": "p", "base_currency": "CHF", "ledger_version": "v"},
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

func testReplay(t *testing.T, s *site) {
	t.Helper()
	replay := func(n int) string { return "/v1/runs/" + runID(n) + "/replay" }
	for name, body := range map[string]any{"no body": nil, "empty": "", "space": " \n", "an empty object": "{}"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := s.post(t, replay(0), body)
			require.Equal(t, http.StatusOK, a.status, "%s", a.body)
			r := a.object()
			require.Equal(t, runID(0), r["run_id"])
			require.Equal(t, true, r["identical"])
			require.Equal(t, false, r["definition_changed"])
			require.Nil(t, r["problem"])
			require.Equal(t, r["recorded_data_hash"], r["data_hash"])
			replayed := r["replayed"].(map[string]any)
			require.Equal(t, a.header.Get("X-Request-Id"), replayed["trace"].(map[string]any)["request_id"])
		})
	}
	same := s.post(t, replay(2), nil).object()
	require.Nil(t, same["replayed"])
	require.Nil(t, same["data_hash"])
	require.Nil(t, same["recorded_data_hash"])
	require.Equal(t, true, same["identical"])
	require.Equal(t, map[string]any{"code": "insufficient_data", "detail": "no prices of XYZ"}, same["problem"])

	a := s.post(t, replay(3), nil)
	broken := a.object()
	require.Equal(t, false, broken["identical"])
	require.Equal(t, true, broken["definition_changed"])
	require.Equal(t, "internal", broken["problem"].(map[string]any)["code"])
	require.NotContains(t, string(a.body), "secret")
	require.Contains(t, s.log.String(), "secret of the agent", "the log says why")

	s.post(t, "/v1/runs/"+uuid.NewString()+"/replay", nil).problem(404, fault.NotFound)
	s.post(t, "/v1/runs/1/replay", nil).invalid("/path/id")
	s.post(t, replay(0), `{"asof": "2007-05-08"}`).invalid("/asof")
	s.post(t, replay(0), `[]`).invalid("")
	s.post(t, replay(0), `{`).problem(400, fault.Malformed)
	s.post(t, replay(0), `{}`, "Content-Type", "text/plain").problem(415, fault.UnsupportedMedia)
	s.post(t, replay(0), strings.Repeat(" ", maxBody+1)).problem(413, fault.TooLarge)
}

func testAgents(t *testing.T, s *site) {
	t.Helper()
	a := s.get(t, "/v1/agents")
	require.NotContains(t, string(a.body), "secret")
	var page struct{ Items []api.Agent }
	a.into(&page)
	require.Len(t, page.Items, 3)

	local := page.Items[0]
	require.Equal(t, "analyst", local.Name)
	require.Nil(t, local.Url)
	require.Nil(t, local.LastError)
	require.Equal(t, api.AgentPolicies{TimeoutSeconds: 1.5}, local.Policies)
	require.Equal(t, 5, *local.Breaker.Failures)
	require.Nil(t, local.Breaker.FailureRate)
	require.Nil(t, local.Breaker.RetryAfterSeconds)
	require.Equal(t, api.Capability{
		Name: "a.plain", Purity: "read", Repeatable: true, TimeoutSeconds: 1.5, Cost: "low",
	}, local.Capabilities[0], "what is not declared is told as what it counts as")
	require.Equal(t, api.Capability{
		Name: "a.rich", Description: "All of it.", Purity: "effect", TimeoutSeconds: 0.25, Cost: "high", Delegates: true,
		Args: new(json.RawMessage(`{"type":"object"}`)), Result: new(json.RawMessage(`true`)),
	}, local.Capabilities[1])

	remote := page.Items[1]
	require.Equal(t, "https://quotes.test/agent", *remote.Url)
	require.False(t, remote.Available)
	require.Equal(t, "its capabilities have not been listed yet", *remote.UnavailableReason)
	require.Equal(t, api.Breaker{
		State: "OPEN", Since: at.UTC(), RetryAfterSeconds: new(2.5), FailureRate: new(0.5), MinCalls: new(10),
		WindowSeconds: new(30.0), DelaySeconds: 5, Successes: 2,
	}, remote.Breaker)
	require.Equal(t, api.AgentPolicies{
		TimeoutSeconds: 1, Retry: &api.RetryPolicy{Attempts: 3, DelaySeconds: 0.1, MaxDelaySeconds: 1},
		RateLimit: &api.RateLimit{Calls: 50, PerSeconds: 1}, Bulkhead: &api.Bulkhead{Calls: 8, WaitSeconds: 0.02},
	}, remote.Policies)
	require.Equal(t, api.AgentCalls{Succeeded: 1, Failed: 2, Refused: 3, Retried: 4, InFlight: 5}, remote.Calls)
	require.Equal(t, &api.AgentError{At: at.UTC(), Capability: "quotes.latest", Code: "timeout", Detail: "no answer in 1s"}, remote.LastError)
	require.Equal(t, []api.Capability{}, remote.Capabilities)

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
}

func testValidate(t *testing.T, s *site) {
	t.Helper()
	const validate = "/v1/patterns/validate"
	const definition = `{"id": "p", "name": "P", "description": "d", "steps": [{"capability": "a.b", "as": "x"}], "outputs": ["x"]}`
	finding := func(body string) api.Finding {
		t.Helper()
		a := s.post(t, validate, body)
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		var v api.Validation
		a.into(&v)
		require.False(t, v.Valid)
		require.Len(t, v.Problems, 1)
		return v.Problems[0]
	}
	require.Equal(t, map[string]any{"valid": true, "problems": []any{}}, s.post(t, validate, definition).object())

	var warned api.Validation
	s.post(t, validate, strings.Replace(definition, `"description": "d", `, "", 1)).into(&warned)
	require.True(t, warned.Valid, "a warning keeps nothing from being served")
	require.Equal(t, []api.Finding{{Severity: "warning", Step: new("x"), Message: "nobody will know", Suggestion: new("description")}}, warned.Problems)

	broken := finding("{\n  \"id\": \"p\",\n  \"name\" \"P\"}")
	require.Equal(t, api.FindingSeverityError, broken.Severity)
	require.Equal(t, 3, *broken.Line, "%s", broken.Message)
	require.Equal(t, 10, *broken.Column, "%s", broken.Message)
	unknown := finding(strings.Replace(definition, `"outputs"`, "\"sorts\": 1,\n\"outputs\"", 1))
	require.Equal(t, "/sorts", unknown.Pointer)
	for name, body := range map[string]string{
		"cut off": `{"id": "p"`, "not JSON at all": "id: p", "not UTF-8": "{\"id\": \"\xff\"}", "two": definition + definition,
		"a number": "1", "null": "null", "deep": strings.Repeat("[", 10_001),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var v api.Validation
			s.post(t, validate, body).into(&v)
			require.False(t, v.Valid)
			require.NotEmpty(t, v.Problems)
		})
	}

	var many api.Validation
	s.post(t, validate, `{"a": 1`+strings.Repeat(`, "a": 1`, 999)+`}`).into(&many)
	require.False(t, many.Valid)
	require.Len(t, many.Problems, 500)
	require.Positive(t, *many.More)

	s.post(t, validate, "").problem(400, fault.Malformed)
	s.post(t, validate, " \n").problem(400, fault.Malformed)
	s.post(t, validate, definition, "Content-Type", "text/plain").problem(415, fault.UnsupportedMedia)
	s.post(t, validate, strings.Repeat(" ", maxBody)+definition).problem(413, fault.TooLarge)
	s.get(t, validate).problem(404, fault.NotFound) // there is no pattern of that name
}

// What bounds a file bounds the text of one, even where other bodies may be larger.
func TestALargeDefinition(t *testing.T) {
	t.Parallel()
	s := newFrontSite(t, func(o *httpapi.Options) { o.Validator, o.MaxBodyBytes = parsing{}, 2*pattern.MaxSize })
	require.Equal(t, http.StatusOK, s.post(t, "/v1/patterns/validate", strings.Repeat("x", pattern.MaxSize)).status)
	a := s.post(t, "/v1/patterns/validate", strings.Repeat("x", pattern.MaxSize+1))
	require.Contains(t, a.problem(413, fault.TooLarge).Detail, "1048576")
}
