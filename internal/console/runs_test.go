package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/dawsos/dawsos/internal/sample"
)

// ran runs a pattern, waits until that is recorded and returns the run's id. A run that fails has none in its
// answer: it is the newest.
func (s *site) ran(pattern, inputs string, status int) string {
	s.t.Helper()
	answer := s.api(http.MethodPost, "/v1/patterns/"+pattern+"/execute?record=true", `{"inputs": `+inputs+`}`, status)
	if id := gjson.Get(answer, "run_id").String(); id != "" {
		return id
	}
	return gjson.Get(s.api(http.MethodGet, "/v1/runs?limit=1", "", http.StatusOK), "items.0.id").String()
}

func (s *site) overview(more string) string {
	s.t.Helper()
	return s.ran("portfolio_overview", `{"portfolio_id": "`+sample.PortfolioID()+`"`+more+`}`, http.StatusOK)
}

func (s *site) change(query string, args ...any) {
	s.t.Helper()
	tag, err := s.pool.Exec(s.t.Context(), query, args...)
	require.NoError(s.t, err)
	require.Equal(s.t, int64(1), tag.RowsAffected())
}

// runs are the ids of the runs that a list shows, in its order.
func (r response) runs() []string {
	var list []string
	for _, link := range r.links() {
		if id, ok := strings.CutPrefix(link, "/console/runs/"); ok && len(id) == 36 {
			list = append(list, id)
		}
	}
	return list
}

func TestRunsEmpty(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	page := s.get("/console/runs")
	requireOrderly(t, page, "/console/runs")
	require.Contains(t, page.text(), "Nothing has been run yet")
	require.NotContains(t, page.text(), "Compare two runs")
	page = s.get("/console/runs?outcome=error")
	require.Contains(t, page.text(), "No run fits these filters")
	require.Contains(t, page.links(), "/console/runs")
}

func TestRunsAreListedAndFiltered(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	first := s.overview("")
	again := s.overview("")
	failed := s.ran("portfolio_scenario_analysis", `{"portfolio_id": "`+sample.PortfolioID()+`"}`, http.StatusUnprocessableEntity)
	macro := s.ran("macro_cycles_overview", `{}`, http.StatusOK)

	page := s.get("/console/runs")
	require.Equal(t, []string{macro, failed, again, first}, page.runs())
	text := page.text()
	require.Contains(t, text, "0 of 6 cached")
	require.Contains(t, text, "6 of 6 cached")
	require.Contains(t, text, "error invalid")
	require.Contains(t, text, "Sample CHF")
	require.NotNil(t, page.byID("runs"))
	require.True(t, hasAttribute(page.byID("runs"), "data-live"))

	for _, filter := range []struct {
		query string
		want  []string
	}{
		{"pattern_id=portfolio_overview", []string{again, first}},
		{"pattern_id=gone", nil},
		{"outcome=error", []string{failed}},
		{"outcome=success&pattern_id=macro_cycles_overview", []string{macro}},
		{"portfolio_id=" + sample.PortfolioID(), []string{failed, again, first}},
		{"portfolio_id=" + strings.Repeat("0", 8) + "-0000-7000-8000-000000000000", nil},
		{"portfolio_id=" + sample.PortfolioID() + "&outcome=error", []string{failed}},
		{"since=2020-01-01T00:00", []string{macro, failed, again, first}},
		{"until=2020-01-01", nil},
	} {
		query, want := filter.query, filter.want
		page := s.get("/console/runs?" + query)
		require.Equal(t, http.StatusOK, page.StatusCode, query)
		require.Equal(t, want, page.runs(), query)
		for name, values := range mustQuery(t, query) {
			require.NotNil(t, page.byID(name), "%s stays in the form", name)
			require.Contains(t, page.body, strings.Split(values[0], "T")[0], query)
		}
	}
	// To the microsecond, as links of insights have it.
	started := gjson.Get(s.api(http.MethodGet, "/v1/runs/"+again, "", http.StatusOK), "started_at").Time().UTC()
	exact := started.Format("2006-01-02T15:04:05.999999")
	require.Equal(t, []string{macro, failed, again}, s.get("/console/runs?since="+url.QueryEscape(exact)).runs())
	require.Equal(t, []string{first}, s.get("/console/runs?until="+url.QueryEscape(exact)).runs())

	for query, says := range map[string]string{
		"since=yesterday":   "Must be a time such as",
		"until=2020-13-01":  "Must be a time such as",
		"portfolio_id=mine": "Must be the id of a portfolio",
		"outcome=maybe":     "Must be success or error",
	} {
		page := s.get("/console/runs?" + query)
		require.Equal(t, http.StatusUnprocessableEntity, page.StatusCode, query)
		require.Contains(t, page.text(), says)
		name, value, _ := strings.Cut(query, "=")
		require.Equal(t, []string{name}, page.invalidFields(t))
		if name != "outcome" {
			require.Contains(t, page.body, `value="`+value+`"`, "what was typed stays")
		}
		require.Empty(t, page.runs())
		require.NotContains(t, page.text(), "No run fits")
	}
	require.Equal(t, http.StatusUnprocessableEntity, s.get("/console/runs?cursor=x").StatusCode)
}

func TestRunsArePaged(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	run := s.overview("")
	_, err := s.pool.Exec(t.Context(), `
		INSERT INTO pattern_runs
		SELECT gen_random_uuid(), tenant_id, request_id, trace_id, user_id, pattern_id, definition_hash, inputs, asof, require_fresh,
			pricing_pack_id, pricing_pack_date, pricing_pack_revision, pricing_pack_hash, portfolio_id, base_currency, ledger_version, ledger_seq,
			started_at - n * interval '1 second', duration_seconds, outcome, error_code, error_detail, warnings, data_hash, trace
		FROM pattern_runs, generate_series(1, 119) AS n`)
	require.NoError(t, err)
	seen := map[string]bool{}
	path, pages := "/console/runs?pattern_id=portfolio_overview", 0
	for path != "" {
		page := s.get(path)
		require.Equal(t, http.StatusOK, page.StatusCode)
		for _, id := range page.runs() {
			require.False(t, seen[id], "twice")
			seen[id] = true
		}
		if pages++; pages == 1 {
			require.Equal(t, run, page.runs()[0])
			require.Len(t, page.runs(), 50)
		}
		path = page.byRel("next")
		require.True(t, path == "" || strings.Contains(path, "pattern_id=portfolio_overview"))
	}
	require.Equal(t, 3, pages)
	require.Len(t, seen, 120)
}

func TestRecordedRun(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	earlier := s.overview("")
	run := s.overview(`, "lookback_days": 63`)
	answer := s.api(http.MethodGet, "/v1/runs/"+run, "", http.StatusOK)
	path := "/console/runs/" + run
	page := s.get(path)
	requireOrderly(t, page, path)
	text := page.text()
	for _, fact := range []string{"data_hash", "definition_hash", "request_id", "context.pricing_pack.id", "context.portfolio.ledger_version"} {
		require.Contains(t, text, gjson.Get(answer, fact).String(), fact)
	}
	for _, step := range gjson.Get(answer, "trace.steps.#.as").Array() {
		require.Contains(t, text, step.String())
	}
	require.Contains(t, text, "lookback days 63 portfolio id "+sample.PortfolioID()+" risk free annual not given")
	require.Contains(t, text, "has the hash that was recorded: it is the same, byte for byte")
	require.Contains(t, text, "CH_CONS", "the result's rows")
	require.Positive(t, strings.Count(page.body, `<figure class="chart"`))
	require.Contains(t, page.body, `<option value="`+earlier+`"`)
	require.Contains(t, page.links(), "/console/packs/"+gjson.Get(answer, "pricing_pack_id").String())
	var form string
	for _, link := range page.links() {
		if strings.HasPrefix(link, "/console/patterns/portfolio_overview?") {
			form = link
		}
	}
	require.Contains(t, form, "lookback_days=63")
	require.Contains(t, form, "_asof="+gjson.Get(answer, "asof").String())
	require.NotContains(t, form, "risk_free_annual")
	require.Equal(t, http.StatusOK, s.get(form).StatusCode)
	require.Equal(t, 2, s.number(`SELECT count(*) FROM pattern_runs`), "to look at a run is no run")

	require.NotContains(t, s.get("/console/runs/"+earlier).body, `<option value="`+run+`"`, "a later run is no earlier one")
	require.Contains(t, s.get("/console/runs/"+earlier).text(), "There is no earlier run of this pattern.")
	require.Equal(t, http.StatusNotFound, s.get("/console/runs/nothing").StatusCode)
	require.Equal(t, http.StatusNotFound, s.get("/console/runs/00000000-0000-7000-8000-000000000000").StatusCode)
}

func TestRecordedRunThatFailed(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	run := s.ran("portfolio_scenario_analysis", `{"portfolio_id": "`+sample.PortfolioID()+`"}`, http.StatusUnprocessableEntity)
	page := s.get("/console/runs/" + run)
	requireOrderly(t, page, "/console/runs/"+run)
	require.Contains(t, page.text(), "give scenario_id")
	require.Contains(t, page.text(), "The run failed, so it has no result.")
	replayed := s.post("/console/runs/"+run+"/replay", nil)
	require.Equal(t, http.StatusOK, replayed.StatusCode, replayed.body)
	require.Contains(t, replayed.text(), "The replay failed as the run of")
	require.Contains(t, replayed.text(), "with code invalid")
}

func TestReplay(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	run := s.overview("")
	page := s.post("/console/runs/"+run+"/replay", nil)
	requireOrderly(t, page, "replay")
	require.Contains(t, page.text(), "The replay gave the same result")
	require.NotContains(t, page.text(), "Where it differs")
	var compared, again string
	for _, link := range page.links() {
		if strings.Contains(link, "/compare?") {
			compared = link
		} else if id, ok := strings.CutPrefix(link, "/console/runs/"); ok && id != run {
			again = id
		}
	}
	require.Contains(t, compared, "a="+run)
	require.Contains(t, compared, "b="+again)
	require.Eventually(t, func() bool { return s.get("/console/runs/"+again).StatusCode == http.StatusOK }, time.Minute, 20*time.Millisecond, "it is recorded")
	page = s.get(compared)
	requireOrderly(t, page, compared)
	require.Contains(t, page.text(), "The results are the same, byte for byte.")
	require.Contains(t, page.text(), "positions ledger.positions success")

	require.Equal(t, http.StatusForbidden, s.do(http.MethodPost, "/console/runs/"+run+"/replay", nil, "Sec-Fetch-Site", "cross-site").StatusCode)
	require.Equal(t, http.StatusMethodNotAllowed, s.get("/console/runs/"+run+"/replay").StatusCode)
	require.Equal(t, http.StatusNotFound, s.post("/console/runs/00000000-0000-7000-8000-000000000000/replay", nil).StatusCode)
}

// What was recorded can't be given again: the pages say so and show nothing as if it were that.
func TestRunsThatAreNotReproduced(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	run := s.overview("")
	other := s.overview(`, "lookback_days": 63`)
	s.change(`UPDATE pattern_runs SET data_hash = repeat('00', 32), definition_hash = 'old' WHERE id = $1`, run)
	page := s.get("/console/runs/" + run)
	require.Contains(t, page.text(), "does not have the hash that was recorded: the pattern's definition has changed since")
	require.Contains(t, page.text(), "It has changed since.")
	page = s.post("/console/runs/"+run+"/replay", nil)
	require.Contains(t, page.text(), "The replay gave another result")
	require.Contains(t, page.text(), "Which values differ can't be told")
	require.Contains(t, page.text(), strings.Repeat("00", 32))
	require.Contains(t, page.text(), "definition has changed since that run")
	page = s.get("/console/runs/compare?a=" + run + "&b=" + other)
	require.Contains(t, page.text(), "A: what is compared is not what was recorded: the pattern's definition has changed since.")
	require.NotContains(t, page.text(), "B: what is compared")

	s.change(`UPDATE pattern_runs SET trace = replace(trace::text, '"capabilities_used":[', '"capabilities_used":["model.guess",')::json WHERE id = $1`, run)
	page = s.get("/console/runs/" + run)
	require.Contains(t, page.text(), "it is not shown unasked, since model.guess may answer otherwise by now")
	require.NotContains(t, page.body, `<figure class="chart"`)

	s.change(`UPDATE pattern_runs SET pattern_id = 'gone' WHERE id = $1`, run)
	page = s.get("/console/runs/" + run)
	requireOrderly(t, page, "a run of a pattern that is gone")
	require.Contains(t, page.text(), "This run can't be replayed: its pattern is no longer served.")
	require.Contains(t, page.text(), "the pattern gone that would give it again is no longer served")
	require.Equal(t, http.StatusNotFound, s.post("/console/runs/"+run+"/replay", nil).StatusCode)
	page = s.get("/console/runs/compare?a=" + run + "&b=" + other)
	requireOrderly(t, page, "compare")
	require.Contains(t, page.text(), "The results can't be compared")
	require.Contains(t, s.get("/console/runs?pattern_id=gone").runs(), run)
}

// A failure is told as one: what can't be read is no empty list.
func TestRunPagesWithoutTheirData(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	run := s.overview("")
	_, err := s.pool.Exec(t.Context(), `ALTER TABLE pattern_runs RENAME TO elsewhere`)
	require.NoError(t, err)
	for _, path := range []string{"/console/runs", "/console/runs/" + run, "/console/runs/compare?a=" + run + "&b=" + run, "/console/insights"} {
		page := s.get(path)
		require.Equal(t, http.StatusInternalServerError, page.StatusCode, path)
		require.NotContains(t, page.text(), "Nothing", "missing data is no empty list")
		require.NotContains(t, page.text(), "pattern_runs")
	}
}

func TestCompareRuns(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	a := s.overview("")
	b := s.overview(`, "lookback_days": 63`)
	path := fmt.Sprintf("/console/runs/compare?a=%s&b=%s", a, b)
	page := s.get(path)
	requireOrderly(t, page, path)
	text := page.text()
	require.Contains(t, text, "lookback days 252 63 differs")
	require.Contains(t, text, "portfolio id "+sample.PortfolioID()+" "+sample.PortfolioID()+" same")
	require.Regexp(t, `\d+ values differ, \d+ are the same\.`, text)
	require.Regexp(t, `perf_metrics\.twr changed \S+ \S+ [+-]\S+ [+-]\S+ %`, text)
	require.Contains(t, text, "positions ledger.positions success")
	require.Contains(t, page.links(), fmt.Sprintf("/console/runs/compare?a=%s&b=%s", b, a), "swapped")
	require.Equal(t, 2, s.number(`SELECT count(*) FROM pattern_runs`), "to compare is no run")

	// The list's form sends both as run, in the order of the list.
	sent := s.get("/console/runs/compare?run=" + b + "&run=" + a)
	require.Equal(t, http.StatusSeeOther, sent.StatusCode)
	require.Equal(t, path, sent.Header.Get("Location"))
	wrong := s.get("/console/runs/compare?run=" + a)
	require.Equal(t, http.StatusUnprocessableEntity, wrong.StatusCode)
	require.Contains(t, wrong.text(), "One run is chosen, two are compared.")
	require.Contains(t, s.get("/console/runs/compare?run="+a+"&run="+b+"&run="+b).text(), "3 runs are chosen, two are compared.")
	require.Contains(t, s.get("/console/runs/compare?a="+a).text(), "Choose two runs")
	require.Equal(t, http.StatusNotFound, s.get("/console/runs/compare?a="+a+"&b=nothing").StatusCode)

	macro := s.ran("macro_cycles_overview", `{}`, http.StatusOK)
	page = s.get("/console/runs/compare?a=" + a + "&b=" + macro)
	requireOrderly(t, page, "two patterns")
	require.Contains(t, page.text(), "Pattern portfolio_overview macro_cycles_overview differs")
	require.Contains(t, page.text(), "lookback days 252 not given differs")
	require.Contains(t, page.text(), "not there")
	require.Contains(t, page.text(), "removed")
	require.Contains(t, page.text(), "added")
}
