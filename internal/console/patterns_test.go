package console_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/dawsos/dawsos/internal/sample"
)

func TestCatalogue(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.get("/console/patterns")
	require.Equal(t, http.StatusOK, r.StatusCode, r.body)
	require.Contains(t, r.text(), "12 of 12 patterns")
	require.Contains(t, r.links(), "/console/patterns/portfolio_overview")
	r = s.get("/console/patterns?q=HEDGES")
	require.NotContains(t, r.links(), "/console/patterns/portfolio_overview")
	r = s.get("/console/patterns?q=no+such+words")
	require.Contains(t, r.text(), "No pattern has these words")
	require.Equal(t, http.StatusNotFound, s.get("/console/patterns/nothing").StatusCode)
}

// A link fills the form in and runs nothing.
func TestPatternForm(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	r := s.get("/console/patterns/portfolio_overview?lookback_days=63&_asof=2026-06-30")
	require.Equal(t, http.StatusOK, r.StatusCode, r.body)
	require.Contains(t, r.body, `name="lookback_days" type="text" inputmode="decimal" value="63"`)
	require.Contains(t, r.body, `value="2026-06-30"`)
	require.Contains(t, r.body, `<option value="`+sample.PortfolioID()+`"`)
	require.Equal(t, int64(0), gjson.Get(s.api(http.MethodGet, "/v1/runs", "", http.StatusOK), "items.#").Int())
	for _, d := range gjson.Get(s.api(http.MethodGet, "/v1/patterns", "", http.StatusOK), "items.#.id").Array() {
		require.Equal(t, http.StatusOK, s.get("/console/patterns/"+d.String()).StatusCode, d)
		r := s.get("/console/patterns/" + d.String() + "/definition")
		require.Equal(t, http.StatusOK, r.StatusCode, r.body)
		require.Contains(t, r.body, "<rect")
	}
}

// Without a script the form's answer is the page with the result, whose figures are those of the API.
func TestRunPattern(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	r := s.post("/console/patterns/portfolio_overview/run", url.Values{"portfolio_id": {sample.PortfolioID()}, "lookback_days": {"126"}})
	require.Equal(t, http.StatusOK, r.StatusCode, r.body)
	answer := s.api(http.MethodPost, "/v1/patterns/portfolio_overview/execute", `{"inputs": {"portfolio_id": "`+sample.PortfolioID()+`", "lookback_days": 126}}`, http.StatusOK)
	text := r.text()
	require.Contains(t, text, gjson.Get(answer, "data_hash").String())
	for _, step := range gjson.Get(answer, "trace.steps.#.as").Array() {
		require.Contains(t, text, step.String())
	}
	for _, symbol := range gjson.Get(answer, "data.valued_positions.positions.#.symbol").Array() {
		require.Contains(t, text, symbol.String())
	}
	require.Equal(t, len(gjson.Get(answer, "charts").Array()), strings.Count(r.body, `<figure class="chart"`))
	run := gjson.Get(s.api(http.MethodGet, "/v1/runs", "", http.StatusOK), "items.#.id").Array()
	require.NotEmpty(t, run)
	require.Contains(t, r.links(), "/console/runs/"+run[len(run)-1].String())
}

func TestRunPatternRefusals(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	for name, c := range map[string]struct {
		form url.Values
		says string
	}{
		"bounds":     {url.Values{"portfolio_id": {sample.PortfolioID()}, "lookback_days": {"0"}}, "1 to 10000"},
		"no number":  {url.Values{"portfolio_id": {sample.PortfolioID()}, "lookback_days": {"many"}}, "is no integer in JSON"},
		"no day":     {url.Values{"portfolio_id": {sample.PortfolioID()}, "_asof": {"yesterday"}}, "must be a day"},
		"missing":    {url.Values{}, "required"},
		"no uuid":    {url.Values{"portfolio_id": {"x"}}, "UUID"},
		"trailing":   {url.Values{"portfolio_id": {sample.PortfolioID()}, "lookback_days": {"63]"}}, "is no integer in JSON"},
		"unfinished": {url.Values{"portfolio_id": {sample.PortfolioID()}, "lookback_days": {"63 "}, "include_charts": {"tr"}}, "is no boolean in JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.post("/console/patterns/portfolio_overview/run", c.form)
			require.Equal(t, http.StatusUnprocessableEntity, r.StatusCode, r.body)
			require.Contains(t, strings.ToLower(r.text()), strings.ToLower(c.says))
			require.Contains(t, r.body, `aria-invalid="true"`)
			for field, values := range c.form {
				require.Contains(t, r.body, strings.TrimSpace(values[0]), field)
			}
		})
	}
	r := s.post("/console/patterns/portfolio_overview/run", url.Values{"portfolio_id": {"00000000-0000-7000-8000-000000000000"}})
	require.Equal(t, http.StatusNotFound, r.StatusCode)
}

// The page's script gets each step's beginning and end, and last the page's content.
func TestRunPatternStream(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	r := s.post("/console/patterns/portfolio_overview/run", url.Values{"portfolio_id": {sample.PortfolioID()}}, "Accept", "text/event-stream", "HX-Request", "true")
	require.Equal(t, http.StatusOK, r.StatusCode, r.body)
	require.Equal(t, "text/event-stream", r.Header.Get("Content-Type"))
	began, ended, done := 0, 0, ""
	for event := range strings.SplitSeq(strings.TrimSpace(r.body), "\n\n") {
		name, data, ok := strings.Cut(strings.TrimPrefix(event, "event: "), "\ndata: ")
		require.True(t, ok, event)
		require.True(t, json.Valid([]byte(data)))
		switch name {
		case "step":
			if gjson.Get(data, "type").String() == "step_started" {
				began++
			} else {
				ended++
			}
		case "done":
			done = gjson.Get(data, "html").String()
		default:
			require.Fail(t, event)
		}
	}
	require.Equal(t, 6, began)
	require.Equal(t, 6, ended)
	require.Contains(t, done, `class="waterfall"`)
	require.NotContains(t, done, "<!doctype")
}

// slowAgent is a service whose calls last until nobody waits for them, and a pattern about a portfolio that
// asks it: the settings of a site with the two.
func slowAgent(t *testing.T) []string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			_, _ = io.Copy(io.Discard, r.Body) // only then a server sees that its client has left
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"protocol": "1", "agent": {"name": "slow"}, "capabilities": [{"name": "slow.think", "description": "Thinks.", "purity": "read"}]}`)
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "agents.yaml"), fmt.Appendf(nil, "agents:\n  slow:\n    timeout: 1m\n    remote: {url: %s}\n", server.URL), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "patterns"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "patterns", "thoughts.json"), []byte(`{
		"id": "thoughts", "name": "Thoughts", "description": "They take long.",
		"inputs": {"portfolio_id": {"type": "uuid", "required": true, "description": "The portfolio."}},
		"steps": [{"capability": "slow.think", "as": "thought"}], "outputs": ["thought"]}`), 0o600))
	return []string{"AGENTS_FILE", filepath.Join(dir, "agents.yaml"), "PATTERNS_DIR", filepath.Join(dir, "patterns")}
}

// A run that uses up all of the request's time leaves none for its page, which says all the same what there
// was of the run and holds what was asked.
func TestRunPatternOutOfTime(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t, append(slowAgent(t), "REQUEST_TIMEOUT", "2s")...)
	form := url.Values{"portfolio_id": {sample.PortfolioID()}, "_stale": {"yes"}}

	r := s.post("/console/patterns/thoughts/run", form)
	require.Equal(t, http.StatusGatewayTimeout, r.StatusCode, r.text())
	require.Contains(t, r.text(), "The run failed")
	require.Contains(t, r.text(), "code timeout")
	require.Contains(t, r.row("thought"), "slow.think")
	require.Contains(t, r.body, `<option value="`+sample.PortfolioID()+`" selected`)
	require.Contains(t, r.body, `name="_stale" value="yes" checked`)

	r = s.post("/console/patterns/thoughts/run", form, "Accept", "text/event-stream", "HX-Request", "true")
	_, data, ok := strings.Cut(r.body, "event: done\ndata: ")
	require.True(t, ok, r.body)
	require.Equal(t, int64(http.StatusGatewayTimeout), gjson.Get(data, "status").Int())
	require.Contains(t, gjson.Get(data, "html").String(), `class="waterfall"`)
	require.Contains(t, gjson.Get(data, "html").String(), `name="_stale" value="yes" checked`)
}
