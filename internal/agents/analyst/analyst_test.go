package analyst_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// The figures that the project's reference states for the sample portfolio.
func TestSampleFigures(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	run := d.at(day(t, "2007-05-08"))

	valued, _ := d.value(t, run)
	require.Equal(t, "1444808.19", valued["total_value"])
	require.Empty(t, valued["insufficient_data"])
	require.Empty(t, valued["unpriced"])
	var weights float64
	for _, list := range []string{"positions", "cash"} {
		for _, line := range valued[list].([]any) {
			weights += float(t, line.(map[string]any)["weight"])
		}
	}
	require.InDelta(t, 1, weights, 1e-12)

	measured, result := d.ask(t, run, "metrics.compute_twr", over(252))
	require.InDelta(t, 0.136819, measured["twr"], 5e-7)
	require.InDelta(t, 0.083694, measured["volatility"], 5e-7)
	require.InDelta(t, 0.055959, measured["max_drawdown"], 5e-7)
	require.InDelta(t, 1.6019, measured["benchmark"].(map[string]any)["beta"], 5e-5)
	require.Empty(t, measured["insufficient_data"])
	require.Empty(t, result.Warnings)

	attributed, _ := d.ask(t, run, "attribution.currency", over(252))
	require.InDelta(t, measured["twr"], attributed["total_return"], 1e-12)
	parts := float(t, attributed["local_return"]) + float(t, attributed["fx_return"]) +
		float(t, attributed["interaction"]) + float(t, attributed["costs"])
	require.InDelta(t, measured["twr"], parts, 1e-12)
	require.Contains(t, kinds(attributed), "CASH:USD cash")
	require.Contains(t, kinds(attributed), "SBI security")
}

func kinds(attribution map[string]any) []string {
	var all []string
	for _, p := range attribution["positions"].([]any) {
		p := p.(map[string]any)
		all = append(all, p["symbol"].(string)+" "+p["kind"].(string))
	}
	return all
}

// The pattern hands the agent's own answers back to it; those of other steps must not change.
func TestSameRequestSameBytes(t *testing.T) {
	t.Parallel()
	d := newDesk(t, filepath.Join(testdataDir, "usd_mixed.csv"))
	d.Subject.BaseCurrency = "USD"
	run := d.at(day(t, "2007-05-08"))
	answers := func() string {
		valued, a := d.value(t, run)
		_, b := d.ask(t, run, "metrics.compute_twr", over(252))
		_, c := d.ask(t, run, "attribution.currency", over(252))
		raw, err := json.Marshal([]any{valued, a, b, c})
		require.NoError(t, err)
		return string(raw)
	}
	first := answers()
	for range 10 {
		require.Equal(t, first, answers())
	}
}

// The number of reads does not depend on what the portfolio holds.
func TestReads(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	run := d.at(day(t, "2007-05-08"))
	reads := func(f func()) int {
		before := d.Reads
		f()
		return d.Reads - before
	}
	require.Equal(t, 5, reads(func() { d.value(t, run) }), "three to find positions, two to price them")
	require.Equal(t, 4, reads(func() { d.ask(t, run, "metrics.compute_twr", over(252)) }))
	require.Equal(t, 4, reads(func() { d.ask(t, run, "attribution.currency", over(252)) }))
}

// A run reads its pack's revision, and no day after its pack's or its as-of date.
func TestMarketDataIsCut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ asof, pack, want string }{
		{"2006-06-03", "2006-06-02", "2006-06-02"},
		{"2006-06-02", "2007-05-08", "2006-06-02"},
	} {
		d := newDesk(t, demo)
		run := d.at(day(t, tt.asof))
		run.PricingPack.Date = day(t, tt.pack)
		valued, _ := d.value(t, run)
		require.Equal(t, tt.asof, valued["asof"])
		measured, _ := d.ask(t, run, "metrics.compute_twr", over(10))
		require.Equal(t, "2006-06-02", measured["window"].(map[string]any)["end"])
		d.ask(t, run, "attribution.currency", over(10))
		require.NotEmpty(t, d.Cuts)
		for _, c := range d.Cuts {
			require.Equal(t, portfolio.Cut{TenantID: "default", Date: day(t, tt.want), Revision: 3}, c)
		}
	}
}

// A run sees the ledger version that it was started with, whatever is booked meanwhile.
func TestLedgerIsCut(t *testing.T) {
	t.Parallel()
	now, later := newDesk(t, demo), newDesk(t, demo)
	now.Ledger = now.Ledger[:20]
	run := now.at(day(t, "2007-05-08"))
	for capability, args := range map[string]map[string]any{
		"ledger.positions": {"portfolio_id": portfolioID}, "metrics.compute_twr": over(252), "attribution.currency": over(252),
	} {
		want, _ := now.ask(t, run, capability, args)
		got, _ := later.ask(t, run, capability, args)
		require.Equal(t, want, got, capability)
	}
}

func TestSources(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	run := d.at(day(t, "2007-05-08"))
	_, result := d.ask(t, run, "metrics.compute_twr", over(252))
	require.Contains(t, result.Sources, agent.Source{Name: "ledger:" + portfolioID})
	for _, name := range []string{"prices:SBI", "prices:LP40", "fx:USD/CHF", "macro:FF_RF"} {
		require.Contains(t, result.Sources, agent.Source{Name: name, Asof: day(t, "2007-05-08")})
	}
	require.NotContains(t, names(result.Sources), "fx:EUR/USD", "read for crosses, not used")

	_, result = d.value(t, run)
	require.Contains(t, result.Sources, agent.Source{Name: "fx:USD/CHF", Asof: day(t, "2007-05-08")})
	require.True(t, slices.IsSorted(names(result.Sources)))
	require.Len(t, slices.Compact(names(result.Sources)), len(result.Sources), "each source once")
}

func names(sources []agent.Source) []string {
	var all []string
	for _, s := range sources {
		all = append(all, s.Name)
	}
	return all
}

func TestEmptyPortfolio(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "")
	run := d.at(day(t, "2007-05-08"))
	valued, _ := d.value(t, run)
	require.Equal(t, "0.00", valued["total_value"])
	require.Equal(t, []any{}, valued["positions"])
	require.Equal(t, []any{}, valued["cash"])
	require.Equal(t, []any{}, valued["unpriced"])
	require.Equal(t, []string{"concentration: holdings"}, lacking(valued))

	measured, _ := d.ask(t, run, "metrics.compute_twr", over(252))
	nothing(t, measured)
	require.Contains(t, lacking(measured), "twr: transactions")

	attributed, _ := d.ask(t, run, "attribution.currency", over(252))
	nothing(t, attributed)
	require.Contains(t, lacking(attributed), "total_return: transactions")
}

// lacking lists an answer's insufficient data as "field: missing".
func lacking(answer map[string]any) []string {
	var all []string
	for _, i := range answer["insufficient_data"].([]any) {
		i := i.(map[string]any)
		all = append(all, i["field"].(string)+": "+i["missing"].(string))
	}
	return all
}

// nothing requires that no field of an answer holds a number.
func nothing(t *testing.T, answer map[string]any) {
	t.Helper()
	for name, v := range answer {
		switch v := v.(type) {
		case float64:
			require.Failf(t, "a number out of nothing", "%s is %v", name, v)
		case map[string]any:
			nothing(t, v)
		}
	}
}

// explained requires that every null of an answer is beside its reason.
func explained(t *testing.T, answer map[string]any) {
	t.Helper()
	fields := lacking(answer)
	covered := func(path string) bool {
		return slices.ContainsFunc(fields, func(f string) bool {
			field, _, _ := strings.Cut(f, ":")
			return field == path || strings.HasPrefix(path, field+".")
		})
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case nil:
			require.True(t, covered(path), "%s is null without a reason; there are %v", path, fields)
		case map[string]any:
			for name, member := range v {
				walk(strings.TrimPrefix(path+"."+name, "."), member)
			}
		}
	}
	walk("", answer)
}

func TestShortHistories(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		asof    string
		returns float64
		lacks   []string
		warns   bool
	}{
		{"2004-12-31", 0, []string{"twr: transactions", "window: transactions", "risk_free: transactions"}, false},
		{"2005-01-03", 0, []string{"twr: returns", "mwr_since_inception: returns", "benchmark.beta: returns"}, false},
		{"2005-01-04", 1, []string{"volatility: returns", "sharpe_ratio: returns", "benchmark.tracking_error: returns"}, true},
		{"2005-01-05", 2, nil, true},
	} {
		t.Run(tt.asof, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, demo)
			measured, result := d.ask(t, d.at(day(t, tt.asof)), "metrics.compute_twr", over(252))
			explained(t, measured)
			require.Subset(t, lacking(measured), tt.lacks)
			if tt.returns > 0 {
				require.InDelta(t, tt.returns, measured["window"].(map[string]any)["returns"], 0)
				require.NotNil(t, measured["twr"])
			} else {
				nothing(t, measured)
			}
			require.Equal(t, tt.warns, len(result.Warnings) == 1)
			attributed, _ := d.ask(t, d.at(day(t, tt.asof)), "attribution.currency", over(252))
			explained(t, attributed)
		})
	}
}

func TestMissingMarketData(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		hidden   string
		unpriced []string
		lacks    []string
		keeps    []string // measures that don't need what is hidden
	}{
		{
			"prices:AA",
			[]string{"AA"},
			[]string{"twr: prices:AA", "mwr_window: prices:AA", "var_95: prices:AA", "benchmark.beta: prices:AA"},
			[]string{"benchmark.return", "risk_free.annual"},
		},
		{
			"fx:USD/CHF",
			[]string{"AA", "EMR", "GGG", "GOLD", "ROG", "T", "CASH:USD"},
			[]string{"twr: fx:USD/CHF", "twr_since_inception: fx:USD/CHF"},
			[]string{"benchmark.return"},
		},
		{"prices:LP40", nil, []string{"benchmark.return: prices:LP40", "benchmark.beta: prices:LP40"}, []string{"twr", "sharpe_ratio"}},
		{"securities:LP40", nil, []string{"benchmark.return: securities:LP40"}, []string{"twr", "sharpe_ratio"}},
		{
			"macro:FF_RF", nil,
			[]string{"risk_free: macro:FF_RF", "sharpe_ratio: macro:FF_RF", "sortino_ratio: macro:FF_RF", "benchmark.alpha: macro:FF_RF"},
			[]string{"twr", "volatility", "benchmark.beta"},
		},
		{"prices:SBI", []string{"SBI"}, []string{"twr: prices:SBI", "window: prices:SBI"}, nil},
	} {
		t.Run(tt.hidden, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, demo)
			d.Hidden[tt.hidden] = true
			run := d.at(day(t, "2007-05-08"))

			valued, _ := d.value(t, run)
			require.Len(t, valued["positions"], 13, "an unpriced line stays in the list")
			var unpriced []string
			for _, u := range valued["unpriced"].([]any) {
				unpriced = append(unpriced, u.(map[string]any)["symbol"].(string))
			}
			require.Equal(t, tt.unpriced, unpriced)
			if unpriced != nil {
				require.Nil(t, valued["total_value"])
				require.Nil(t, valued["positions"].([]any)[0].(map[string]any)["weight"])
				require.Contains(t, lacking(valued), "total_value: "+tt.hidden)
				require.Contains(t, lacking(valued), "positions.weight: "+tt.hidden)
			}
			explained(t, valued)

			measured, _ := d.ask(t, run, "metrics.compute_twr", over(252))
			explained(t, measured)
			require.Subset(t, lacking(measured), tt.lacks)
			for _, path := range tt.keeps {
				var v any = measured
				for name := range strings.SplitSeq(path, ".") {
					v = v.(map[string]any)[name]
				}
				require.NotNil(t, v, path)
			}
			attributed, _ := d.ask(t, run, "attribution.currency", over(252))
			explained(t, attributed)
		})
	}
}

func TestWithoutBenchmarkOrRate(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	d.Subject.Benchmark = ""
	args := over(252)
	args["risk_free_annual"] = 0.0252
	measured, result := d.ask(t, d.at(day(t, "2007-05-08")), "metrics.compute_twr", args)
	explained(t, measured)
	require.Contains(t, lacking(measured), "benchmark.symbol: benchmark")
	require.Contains(t, lacking(measured), "benchmark.beta: benchmark")
	require.Equal(t, map[string]any{"source": "input", "annual": 0.0252}, measured["risk_free"])
	require.NotContains(t, names(result.Sources), "macro:FF_RF")
}

// Cash alone earns nothing and varies by nothing: ratios have no denominator.
func TestConstantReturns(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	d.Ledger = d.Ledger[:1]
	args := over(252)
	args["risk_free_annual"] = 0.02
	measured, _ := d.ask(t, d.at(day(t, "2007-05-08")), "metrics.compute_twr", args)
	explained(t, measured)
	require.InDelta(t, 0, measured["twr"], 0)
	require.InDelta(t, 0, measured["volatility"], 0)
	require.InDelta(t, 0, measured["mwr_since_inception"], 0)
	require.Equal(t, []string{
		"max_drawdown_trough: drawdown", "sharpe_ratio: variance", "benchmark.correlation: variance",
	}, lacking(measured))
}

func TestShortPositionAndOldLots(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	d.Ledger = append(d.Ledger[:1:1],
		portfolio.Transaction{
			Seq: 2, Date: day(t, "2005-01-04"), Type: portfolio.Sell, Symbol: "AA", Currency: "USD",
			Quantity: decimal.NewFromInt(100), Amount: decimal.RequireFromString("9300"),
		})
	run := d.at(day(t, "2007-05-08"))
	valued, _ := d.value(t, run)
	line := valued["positions"].([]any)[0].(map[string]any)
	require.Equal(t, "-100", line["quantity"])
	require.Negative(t, float(t, line["market_value"]))
	require.Equal(t, "-9300", line["cost_basis_local"])
	require.InDelta(t, -9300*1.1674, float(t, line["cost_basis"]), 1e-6, "at the trade date's 1.1674 francs")
	require.InDelta(t, float(t, line["market_value"])-float(t, line["cost_basis"]), float(t, line["unrealized_pnl"]), 1.1e-6)
}

func TestPositionsAsOf(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	held, _ := d.ask(t, d.at(day(t, "2007-05-08")), "ledger.positions",
		map[string]any{"portfolio_id": strings.ToUpper(portfolioID), "asof": "2005-01-03"})
	require.Empty(t, held["positions"])
	require.Equal(t, []any{map[string]any{"currency": "CHF", "amount": "1000000"}}, held["cash"])
	require.Equal(t, "2005-01-03", held["asof"])

	held, _ = d.ask(t, d.at(day(t, "2007-05-08")), "ledger.positions", map[string]any{"portfolio_id": portfolioID, "asof": nil})
	first := held["positions"].([]any)[0].(map[string]any)
	require.Equal(t, "AA", first["symbol"])
	require.Equal(t, "500", first["quantity"])
	require.Equal(t, "USD", first["cost_currency"])
	require.Equal(t, "46624.11875", first["cost"], "five of eight parts of 74598.59")
}

// Lots paid in several currencies have no common cost, only one in base currency.
func TestCostInSeveralCurrencies(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	for i, currency := range []string{"USD", "CHF"} {
		d.Ledger = append(d.Ledger, portfolio.Transaction{
			Seq: int64(len(d.Ledger) + 1), Date: day(t, "2007-01-05").AddDate(0, 0, i), Type: portfolio.Buy, Symbol: "F", Currency: currency,
			Quantity: decimal.NewFromInt(1), Amount: decimal.NewFromInt(-10),
		})
	}
	run := d.at(day(t, "2007-05-08"))
	held, _ := d.ask(t, run, "ledger.positions", map[string]any{"portfolio_id": portfolioID})
	for _, p := range held["positions"].([]any) {
		if p := p.(map[string]any); p["symbol"] == "F" {
			require.Nil(t, p["cost"])
			require.Nil(t, p["cost_currency"])
		}
	}
	valued, _ := d.value(t, run)
	for _, p := range valued["positions"].([]any) {
		if p := p.(map[string]any); p["symbol"] == "F" {
			rate, ok := d.rateOn("USD/CHF", day(t, "2007-01-05"))
			require.True(t, ok)
			require.InDelta(t, 10*rate+10, float(t, p["cost_basis"]), 1e-6)
		}
	}
}

func (d *desk) rateOn(pair string, on time.Time) (float64, bool) {
	for _, q := range slices.Backward(d.Sample.FX[pair]) {
		if !q.Date.After(on) {
			return q.Value.InexactFloat64(), true
		}
	}
	return 0, false
}

func TestArguments(t *testing.T) {
	t.Parallel()
	with := func(name string, value any) map[string]any {
		args := over(252)
		args[name] = value
		return args
	}
	lists := func(positions, cash any, pack string) map[string]any {
		return map[string]any{"positions": positions, "cash": cash, "pack_id": pack}
	}
	position := map[string]any{
		"symbol": "AA", "quantity": "2", "currency": "USD",
		"lots": []any{map[string]any{"date": "2005-01-04", "quantity": "1", "cost": "1", "currency": "USD"}},
	}
	badDate := map[string]any{
		"symbol": "AA", "quantity": "1", "currency": "USD",
		"lots": []any{map[string]any{"date": "4.1.2005", "quantity": "1", "cost": "1", "currency": "USD"}},
	}
	for _, tt := range []struct {
		capability string
		args       map[string]any
		says       string
	}{
		{"ledger.positions", map[string]any{}, "portfolio"},
		{"ledger.positions", map[string]any{"portfolio_id": packID}, "/args/portfolio_id"},
		{"ledger.positions", map[string]any{"portfolio_id": portfolioID, "asof": "2007-05-09"}, "after the as-of date"},
		{"ledger.positions", map[string]any{"portfolio_id": portfolioID, "asof": "8.5.2007"}, "/args/asof"},
		{"ledger.positions", map[string]any{"portfolio_id": portfolioID, "as_of": nil}, "ledger.positions can't read its arguments"},
		{"ledger.positions", map[string]any{"portfolio_id": 7}, "portfolio_id"},
		{"metrics.compute_twr", with("lookback_days", 0), "outside 1 to 10000"},
		{"metrics.compute_twr", with("lookback_days", 10001), "/args/lookback_days"},
		{"metrics.compute_twr", with("lookback_days", 2.5), "lookback_days"},
		{"metrics.compute_twr", with("risk_free_annual", 2), "fraction"},
		{"metrics.compute_twr", with("pack_id", portfolioID), "pack_id"},
		{"metrics.compute_twr", with("portfolio_id", packID), "/args/portfolio_id"},
		{"attribution.currency", with("from", "2008-01-01"), "/args/from"},
		{"attribution.currency", with("from", "yesterday"), "yesterday"},
		{"attribution.currency", with("lookback_days", -1), "/args/lookback_days"},
		{"attribution.currency", with("pack_id", nil), "pack_id"},
		{"attribution.currency", with("colour", "red"), "arguments"},
		{"pricing.apply_pack", lists(nil, []any{}, packID), "positions and cash"},
		{"pricing.apply_pack", lists([]any{}, nil, packID), "positions and cash"},
		{"pricing.apply_pack", lists([]any{}, []any{}, portfolioID), "pack_id"},
		{"pricing.apply_pack", lists([]any{position}, []any{}, packID), "hold 1"},
		{"pricing.apply_pack", lists([]any{badDate}, []any{}, packID), "lot date"},
	} {
		t.Run(tt.capability+" "+tt.says, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, demo)
			_, err := d.run(d.at(day(t, "2007-05-08")), tt.capability, tt.args)
			require.Equal(t, fault.Invalid, fault.CodeOf(err), "%v", err)
			require.Contains(t, fault.Detail(err), tt.says)
			require.Zero(t, d.Reads, "refused before anything is read")
		})
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	a := analyst.New(nil, nil, analyst.Options{})
	require.Equal(t, "financial_analyst", a.Name())
	var all []string
	for _, c := range a.Capabilities() {
		require.NotEmpty(t, c.Description)
		all = append(all, c.Name)
	}
	require.Equal(t, []string{
		"ledger.positions", "pricing.apply_pack", "metrics.compute_twr", "attribution.currency",
		"metrics.compute", "metrics.compute_sharpe", "metrics.history",
		"get_position_details", "compute_position_return", "compute_portfolio_contribution", "compute_position_currency_attribution",
		"compute_position_risk", "get_transaction_history", "get_security_fundamentals", "get_comparable_positions",
		"risk.compute_factor_exposures", "risk.get_factor_exposure_history", "risk.overlay_cycle_phases",
	}, all)
}

// Without a configured series and without a rate there is nothing to measure against.
func TestNoRiskFreeRate(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	d.riskFree = ""
	measured, _ := d.ask(t, d.at(day(t, "2007-05-08")), "metrics.compute_twr", over(252))
	explained(t, measured)
	require.Equal(t, []string{
		"risk_free: risk_free_annual", "sharpe_ratio: risk_free_annual", "sortino_ratio: risk_free_annual", "benchmark.alpha: risk_free_annual",
	}, lacking(measured))
}

func TestOptionalArgumentsMayBeNull(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	run := d.at(day(t, "2007-05-08"))
	args := map[string]any{"portfolio_id": portfolioID, "pack_id": packID, "lookback_days": nil, "risk_free_annual": nil}
	measured, _ := d.ask(t, run, "metrics.compute_twr", args)
	require.InDelta(t, 252, measured["window"].(map[string]any)["returns"], 0)
	delete(args, "risk_free_annual")
	args["from"] = nil
	attributed, _ := d.ask(t, run, "attribution.currency", args)
	require.Equal(t, "daily_linked", attributed["method"])
}

func TestRunsThatCannotBe(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	run := d.at(day(t, "2007-05-08"))
	run.Portfolio = nil
	for capability, args := range map[string]map[string]any{
		"ledger.positions":     {"portfolio_id": portfolioID},
		"metrics.compute_twr":  over(252),
		"attribution.currency": over(252),
		"pricing.apply_pack":   {"positions": []any{}, "cash": []any{}, "pack_id": packID},
	} {
		_, err := d.run(run, capability, args)
		require.Equal(t, fault.Invalid, fault.CodeOf(err), capability)
		require.ErrorContains(t, err, "names none")
	}

	run = d.at(day(t, "2007-05-08"))
	d.Subject.ID = "gone"
	_, err := d.run(run, "metrics.compute_twr", over(252))
	require.Equal(t, fault.NotFound, fault.CodeOf(err))

	d = newDesk(t, demo)
	d.Ledger[0].Type = "GIFT"
	for capability, args := range map[string]map[string]any{
		"ledger.positions": {"portfolio_id": portfolioID}, "metrics.compute_twr": over(252),
	} {
		_, err := d.run(d.at(day(t, "2007-05-08")), capability, args)
		require.Equal(t, fault.Internal, fault.CodeOf(err), "a ledger that can't be booked is our defect")
		require.ErrorContains(t, err, "transaction 1")
	}
}

// The period from a day on which nothing was held yet, or after the last one, has no answer.
func TestAttributionFrom(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	run := d.at(day(t, "2007-05-08"))
	for from, missing := range map[string]string{"2005-01-02": "transactions", "2007-05-08": "returns"} {
		args := over(252)
		args["from"] = from
		attributed, _ := d.ask(t, run, "attribution.currency", args)
		explained(t, attributed)
		require.Contains(t, lacking(attributed), "total_return: "+missing)
	}
}
