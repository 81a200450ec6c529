package reports_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/agents/agenttest"
	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/agents/charts"
	"github.com/dawsos/dawsos/internal/agents/macrohound"
	"github.com/dawsos/dawsos/internal/agents/reports"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/factor"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/macro"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// broken is the agent of charts on a bad day.
type broken struct{ agent.Agent }

func (b broken) Capabilities() []agent.Capability {
	all := b.Agent.Capabilities()
	for i := range all {
		all[i].Run = func(context.Context, agent.Request) (agent.Result, error) {
			return agent.Result{}, errors.New("out of ink")
		}
	}
	return all
}

// engine runs the two shipped patterns over a database.
func engine(t *testing.T, db *store.Store, drawing agent.Agent) *patterns.Orchestrator {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"portfolio_overview.json", "export_portfolio_report.json"} {
		raw, err := os.ReadFile(filepath.Join(agenttest.Configs("patterns"), name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), raw, fs.FileMode(0o600)))
	}
	factors, err := factor.Load(agenttest.Configs("analytics"))
	require.NoError(t, err)
	economy, err := macro.LoadConfig(agenttest.Configs("analytics"))
	require.NoError(t, err)
	registry := prometheus.NewRegistry()
	runtime, err := agents.New(agents.Config{}, []agent.Agent{
		analyst.New(db, db, analyst.Options{RiskFreeSeries: agenttest.RiskFree, Factors: factors}), macrohound.New(db, economy), drawing, reports.New(),
	}, agents.Options{Registerer: registry, Metrics: agents.NewMetrics(registry)})
	require.NoError(t, err)
	o, err := patterns.New(dir, runtime, store.NewContexts(db), patterns.Options{Registerer: registry})
	require.NoError(t, err)
	require.Len(t, o.Definitions(), 2)
	return o
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, err := sample.Load(t.Context(), pool, agenttest.Configs("sample"), nil)
	require.NoError(t, err)
	db := store.New(pool, store.Options{})
	empty, err := db.CreatePortfolio(t.Context(), store.DefaultTenant, portfolio.Portfolio{Name: "Empty", BaseCurrency: "CHF", Calendar: "SBI"})
	require.NoError(t, err)
	o := engine(t, db, charts.New())

	execute := func(t *testing.T, o *patterns.Orchestrator, pattern, asof string, inputs map[string]any) (*patterns.Answer, error) {
		t.Helper()
		if inputs["portfolio_id"] == nil {
			inputs["portfolio_id"] = sample.PortfolioID()
		}
		r := patterns.Request{TenantID: store.DefaultTenant, RequestID: "r", PatternID: pattern, Inputs: inputs, RequireFresh: true}
		if asof != "" {
			day, err := time.Parse(time.DateOnly, asof)
			require.NoError(t, err)
			r.Asof = &day
		}
		return o.Execute(t.Context(), r)
	}
	files := func(t *testing.T, a *patterns.Answer) map[string]*file {
		t.Helper()
		var data map[string]*file
		require.NoError(t, json.Unmarshal(a.Data, &data))
		return data
	}

	t.Run("report", func(t *testing.T) {
		t.Parallel()
		for _, format := range []string{"pdf", "html", "csv"} {
			a, err := execute(t, o, "export_portfolio_report", "2007-05-08", map[string]any{"format": format, "include_macro": true})
			require.NoError(t, err)
			require.Len(t, a.Warnings, 1)
			require.Contains(t, a.Warnings[0], "in place of")
			again, err := execute(t, o, "export_portfolio_report", "2007-05-08", map[string]any{"format": format, "include_macro": true})
			require.NoError(t, err)
			require.Equal(t, a.DataHash, again.DataHash)
			data := files(t, a)
			require.Len(t, data, 3)
			for name, f := range data {
				if name != format+"_result" {
					require.Nil(t, f, name)
					continue
				}
				require.Equal(t, []string{"holdings", "performance", "macro"}, f.Sections)
				text := string(f.Content)
				switch format {
				case "pdf":
					text = pdfText(t, f.Content)
				case "html":
					text = htmlText(t, f.Content)
				}
				for _, want := range []string{a.Trace.PricingPackID, a.Trace.LedgerVersion, "2007-05-08", "prices:SBI", "macro:BAA10Y"} {
					require.Contains(t, text, want)
				}
				if format == "csv" {
					require.Contains(t, records(t, f.Content), []string{"holdings", "position:total_value", "market_value", "1444808.19"})
				} else {
					require.Contains(t, text, "1,444,808.19")
				}
				// The document's sources are some of the trace's.
				for _, r := range records(t, files(t, mustly(execute(t, o, "export_portfolio_report", "2007-05-08", map[string]any{"format": "csv", "include_macro": true})))["csv_result"].Content) {
					if r[0] == "sources" {
						require.Contains(t, a.Trace.Sources, strings.TrimPrefix(r[1], "source:"))
					}
				}
			}
		}
	})

	t.Run("report by default", func(t *testing.T) {
		t.Parallel()
		a, err := execute(t, o, "export_portfolio_report", "", map[string]any{})
		require.NoError(t, err)
		require.Equal(t, []string{"holdings", "performance"}, files(t, a)["pdf_result"].Sections)
		a, err = execute(t, o, "export_portfolio_report", "", map[string]any{"include_performance": false, "include_holdings": false})
		require.NoError(t, err)
		require.Empty(t, files(t, a)["pdf_result"].Sections)
		_, err = execute(t, o, "export_portfolio_report", "", map[string]any{"format": "doc"})
		require.Equal(t, fault.Invalid, fault.CodeOf(err))
	})

	t.Run("overview", func(t *testing.T) {
		t.Parallel()
		for asof, want := range map[string]int{"2007-05-08": 5, "2005-01-04": 5, "2007-05-06": 5} { // a Sunday, too
			a, err := execute(t, o, "portfolio_overview", asof, map[string]any{})
			require.NoError(t, err)
			require.Len(t, a.Charts, want, asof)
			again, err := execute(t, o, "portfolio_overview", asof, map[string]any{})
			require.NoError(t, err)
			require.Equal(t, a.Charts, again.Charts)
		}
		a, err := execute(t, o, "portfolio_overview", "", map[string]any{"include_charts": false})
		require.NoError(t, err)
		require.Empty(t, a.Charts)
		require.Empty(t, a.Warnings)
		for _, nothing := range []map[string]any{{"portfolio_id": empty.ID}, {}} {
			asof := "2004-12-31" // before the sample's first transaction
			a, err := execute(t, o, "portfolio_overview", asof, nothing)
			require.NoError(t, err)
			require.Empty(t, a.Charts)
			a, err = execute(t, o, "export_portfolio_report", asof, map[string]any{"portfolio_id": nothing["portfolio_id"]})
			require.NoError(t, err)
			f := files(t, a)["pdf_result"]
			require.NotEmpty(t, f.Insufficient)
			require.Contains(t, pdfText(t, f.Content), "twr is not known, because transactions is missing")
		}
	})

	t.Run("charts that fail", func(t *testing.T) {
		t.Parallel()
		a, err := execute(t, engine(t, db, broken{charts.New()}), "portfolio_overview", "2007-05-08", map[string]any{})
		require.NoError(t, err)
		good, err := execute(t, o, "portfolio_overview", "2007-05-08", map[string]any{})
		require.NoError(t, err)
		require.Equal(t, good.DataHash, a.DataHash, "the figures are good without")
		require.Empty(t, a.Charts)
		require.NotEmpty(t, a.Warnings)
	})
}

func mustly(a *patterns.Answer, err error) *patterns.Answer {
	if err != nil {
		panic(err)
	}
	return a
}
