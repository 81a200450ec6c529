package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
)

// send posts a file and returns the status and the decoded answer.
func (s *system) send(path, contentType, body string) (int, map[string]any) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.apiAddr+path, strings.NewReader(body))
	require.NoError(s.t, err)
	request.Header.Set("Content-Type", contentType)
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	var answer map[string]any
	require.NoError(s.t, json.NewDecoder(bytes.NewReader(raw)).Decode(&answer), "%s", raw)
	return response.StatusCode, answer
}

// load imports a CSV file that must be taken.
func (s *system) load(kind, csv string) {
	s.t.Helper()
	status, answer := s.send("/v1/imports/"+kind, "text/csv", csv)
	require.Equal(s.t, http.StatusOK, status, "%v", answer)
}

// TestPatternsOfImportedData imports what four patterns lack, waits until the worker has made the pricing
// packs fresh, and runs them.
func TestPatternsOfImportedData(t *testing.T) {
	t.Parallel()
	databaseURL, portfolio := loaded(t)
	s := prepare(t, databaseURL)
	s.startAPI()
	pool := dbtest.Connect(t, databaseURL)
	var security string
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT id FROM securities WHERE symbol = 'EMR'`).Scan(&security))
	ask := func(id string) map[string]any {
		inputs := json.RawMessage(fmt.Sprintf(patternRuns[id].inputs+"%[3]s", portfolio, security, ""))
		var data map[string]any
		require.NoError(t, json.Unmarshal(s.run(t, id, inputs).Data, &data))
		return data
	}
	require.Nil(t, at(ask("buffett_checklist"), "moat_strength/score"))

	// Figures of one company, known since April.
	var fundamentals strings.Builder
	fundamentals.WriteString("symbol,provider,metric,date,period_end,value\n")
	for metric, value := range map[string]float64{
		"payout_ratio_5y": 0.45, "fcf_dividend_cover": 2.4, "dividend_growth_years": 50, "net_cash": -2.5e9, "market_cap": 35e9,
		"roe_5y": 0.21, "gross_margin": 0.36, "intangibles_share": 0.33, "switching_costs": 7,
		"debt_to_equity": 0.55, "total_equity": 8e9, "interest_coverage": 14, "current_ratio": 1.3, "operating_margin_sd": 0.012,
	} {
		fmt.Fprintf(&fundamentals, "EMR,fmp,%s,2007-04-02,2006-09-30,%v\n", metric, value)
	}
	s.load("fundamentals", fundamentals.String())
	s.load("news", "id,published_at,title,source,symbols,sentiment\n"+
		"n1,2007-05-08T09:00:00Z,Emerson raises its outlook,wire,EMR,0.8\n"+
		"n2,2007-05-08T10:00:00Z,Alcoa under pressure,wire,AA,-0.5\n")
	// Fifteen years of debt, month by month.
	var debt strings.Builder
	debt.WriteString("series,date,value,unit,frequency,origin\n")
	for month, i := time.Date(1990, time.January, 1, 0, 0, 0, 0, time.UTC), 0; month.Year() < 2007; month, i = month.AddDate(0, 3, 0), i+1 {
		end := month.AddDate(0, 3, -1).Format(time.DateOnly)
		wave := float64(i%13) / 10
		fmt.Fprintf(&debt, "QUSPAM770A,%s,%.2f,percent,quarterly,test\n", end, 110+0.7*float64(i)+wave)
		fmt.Fprintf(&debt, "TDSP,%s,%.2f,percent,quarterly,test\n", end, 10.5+0.03*float64(i)+wave/2)
		fmt.Fprintf(&debt, "BAA10Y,%s,%.2f,percent,quarterly,test\n", end, 1.9+wave/3)
	}
	s.load("macro", debt.String())

	// Nobody reconciles the packs that the imports made: runs that would read them are refused, with what an
	// operator has to know.
	inputs := fmt.Sprintf(`{"inputs": {"portfolio_id": %q}, "asof": "2007-05-08"}`, portfolio)
	status, problem := s.send("/v1/patterns/portfolio_overview/execute", "application/json", inputs)
	require.Equal(t, http.StatusServiceUnavailable, status, "%v", problem)
	require.Equal(t, "pricing_pack_warming", problem["code"])
	require.Equal(t, "warming", at(problem, "pricing_pack/state"), "%v", problem)

	s.startWorker()
	s.eventually("the packs are fresh", func(ctx context.Context) error {
		var warming int
		if err := pool.QueryRow(ctx, `SELECT count(*) FROM pricing_packs WHERE state = 'warming'`).Scan(&warming); err != nil {
			return err
		}
		if warming > 0 {
			return fmt.Errorf("%d are warming", warming)
		}
		return nil
	})
	status, answer := s.send("/v1/patterns/portfolio_overview/execute", "application/json", inputs)
	require.Equal(t, http.StatusOK, status, "%v", answer)
	require.Equal(t, "1444808.19", at(answer, "data/valued_positions/total_value"), "the imports changed no price")

	checklist := ask("buffett_checklist")
	for _, path := range []string{"dividend_safety/score", "moat_strength/score", "resilience/score", "explanation/text"} {
		require.NotNil(t, at(checklist, path), "%s of %v", path, checklist)
	}
	news := ask("news_impact_analysis")
	// The weights are 166,045.03 and 77,720.70 of 1,444,808.19.
	require.InDelta(t, 0.8*166045.033338/1444808.19+0.5*77720.697084/1444808.19, at(news, "impact_analysis/total_impact"), 1e-8, "%v", news)
	cycles := ask("macro_cycles_overview")
	require.NotNil(t, at(cycles, "ltdc/phase"), "%v", cycles["ltdc"])
	deleveraging := ask("cycle_deleveraging_scenarios")
	for _, path := range []string{
		"money_printing/delta", "austerity/delta", "default/delta", "hedge_suggestions",
	} {
		require.NotNil(t, at(deleveraging, path), "%s of %v", path, deleveraging)
	}

	// The order of the jobs is on record, each after the one before.
	var jobs []string
	rows, err := pool.Query(t.Context(), `SELECT job FROM job_runs WHERE status = 'succeeded' AND job IN
		('build_packs', 'reconcile_packs', 'compute_metrics', 'mark_fresh') ORDER BY ended_at`)
	require.NoError(t, err)
	for rows.Next() {
		var job string
		require.NoError(t, rows.Scan(&job))
		jobs = append(jobs, job)
	}
	require.NoError(t, rows.Err())
	require.Subset(t, jobs, []string{"build_packs", "reconcile_packs", "compute_metrics", "mark_fresh"})
	require.Equal(t, "build_packs", jobs[0])

	status, problem = s.send("/v1/imports/prices", "text/csv", "symbol,date,close,currency\nSBI,2007-05-09,0,CHF\nNOPE,2007-05-09,1,CHF\nEMR,soon,1,USD\nEMR,2007-05-09,1,CHF\n")
	require.Equal(t, http.StatusUnprocessableEntity, status)
	var pointers []string
	for _, e := range problem["errors"].([]any) {
		pointers = append(pointers, e.(map[string]any)["pointer"].(string))
	}
	require.Subset(t, pointers, []string{"/2/close", "/3/symbol", "/4/date", "/5/currency"})
}
