package console_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
	"golang.org/x/net/html"

	"github.com/dawsos/dawsos/internal/sample"
)

func TestInsightsEmpty(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, span := range []string{"", "?span=hour", "?span=day", "?span=week"} {
		page := s.get("/console/insights" + span)
		requireOrderly(t, page, span)
		require.Contains(t, page.text(), "Nothing was run in this time")
		require.NotContains(t, page.body, `<figure class="chart"`)
	}
	require.Equal(t, http.StatusUnprocessableEntity, s.get("/console/insights?span=year").StatusCode)
}

// Every number of runs leads to a list of as many.
func TestInsights(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	first := s.overview("")
	s.overview("")
	s.overview(`, "lookback_days": 63`)
	s.ran("portfolio_scenario_analysis", `{"portfolio_id": "`+sample.PortfolioID()+`"}`, http.StatusUnprocessableEntity)
	long := s.overview("")
	s.change(`UPDATE pattern_runs SET duration_seconds = 90 WHERE id = $1`, long)
	old := s.overview("")
	s.change(`UPDATE pattern_runs SET started_at = started_at - interval '3 days' WHERE id = $1`, old)

	page := s.get("/console/insights")
	requireOrderly(t, page, "/console/insights")
	text := page.text()
	require.Contains(t, text, "5 runs .")
	require.Contains(t, text, "90 s")
	require.Equal(t, long, page.runs()[0], "the slowest run")
	require.NotContains(t, page.runs(), old)
	require.Contains(t, page.runs(), first)
	require.Contains(t, text, "perf_metrics Portfolio overview metrics.compute_twr 4")
	require.Equal(t, 2, strings.Count(page.body, `<figure class="chart"`))
	require.Nil(t, page.byID("runs"))
	require.NotContains(t, page.body, "data-live", "its period moves with time")

	// Cached steps of those that were not skipped, as the records have them.
	cached, all := 0, 0
	for _, run := range gjson.Get(s.api(http.MethodGet, "/v1/runs?pattern_id=portfolio_overview", "", http.StatusOK), "items.#.id").Array() {
		if run.String() == old {
			continue
		}
		for _, step := range gjson.Get(s.api(http.MethodGet, "/v1/runs/"+run.String(), "", http.StatusOK), "trace.steps.#.status").Array() {
			if step.String() != "skipped" {
				all++
			}
			if step.String() == "cached" {
				cached++
			}
		}
	}
	require.Equal(t, 24, all)
	require.Positive(t, cached)
	require.Contains(t, text, fmt.Sprintf("%.1f %% of 24 steps", 100*float64(cached)/float64(all)))

	counted := 0
	for n := range page.tree.Descendants() {
		if n.Type != html.ElementNode || n.Data != "a" || !strings.HasPrefix(attribute(n, "href"), "/console/runs?") {
			continue
		}
		label := strings.Fields(n.FirstChild.Data)
		if len(label) == 2 && label[1] == "steps" {
			continue
		}
		list := s.get(attribute(n, "href"))
		require.Equal(t, http.StatusOK, list.StatusCode)
		number, err := strconv.Atoi(label[0])
		require.NoError(t, err)
		require.Len(t, list.runs(), number, attribute(n, "href"))
		counted++
	}
	require.Greater(t, counted, 10)

	week := s.get("/console/insights?span=week")
	require.Contains(t, week.text(), "6 runs .")
}
