package console_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/breakers"
	"github.com/dawsos/dawsos/internal/store"
)

// sentiment is an agent as a service, whose calls fail while it is broken.
type sentiment struct {
	url    string
	broken atomic.Bool
}

func newSentiment(t *testing.T) *sentiment {
	t.Helper()
	a := &sentiment{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet:
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprint(w, `{"protocol": "1", "agent": {"name": "sentiment", "version": "1.4.2", "description": "Reads <headlines>."},
				"capabilities": [{"name": "sentiment.score", "description": "The sentiment of headlines, -1 to 1.", "purity": "read",
					"args": {"type": "object", "properties": {"headlines": {"type": "array"}}, "required": ["headlines"]}}]}`)
		case a.broken.Load():
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprint(w, `{"type": "about:blank", "status": 500, "code": "internal", "detail": "the word list can't be read"}`)
		default:
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprint(w, `{"value": {"score": 0.5}}`)
		}
	}))
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

// env is the settings of a site with the agent and a pattern that asks it.
func (a *sentiment) env(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "agents.yaml"), fmt.Appendf(nil,
		"agents:\n  sentiment:\n    breaker: {failures: 2, delay: 1h, successes: 1}\n    remote: {url: %s}\n", a.url), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "patterns"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "patterns", "headline_sentiment.json"), []byte(`{
		"id": "headline_sentiment", "name": "Headline sentiment", "description": "How headlines sound.",
		"inputs": {"headlines": {"type": "array", "items": {"type": "string"}, "required": true, "description": "The headlines."}},
		"steps": [{"capability": "sentiment.score", "args": {"headlines": "{{inputs.headlines}}"}, "as": "sentiment"}], "outputs": ["sentiment"]}`), 0o600))
	return []string{"AGENTS_FILE", filepath.Join(dir, "agents.yaml"), "PATTERNS_DIR", filepath.Join(dir, "patterns")}
}

func (s *site) headline(n, status int) {
	s.t.Helper()
	s.api(http.MethodPost, "/v1/patterns/headline_sentiment/execute", fmt.Sprintf(`{"inputs": {"headlines": ["Profit %d"]}}`, n), status)
}

// eventually asks for a page until it says something.
func (s *site) eventually(path, text string) response {
	s.t.Helper()
	var r response
	require.Eventually(s.t, func() bool {
		r = s.get(path)
		return r.StatusCode == http.StatusOK && strings.Contains(r.text(), text)
	}, 20*time.Second, 50*time.Millisecond, "%s never says %q", path, text)
	return r
}

// row is the text of the table row that begins with a name.
func (r response) row(name string) string {
	for n := range r.tree.Descendants() {
		if n.Type != html.ElementNode || n.Data != "tr" {
			continue
		}
		if text := (response{tree: n}).text(); strings.HasPrefix(text, name+" ") {
			return text
		}
	}
	return ""
}

// specs are the charts of a page.
func (r response) specs(t *testing.T) []map[string]any {
	t.Helper()
	var list []map[string]any
	for n := range r.tree.Descendants() {
		for _, a := range n.Attr {
			if a.Key == "data-spec" {
				var spec map[string]any
				require.NoError(t, json.Unmarshal([]byte(a.Val), &spec))
				list = append(list, spec)
			}
		}
	}
	return list
}

func TestAgents(t *testing.T) {
	t.Parallel()
	agent := newSentiment(t)
	s := newSampleSite(t, agent.env(t)...)

	r := s.get("/console/agents")
	require.Equal(t, http.StatusOK, r.StatusCode)
	require.Contains(t, r.row("charts"), "CLOSED")
	require.Contains(t, r.row("charts"), "in this process 0 0 no call no call none since the start")
	require.Contains(t, r.row("sentiment"), "a service, version 1.4.2 0 0 no call no call")
	require.NotContains(t, r.text(), "is not called")
	require.Contains(t, r.row("sentiment.score"), "sentiment read The sentiment of headlines, -1 to 1.")
	for _, link := range []string{"/console/agents/sentiment", "/console/agents/sentiment#capability-sentiment.score", "/console/breakers"} {
		require.Contains(t, r.links(), link)
	}

	r = s.get("/console/agents/sentiment")
	require.Equal(t, http.StatusOK, r.StatusCode)
	require.Contains(t, r.text(), "Reads <headlines>.")
	require.Contains(t, r.text(), "a service at "+agent.url+" , version 1.4.2")
	require.Contains(t, r.text(), "Breaker opens when 2 calls in a row fail Then calls are refused for 60 min; a trial call that succeeds closes it")
	require.Contains(t, r.text(), "No change is recorded within the last 30 days")
	require.Contains(t, r.text(), "It has not failed since this process started")
	require.Contains(t, r.text(), `"required": [ "headlines" ]`)
	require.Empty(t, r.specs(t))

	for n := range 7 {
		s.headline(n, http.StatusOK)
	}
	agent.broken.Store(true)
	s.headline(10, http.StatusInternalServerError)
	s.headline(11, http.StatusInternalServerError)
	s.headline(12, http.StatusServiceUnavailable) // refused

	r = s.get("/console/agents")
	require.Regexp(t, `sentiment OPEN since [-0-9: ]+ a service, version 1.4.2 7 3 1 refused [0-9.]+ [mµ]?s [0-9.]+ [mµ]?s [-0-9: ]+: agent sentiment: the word list can't be read`, r.row("sentiment"))
	require.Contains(t, r.text(), "sentiment is not called: its breaker opened")

	r = s.eventually("/console/agents/sentiment", "2 calls in a row failed, the last one: code internal")
	require.Contains(t, r.text(), "Calls that succeeded 7 0 under way Calls that failed 3 1 of them refused")
	require.Contains(t, r.text(), "of 9 calls", "a refused call took no time")
	require.Equal(t, 2, strings.Count(r.text(), "sentiment.score internal agent sentiment: the word list can't be read"), "the latest errors")
	require.Regexp(t, `this time until [-0-9: ]+`, r.text())
	require.Contains(t, r.links(), "/console/breakers?kind=agent&name=sentiment")
	specs := r.specs(t)
	require.Len(t, specs, 1)
	values := specs[0]["data"].(map[string]any)["values"].([]any)
	require.Len(t, values, 1)
	lasting := values[0].(map[string]any)
	require.Equal(t, "OPEN", lasting["state"])
	require.Nil(t, lasting["to"], "it lasts")
	require.Contains(t, lasting["process"], "api on ")

	// The page is the same until something happens: the stream compares.
	require.Equal(t, r.Header.Get("Dawsos-Mark"), s.get("/console/agents/sentiment").Header.Get("Dawsos-Mark"))

	missing := s.get("/console/agents/nobody")
	require.Equal(t, http.StatusNotFound, missing.StatusCode)
	require.Contains(t, missing.text(), `there is no agent "nobody"`)
}

// What went wrong with a call, and the request that it was for, are told to the request's tenant and to who
// runs the system.
func TestAgentsKeepErrorsToTheirTenants(t *testing.T) {
	t.Parallel()
	agent := newSentiment(t)
	s := newSampleSite(t, append(agent.env(t), "JAEGER_URL", "http://jaeger.test")...)
	agent.broken.Store(true)
	r := s.do(http.MethodPost, "/v1/patterns/headline_sentiment/execute", strings.NewReader(`{"inputs": {"headlines": ["Profit"]}}`),
		"Content-Type", "application/json", "X-Request-Id", "theirs")
	require.Equal(t, http.StatusInternalServerError, r.StatusCode, r.body)
	for _, c := range []struct {
		tenant string
		role   auth.Role
		told   bool
	}{{"default", auth.Operator, true}, {"default", auth.ReadOnly, true}, {"other", auth.ReadOnly, false}, {"other", auth.Admin, false}} {
		key := []string{"Authorization", "Bearer " + s.newKey(c.tenant, c.role, "")}
		list, one := s.get("/console/agents", key...), s.get("/console/agents/sentiment", key...)
		require.Equal(t, http.StatusOK, list.StatusCode)
		require.Equal(t, http.StatusOK, one.StatusCode)
		require.Contains(t, one.text(), "sentiment.score internal", "that there was one is no secret")
		for _, page := range []response{list, one} {
			require.Equal(t, c.told, strings.Contains(page.text(), "the word list can't be read"), "%v", c)
			require.Equal(t, !c.told, strings.Contains(page.text(), "a call of another tenant"), "%v", c)
		}
		require.Equal(t, c.told, strings.Contains(one.text(), "theirs"), "%v", c)
		if !c.told {
			require.NotContains(t, one.body, "jaeger.test/trace/")
		}
	}
}

func TestAgentsWithoutHistory(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, err := s.pool.Exec(t.Context(), `ALTER TABLE breaker_changes RENAME TO gone`)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, s.get("/console/agents").StatusCode, "it is of this process alone")
	r := s.get("/console/agents/charts")
	require.Equal(t, http.StatusInternalServerError, r.StatusCode)
	require.NotContains(t, r.body, "breaker_changes", "what went wrong stands in the log")
}

func TestBreakers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.get("/console/breakers")
	require.Equal(t, http.StatusOK, r.StatusCode)
	require.Contains(t, r.text(), "No breaker of a running process has changed within the last 30 days")
	require.Contains(t, r.text(), "No such change is recorded")

	_, err := s.pool.Exec(t.Context(), `INSERT INTO tenants (id) VALUES ('other')`)
	require.NoError(t, err)
	db, worker := store.New(s.pool, store.Options{}), breakers.Process{Role: "worker", Host: "w1", PID: 12}
	begun, minute := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC), 0
	record := func(tenant string, k breakers.Kind, name string, states ...breakers.State) {
		t.Helper()
		var changes []breakers.Change
		for i := range states[1:] {
			minute++
			changes = append(changes, breakers.Change{
				ID: newID(t), TenantID: tenant, Process: worker, Kind: k, Name: name, From: states[i], To: states[i+1],
				At: begun.Add(time.Duration(minute) * time.Minute), Reason: fmt.Sprintf("<b>change %d</b>", minute),
			})
		}
		require.NoError(t, db.RecordBreakerChanges(t.Context(), changes))
	}
	record("default", breakers.Endpoint, "destination:a/b c", breakers.Closed, breakers.Open, breakers.HalfOpen, breakers.Closed)
	record("default", breakers.Endpoint, "webhook:0123456789abcdef", breakers.Closed, breakers.Open)
	record("other", breakers.Endpoint, "destination:theirs", breakers.Closed, breakers.Open)
	record("", breakers.Agent, "claude", breakers.Closed, breakers.Open, breakers.HalfOpen)

	r = s.get("/console/breakers")
	require.Contains(t, r.row("webhook:0123456789abcdef"), "endpoint OPEN 2026-03-01 09:04:00")
	require.Contains(t, r.row("webhook:0123456789abcdef"), "worker on w1, process 12")
	require.Contains(t, r.row("claude"), "agent HALF OPEN")
	require.Contains(t, r.row("destination:a/b c"), "endpoint CLOSED 2026-03-01 09:03:00")
	text := r.text()
	require.Less(t, strings.Index(text, "webhook:0123"), strings.Index(text, "claude"), "what is open comes first")
	require.Contains(t, text, "<b>change 4</b>")
	require.NotContains(t, text, "theirs", "another tenant's")
	for _, link := range []string{"/console/destinations/a%2Fb%20c", "/console/agents/claude", "/console/breakers?kind=endpoint&name=webhook%3A0123456789abcdef"} {
		require.Contains(t, r.links(), link)
	}

	r = s.get("/console/breakers?state=OPEN&kind=endpoint")
	require.Contains(t, r.text(), "webhook:0123456789abcdef")
	require.NotContains(t, r.text(), "claude")
	require.Contains(t, r.text(), "change 1<", "it opened once")
	require.NotContains(t, r.text(), "change 2<")
	r = s.get("/console/breakers?kind=agent&name=claude")
	require.Contains(t, r.text(), "change 7<")
	require.NotContains(t, r.text(), "webhook")
	r = s.get("/console/breakers?state=CLOSED&kind=agent")
	require.Contains(t, r.text(), "No breaker is like this now")

	for query, message := range map[string]string{
		"state=WRONG": "There is no such state.", "kind=wrong": "There is no such kind.", "name=claude": "Choose the kind of the breaker with this name.",
	} {
		r = s.get("/console/breakers?" + query)
		require.Equal(t, http.StatusUnprocessableEntity, r.StatusCode, query)
		require.Contains(t, r.text(), message)
		require.Contains(t, r.body, `aria-invalid="true"`)
	}
	require.Equal(t, http.StatusUnprocessableEntity, s.get("/console/breakers?cursor=nonsense").StatusCode)

	// Pages: 60 more changes are 66 of this tenant and of agents.
	for range 30 {
		record("default", breakers.Endpoint, "email", breakers.Open, breakers.HalfOpen, breakers.Open)
	}
	r = s.get("/console/breakers")
	require.Contains(t, r.text(), "change 67<")
	require.NotContains(t, r.text(), "change 17<")
	next := r.links()[slices.IndexFunc(r.links(), func(l string) bool { return strings.Contains(l, "cursor=") })]
	r = s.get(next)
	require.Contains(t, r.text(), "change 17<")
	require.Contains(t, r.text(), "change 1<")
	require.NotContains(t, r.text(), "change 18<")
	require.Contains(t, r.links(), "/console/breakers")
}

// What an endpoint's breaker does in the process's own gate comes to the page under its name.
func TestBreakerOfDestination(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(receiver.Close)
	s := newSite(t, "BREAKER_FAILURES", "1", "BREAKER_AFTER", "0s", "WEBHOOK_ALLOW_PRIVATE", "true")
	s.api(http.MethodPost, "/v1/destinations", fmt.Sprintf(`{"name": "ops", "channel": "webhook", "url": %q}`, receiver.URL+"/secret-path"), http.StatusCreated)
	s.api(http.MethodPost, "/v1/deliveries", `{"alert_id": "a", "user_id": "ada", "title": "t", "message": "m", "channels": {"destination": ["ops"]}}`, http.StatusOK)
	r := s.eventually("/console/breakers?"+url.Values{"kind": {"endpoint"}, "name": {"destination:ops"}}.Encode(), "An attempt failed with the cause http_5xx; the next probe comes after 30s.")
	require.Contains(t, r.row("destination:ops"), "OPEN")
	require.Contains(t, r.links(), "/console/destinations/ops")
	require.NotContains(t, r.body, "secret-path")
}
