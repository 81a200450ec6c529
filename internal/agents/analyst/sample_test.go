package analyst_test

import (
	"encoding/json"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/agenttest"
	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/factor"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

const (
	testdataDir  = "../../portfolio/testdata"
	portfolioID  = agenttest.PortfolioID
	packID       = agenttest.PackID
	riskFreeName = agenttest.RiskFree
)

var (
	sampleDir = agenttest.Configs("sample")
	demo      = filepath.Join(sampleDir, "demo_transactions.csv")
)

func day(t testing.TB, s string) time.Time {
	t.Helper()
	return agenttest.Day(t, s)
}

func idOf(symbol string) string { return agenttest.SecurityID(symbol) }

func float(t testing.TB, v any) float64 {
	t.Helper()
	return agenttest.Float(t, v)
}

var loadFactors = sync.OnceValues(func() (factor.Model, error) { return factor.Load(agenttest.Configs("analytics")) })

// desk is one portfolio over the sample's market data, and what the analyst is made with.
type desk struct {
	*agenttest.Desk

	riskFree string
	factors  factor.Model
}

func newDesk(t testing.TB, ledger string) *desk {
	t.Helper()
	factors, err := loadFactors()
	require.NoError(t, err)
	return &desk{Desk: agenttest.Over(t, ledger), factors: factors, riskFree: riskFreeName}
}

func (d *desk) at(asof time.Time) agent.Context { return d.At(asof) }

func (d *desk) analyst() *analyst.Analyst {
	return analyst.New(d, d, analyst.Options{RiskFreeSeries: d.riskFree, Factors: d.factors})
}

// run asks one capability without checking what it is asked.
func (d *desk) run(c agent.Context, capability string, args map[string]any) (agent.Result, error) {
	d.Agents = d.analyst().Capabilities()
	return d.Run(c, capability, args)
}

// ask is run for an answer that must come, as its JSON with numbers as float64. Arguments and answer must
// fit what the capability declares.
func (d *desk) ask(t testing.TB, c agent.Context, capability string, args map[string]any) (map[string]any, agent.Result) {
	t.Helper()
	result, err := agenttest.Call(t, d.analyst().Capabilities(), c, capability, args)
	require.NoError(t, err)
	var answer map[string]any
	require.NoError(t, json.Unmarshal(agenttest.Bytes(t, result.Value), &answer))
	return answer, result
}

// value runs ledger.positions and pricing.apply_pack, as the pattern does.
func (d *desk) value(t testing.TB, c agent.Context) (map[string]any, agent.Result) {
	t.Helper()
	held, _ := d.ask(t, c, "ledger.positions", map[string]any{"portfolio_id": portfolioID})
	return d.ask(t, c, "pricing.apply_pack", map[string]any{
		"positions": held["positions"], "cash": held["cash"], "pack_id": packID,
	})
}

func over(days int) map[string]any {
	return map[string]any{"portfolio_id": portfolioID, "pack_id": packID, "lookback_days": days}
}

// Alert rules must see what portfolio_overview shows.
func TestFiguresAgreeWithTheOverview(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	c := d.at(day(t, "2007-05-08"))
	answer, _ := d.ask(t, c, "metrics.compute_twr", over(portfolio.YearDays))
	figures, err := d.analyst().Figures(t.Context(), c)
	require.NoError(t, err)
	benchmark, ok := answer["benchmark"].(map[string]any)
	require.True(t, ok)
	for name, shown := range map[string]any{
		"twr_1y": answer["twr"], "volatility_1y": answer["volatility"], "sharpe_1y": answer["sharpe_ratio"],
		"sortino_1y": answer["sortino_ratio"], "max_drawdown_1y": answer["max_drawdown"], "var_95_1y": answer["var_95"],
		"es_95_1y": answer["es_95"], "mwr_1y": answer["mwr_window"], "mwr_inception_ann": answer["mwr_since_inception"],
		"beta_1y": benchmark["beta"], "alpha_1y": benchmark["alpha"], "correlation_1y": benchmark["correlation"],
		"tracking_error_1y": benchmark["tracking_error"], "information_ratio_1y": benchmark["information_ratio"],
	} {
		require.NoError(t, figures[name].Err, name)
		require.InDelta(t, float(t, shown), figures[name].Value, 1e-15, name)
	}
	require.InDelta(t, 1_444_808.19, figures["nav"].Value, 0.01)
	_, err = analyst.New(d, d, analyst.Options{}).Figures(t.Context(), agent.Context{})
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
}
