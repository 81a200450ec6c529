package optimizer_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/agenttest"
	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/agents/optimizer"
	"github.com/dawsos/dawsos/internal/agents/scenarios"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/rebalance"
	"github.com/dawsos/dawsos/internal/scenario"
	"github.com/dawsos/dawsos/pkg/agent"
)

const asof = "2007-05-08"

func newDesk(t testing.TB, empty bool) *agenttest.Desk {
	t.Helper()
	dir := agenttest.Configs("analytics")
	library, err := scenario.Load(dir)
	require.NoError(t, err)
	rules, err := rebalance.LoadRules(dir)
	require.NoError(t, err)
	hedges, err := rebalance.LoadHedges(dir)
	require.NoError(t, err)
	d := agenttest.New(t, empty)
	o := optimizer.New(d, d, optimizer.Tables{Rules: rules, Hedges: hedges, Library: library})
	require.Equal(t, "optimizer", o.Name())
	d.Agents = slices.Concat(o.Capabilities(), scenarios.Capabilities(d, d, library), analyst.New(d, d, analyst.Options{}).Capabilities())
	return d
}

type object = map[string]any

func args(more ...any) object {
	all := object{"portfolio_id": agenttest.PortfolioID, "pack_id": agenttest.PackID}
	for i := 0; i < len(more); i += 2 {
		all[more[i].(string)] = more[i+1]
	}
	return all
}

func at(t testing.TB, d *agenttest.Desk, day string) agent.Context {
	return d.At(agenttest.Day(t, day))
}

// value runs ledger.positions and pricing.apply_pack, as the patterns do.
func value(t testing.TB, d *agenttest.Desk, run agent.Context) object {
	t.Helper()
	held, _ := d.Ask(t, run, "ledger.positions", object{"portfolio_id": agenttest.PortfolioID})
	valued, _ := d.Ask(t, run, "pricing.apply_pack", object{"positions": held["positions"], "cash": held["cash"], "pack_id": agenttest.PackID})
	return valued
}

func weight(symbol string, w float64) object {
	return object{"type": "target_weight", "symbol": symbol, "weight": w}
}

func float(t testing.TB, v any) float64 { return agenttest.Float(t, v) }

func get(v any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		v = v.(object)[name]
	}
	return v
}

func TestRebalanceOfTheSample(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	run := at(t, d, asof)
	valued := value(t, d, run)
	limits := object{"max_te_pct": 2, "max_turnover_pct": 10, "min_lot_value": 500}
	p, result := d.Ask(t, run, "optimizer.propose_trades", args("positions", valued["positions"], "cash", valued["cash"],
		"policies", []any{weight("GOLD", 0.1), weight("EMR", 0), weight("SPI", 0.1)}, "constraints", limits))
	require.Equal(t, "1444808.19", p["total_value"])
	require.Equal(t, "benchmark:LP40", p["tracking_error_reference"])
	require.LessOrEqual(t, float(t, p["turnover"]), 0.1)
	require.GreaterOrEqual(t, float(t, p["cash_after"]), 0.0)
	require.Equal(t, []any{"max_turnover_pct"}, p["binding"])
	trades := agenttest.Rows(t, p["trades"])
	require.Len(t, trades, 3)
	require.Equal(t, "SELL", trades[0]["side"])
	require.Equal(t, "SPI", trades[2]["symbol"], "bought though it is not held")
	require.LessOrEqual(t, float(t, get(p, "tracking_error.after")), float(t, get(p, "tracking_error.before")), "the limit is broken already")
	require.Contains(t, result.Sources[0].Name, "config:rebalance.yaml@")

	// What trades change is what the proposal says they do, and what the cash of the ledger would be.
	for _, cash := range []any{valued["cash"], nil} {
		impact, _ := d.Ask(t, run, "optimizer.analyze_impact", object{
			"pack_id": agenttest.PackID, "positions": valued["positions"], "cash": cash, "trades": p["trades"],
		})
		for _, field := range []string{"volatility", "tracking_error", "turnover", "cost", "conversions", "window"} {
			require.Equal(t, p[field], impact[field], field)
		}
		require.Equal(t, p["cash_after"], get(impact, "cash.after"))
		require.Equal(t, "1444808.19", get(impact, "total_value.before"))
		var before, after float64
		for _, w := range agenttest.Rows(t, impact["weights"]) {
			before, after = before+float(t, w["before"]), after+float(t, w["after"])
		}
		require.InDelta(t, 1, before, 1e-9)
		require.InDelta(t, 1, after, 1e-9)
	}
	require.InDelta(t, float(t, get(valued, "concentration.hhi_with_cash")), hhi(t, d, run, valued), 1e-12)
}

func hhi(t testing.TB, d *agenttest.Desk, run agent.Context, valued object) float64 {
	t.Helper()
	nothing, _ := d.Ask(t, run, "optimizer.analyze_impact", args("positions", valued["positions"], "cash", valued["cash"]))
	require.Equal(t, get(nothing, "hhi_with_cash.before"), get(nothing, "hhi_with_cash.after"))
	require.InDelta(t, 0, float(t, nothing["turnover"]), 0)
	return float(t, get(nothing, "hhi_with_cash.before"))
}

// Today's weights times the returns of the closes, with plain loops.
func TestRiskOfTheSample(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	run := at(t, d, asof)
	valued := value(t, d, run)
	p, _ := d.Ask(t, run, "optimizer.propose_trades", args("positions", valued["positions"], "cash", valued["cash"]))
	require.Empty(t, p["trades"], "the sample keeps the limits")
	days := d.Closes("SBI", run.Asof)
	series := func(symbol, currency string) []float64 {
		closes, rates := d.Closes(symbol, run.Asof), d.Rates("USD/CHF", run.Asof)
		var r []float64
		last, price, rate := math.NaN(), 1.0, 1.0
		for day := agenttest.Day(t, "2006-01-01"); !day.After(run.Asof); day = day.AddDate(0, 0, 1) {
			if v, ok := closes[day]; ok {
				price = v
			}
			if v, ok := rates[day]; ok && currency == "USD" {
				rate = v
			}
			if _, ok := days[day]; ok {
				r = append(r, price*rate/last-1)
				last = price * rate
			}
		}
		return r[len(r)-252:]
	}
	sum := make([]float64, 252)
	for _, list := range []string{"positions", "cash"} {
		for _, l := range agenttest.Rows(t, valued[list]) {
			symbol, _ := l["symbol"].(string)
			for i, x := range series(symbol, l["currency"].(string)) {
				sum[i] += float(t, l["weight"]) * x
			}
		}
	}
	sd := func(x []float64) float64 {
		var mean, squares float64
		for _, v := range x {
			mean += v / float64(len(x))
		}
		for _, v := range x {
			squares += (v - mean) * (v - mean)
		}
		return math.Sqrt(squares / float64(len(x)-1) * 252)
	}
	active := make([]float64, 252)
	for i, b := range series("LP40", "CHF") {
		active[i] = sum[i] - b
	}
	require.InDelta(t, sd(sum), float(t, get(p, "volatility.before")), 1e-9)
	require.InDelta(t, sd(active), float(t, get(p, "tracking_error.before")), 1e-9)
}

// Random policies over the sample: see rebalance's own property test for random books.
func TestTradesKeepTheLimits(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	run := at(t, d, asof)
	valued := value(t, d, run)
	held := map[any]float64{}
	for _, p := range agenttest.Rows(t, valued["positions"]) {
		held[p["symbol"]] = float(t, p["quantity"])
	}
	for name, policies := range map[string][]any{
		"all in one":       {weight("CH_TECH", 1)},
		"many":             {weight("SBI", 0.2), weight("AA", 0), weight("T", 0.15), weight("GOLD", 0.15), weight("ROG", 0)},
		"minimum variance": {object{"type": "minimum_variance"}},
		"band":             {object{"type": "band", "symbol": "EMR", "min": 0.02, "max": 0.05}},
		"sector":           {object{"type": "max_sector", "value": 0.05}},
		"position":         {object{"type": "max_position", "value": 0.03}},
	} {
		for _, turnover := range []float64{0, 1, 10, 100} {
			p, _ := d.Ask(t, run, "optimizer.propose_trades", args("positions", valued["positions"], "cash", valued["cash"], "policies", policies,
				"constraints", object{"max_turnover_pct": turnover, "max_te_pct": 3}))
			gross, bought := 0.0, false
			for _, trade := range agenttest.Rows(t, p["trades"]) {
				gross += float(t, trade["value"])
				if trade["side"] == "SELL" {
					require.False(t, bought)
					require.LessOrEqual(t, float(t, trade["quantity"]), held[trade["symbol"]])
				}
				bought = bought || trade["side"] == "BUY"
			}
			require.LessOrEqual(t, gross/1444808.19, turnover/100+1e-9, name)
			require.GreaterOrEqual(t, float(t, p["cash_after"]), 0.0, name)
			require.LessOrEqual(t, float(t, get(p, "tracking_error.after")), max(0.03, float(t, get(p, "tracking_error.before")))+1e-9, name)
		}
	}
}

func TestRatings(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	run := at(t, d, asof)
	valued := value(t, d, run)
	policies := []any{object{"type": "min_rating", "value": 60}}
	for name, tt := range map[string]struct {
		ratings any
		sold    []string
		reason  string
	}{
		"none":         {nil, nil, "no ratings were given"},
		"insufficient": {object{"positions": []any{object{"symbol": "AA", "overall": nil}}, "insufficient_data": []any{}}, nil, "no position has a rating"},
		"one below":    {object{"positions": []any{object{"symbol": "AA", "overall": 40, "grade": "F"}, object{"symbol": "T", "overall": 80}}}, []string{"AA"}, "it has no rating"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := d.Ask(t, run, "optimizer.propose_trades", args("positions", valued["positions"], "cash", valued["cash"], "policies", policies, "ratings", tt.ratings))
			var sold []string
			for _, trade := range agenttest.Rows(t, p["trades"]) {
				sold = append(sold, trade["symbol"].(string))
			}
			require.Equal(t, tt.sold, sold)
			require.Equal(t, tt.reason, agenttest.Rows(t, p["not_applied"])[0]["reason"])
		})
	}
}

// hedge runs a scenario and asks for hedges against it.
func hedge(t testing.TB, d *agenttest.Desk, run agent.Context, scenarioID string, more ...any) object {
	t.Helper()
	s, _ := d.Ask(t, run, "macro.run_scenario", args("scenario_id", scenarioID))
	h, _ := d.Ask(t, run, "optimizer.suggest_hedges", args(append(more, "scenario_result", s)...))
	require.Equal(t, s["scenario_id"], h["scenario_id"])
	require.InDelta(t, float(t, s["delta"]), float(t, h["delta"]), 0)
	return h
}

// Against the returns that metrics.compute_twr has: the beta to a hedge is the hedge's ratio, the squared
// correlation its effectiveness.
func TestHedgesOfTheSample(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	run := at(t, d, asof)
	h := hedge(t, d, run, "equity_selloff")
	all := agenttest.Rows(t, h["hedges"])
	require.NotEmpty(t, all)
	last := 1.0
	for _, x := range all {
		d.Subject.Benchmark = x["symbol"].(string)
		perf, _ := d.Ask(t, run, "metrics.compute_twr", args())
		b := perf["benchmark"]
		require.InDelta(t, float(t, get(b, "beta")), float(t, x["hedge_ratio"]), 1e-9)
		require.InDelta(t, math.Pow(float(t, get(b, "correlation")), 2), float(t, x["effectiveness"]), 1e-9)
		require.InDelta(t, float(t, x["hedge_ratio"])*1444808.19, float(t, x["notional"]), 0.02)
		require.Positive(t, float(t, x["scenario_delta"]), "no hedge loses when the portfolio does")
		require.LessOrEqual(t, float(t, x["cost_bps"]), 20.0)
		require.LessOrEqual(t, float(t, x["effectiveness"]), last)
		last = float(t, x["effectiveness"])
		require.Equal(t, "SELL", x["action"])
	}
	require.InDelta(t, float(t, get(all[0], "notional"))*0.0015+5, float(t, all[0]["cost"]), 0.011)

	d.Subject.Benchmark = "LP40"
	cheap := hedge(t, d, run, "equity_selloff", "max_cost_bps", 1)
	require.Empty(t, cheap["hedges"])
	now := hedge(t, d, run, "equity_selloff", "method", "current_holdings")
	require.NotEmpty(t, now["hedges"])
}

// The original bought long bonds against rising rates. Whatever the correlations say, a bond whose loss
// under rising rates isn't known is no hedge against them, and one whose loss is known is sold or not
// suggested.
func TestBondsAreNoHedgeAgainstRisingRates(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	run := at(t, d, asof)
	find := func(h object, list string) object {
		for _, x := range agenttest.Rows(t, h[list]) {
			if x["symbol"] == "SBI" {
				return x
			}
		}
		return nil
	}
	h := hedge(t, d, run, "rates_up")
	require.Nil(t, find(h, "hedges"))
	require.NotNil(t, find(h, "excluded"))

	duration := 5.2
	sbi := d.Security("SBI")
	sbi.Duration = &duration
	d.Changed["SBI"] = sbi
	h = hedge(t, d, run, "rates_up", "max_cost_bps", 10000)
	if x := find(h, "hedges"); x != nil {
		require.Equal(t, "SELL", x["action"])
	}
	for _, x := range agenttest.Rows(t, h["hedges"]) {
		require.Positive(t, float(t, x["scenario_delta"]))
	}
}

func TestNothingToHedge(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	run := at(t, d, asof)
	require.Empty(t, hedge(t, d, run, "equity_rally")["hedges"])
	h, _ := d.Ask(t, run, "optimizer.suggest_hedges", args("scenario_result", nil))
	require.Empty(t, h["hedges"])
	require.Contains(t, agenttest.Lacking(t, h), "hedges: scenario_result")
	s, _ := d.Ask(t, run, "macro.run_scenario", args("custom_shocks", object{"credit_bps": 100}))
	h, _ = d.Ask(t, run, "optimizer.suggest_hedges", args("scenario_result", s))
	require.Contains(t, agenttest.Lacking(t, h), "hedges: scenario_result", "the scenario reaches nothing")
}

func TestDeleveragingHedges(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	run := at(t, d, asof)
	given := object{"none": nil}
	for _, id := range scenario.DeleveragingIDs {
		given[id], _ = d.Ask(t, run, "scenarios.deleveraging_"+id, args())
	}
	before := d.Reads
	h, _ := d.Ask(t, run, "optimizer.suggest_deleveraging_hedges", args("scenarios", given, "ltdc_phase", nil))
	require.Equal(t, 4, d.Reads-before, "one set of reads for all")
	require.Equal(t, []string{"ltdc_phase: ltdc"}, agenttest.Lacking(t, h))
	var names []any
	for _, s := range agenttest.Rows(t, h["scenarios"]) {
		names = append(names, s["scenario"])
		for _, x := range agenttest.Rows(t, s["hedges"]) {
			require.Positive(t, float(t, x["scenario_delta"]))
		}
	}
	require.Equal(t, []any{"austerity", "default", "money_printing", "none"}, names)
}

func TestEdges(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		empty  bool
		day    string
		hidden string
		lacks  string // of the proposal
		hedges string
	}{
		"empty":              {true, asof, "", "trades: holdings", "hedges: scenario_result"},
		"before the first":   {false, "2004-12-31", "", "trades: holdings", "hedges: scenario_result"},
		"one day":            {false, "2005-01-03", "", "", "hedges: scenario_result"},
		"ten days":           {false, "2005-01-14", "", "", "hedges: returns"},
		"a weekend":          {false, "2007-05-06", "", "", ""},
		"unpriced":           {false, asof, "prices:AA", "trades: prices:AA", "hedges: scenario_result"},
		"no rate":            {false, asof, "fx:USD/CHF", "trades: fx:USD/CHF", "hedges: scenario_result"},
		"no benchmark":       {false, asof, "prices:LP40", "tracking_error.after: prices:LP40", ""},
		"unlisted benchmark": {false, asof, "securities:LP40", "tracking_error.after: securities:LP40", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, tt.empty)
			if tt.hidden != "" {
				d.Hidden[tt.hidden] = true
			}
			run := at(t, d, tt.day)
			valued := value(t, d, run)
			p, _ := d.Ask(t, run, "optimizer.propose_trades", args("positions", valued["positions"], "cash", valued["cash"],
				"policies", []any{weight("GOLD", 0.1)}))
			if tt.lacks != "" {
				require.Contains(t, agenttest.Lacking(t, p), tt.lacks)
			} else {
				require.NotEmpty(t, p["trades"])
				require.NotNil(t, get(p, "volatility.after"), "the past of securities doesn't depend on the portfolio's age")
			}
			_, _ = d.Ask(t, run, "optimizer.analyze_impact", args("positions", valued["positions"], "trades", p["trades"]))
			s, _ := d.Ask(t, run, "macro.run_scenario", args("scenario_id", "equity_selloff"))
			h, _ := d.Ask(t, run, "optimizer.suggest_hedges", args("scenario_result", s))
			if tt.hedges != "" {
				require.Contains(t, agenttest.Lacking(t, h), tt.hedges)
			} else {
				require.NotEmpty(t, h["hedges"])
			}
		})
	}
}

func TestWithoutABenchmark(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	d.Subject.Benchmark = ""
	run := at(t, d, asof)
	valued := value(t, d, run)
	p, _ := d.Ask(t, run, "optimizer.propose_trades", args("positions", valued["positions"], "cash", valued["cash"],
		"policies", []any{weight("CH_TECH", 0.2)}, "constraints", object{"max_te_pct": 0.5, "max_turnover_pct": 200}))
	require.Equal(t, "current_holdings", p["tracking_error_reference"])
	require.InDelta(t, 0, float(t, get(p, "tracking_error.before")), 1e-12)
	require.LessOrEqual(t, float(t, get(p, "tracking_error.after")), 0.005+1e-9)
	require.Contains(t, p["binding"], "max_te_pct")
	require.NotEmpty(t, p["trades"])
}

func TestShortPositionsAreNotSoldFurther(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	d.Book(portfolio.Transaction{
		Date: agenttest.Day(t, asof), Type: portfolio.Sell, Symbol: "CH_TECH", SecurityID: agenttest.SecurityID("CH_TECH"),
		Quantity: decimal.NewFromInt(100), Price: decimal.NewFromInt(100), Currency: "CHF", Amount: decimal.NewFromInt(10000),
	})
	run := at(t, d, asof)
	valued := value(t, d, run)
	p, _ := d.Ask(t, run, "optimizer.propose_trades", args("positions", valued["positions"], "cash", valued["cash"],
		"policies", []any{weight("CH_TECH", 0)}, "constraints", object{"max_te_pct": 1000, "max_turnover_pct": 200}))
	trades := agenttest.Rows(t, p["trades"])
	require.Equal(t, "BUY", trades[len(trades)-1]["side"], "covered")
	_, err := d.Run(run, "optimizer.analyze_impact", args("positions", valued["positions"],
		"trades", []any{object{"symbol": "CH_TECH", "side": "SELL", "quantity": "1"}}))
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	run := at(t, d, asof)
	valued := value(t, d, run)
	with := func(more ...any) object { return args(append(more, "positions", valued["positions"])...) }
	number := func(s string) json.Number { return json.Number(s) }
	twice := []any{agenttest.Rows(t, valued["positions"])[0], agenttest.Rows(t, valued["positions"])[0]}
	for name, tt := range map[string]struct {
		capability string
		args       object
		pointer    string
	}{
		"unlisted":         {"propose_trades", with("policies", []any{object{"type": "target_weight", "symbol": "XXX", "weight": number("0.1")}}), "/args/policies/0/symbol"},
		"half a band":      {"propose_trades", with("policies", []any{object{"type": "band", "symbol": "SBI", "min": number("0.1")}}), "/args/policies/0/max"},
		"above one":        {"propose_trades", with("policies", []any{object{"type": "target_weight", "symbol": "SBI", "weight": number("1.1")}}), "/args/policies/0/weight"},
		"turnover":         {"propose_trades", with("constraints", object{"max_turnover_pct": number("-1")}), "/args/constraints/max_turnover_pct"},
		"unknown limit":    {"propose_trades", with("constraints", object{"max_te": number("1")}), "/args/constraints"},
		"twice":            {"propose_trades", args("positions", twice), "/args/positions/1/symbol"},
		"no amount":        {"propose_trades", with("cash", []any{object{"currency": "CHF"}}), "/args/cash/0/amount"},
		"sold too much":    {"analyze_impact", with("trades", []any{object{"symbol": "AA", "side": "SELL", "quantity": "501"}}), "/args/trades/0/quantity"},
		"twice too much":   {"analyze_impact", with("trades", []any{object{"symbol": "AA", "side": "SELL", "quantity": "300"}, object{"symbol": "AA", "side": "SELL", "quantity": "300"}}), "/args/trades/1/quantity"},
		"unknown side":     {"analyze_impact", with("trades", []any{object{"symbol": "AA", "side": "HOLD", "quantity": "1"}}), "/args/trades/0/side"},
		"unknown security": {"analyze_impact", with("trades", []any{object{"symbol": "XXX", "side": "BUY", "quantity": "1"}}), "/args/trades/0/symbol"},
		"no scenario":      {"suggest_hedges", args("scenario_result", object{"shocks": []any{}, "delta": nil}), "/args/scenario_result"},
		"strange shock":    {"suggest_hedges", args("scenario_result", object{"shocks": []any{object{"shock": "oil", "value": number("1")}}, "delta": "1"}), "/args/scenario_result/shocks"},
		"cost":             {"suggest_hedges", args("max_cost_bps", number("-1")), "/args/max_cost_bps"},
		"method":           {"suggest_hedges", args("method", "guess"), "/args/method"},
		"no scenarios":     {"suggest_deleveraging_hedges", args("scenarios", object{}), "/args/scenarios"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := d.Run(run, "optimizer."+tt.capability, tt.args)
			e := new(fault.Error)
			require.ErrorAs(t, err, &e)
			require.Equal(t, fault.Invalid, e.Code)
			require.NotEmpty(t, e.Fields)
			require.Equal(t, tt.pointer, e.Fields[0].Pointer)
		})
	}
}

func TestFourReadsAndTheSameBytes(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	run := at(t, d, asof)
	valued := value(t, d, run)
	s, _ := d.Ask(t, run, "macro.run_scenario", args("scenario_id", "equity_selloff"))
	for capability, a := range map[string]object{
		"propose_trades": args("positions", valued["positions"], "policies", []any{object{"type": "minimum_variance"}, weight("SPI", 0.1)}),
		"analyze_impact": args("positions", valued["positions"], "trades", []any{object{"symbol": "AA", "side": "SELL", "quantity": "100"}}),
		"suggest_hedges": args("scenario_result", s),
	} {
		before := d.Reads
		first, _ := d.Ask(t, run, "optimizer."+capability, a)
		require.Equal(t, 4, d.Reads-before, capability)
		for range 5 {
			again, _ := d.Ask(t, run, "optimizer."+capability, a)
			require.Equal(t, first, again)
		}
	}
	for _, c := range d.Cuts {
		require.Equal(t, portfolio.Cut{TenantID: "default", Date: agenttest.Day(t, asof), Revision: 3}, c)
	}
}

// A split changes what a share is, and nothing else.
func TestSplitsChangeNothing(t *testing.T) {
	t.Parallel()
	whole, split := newDesk(t, false), newDesk(t, false)
	for _, symbol := range []string{"EMR", "SPI"} { // held, and a factor that is not
		split.Split(symbol, agenttest.Day(t, "2006-11-01"), 2)
	}
	answers := func(d *agenttest.Desk) []any {
		run := at(t, d, asof)
		valued := value(t, d, run)
		s, _ := d.Ask(t, run, "macro.run_scenario", args("scenario_id", "equity_selloff"))
		h, _ := d.Ask(t, run, "optimizer.suggest_hedges", args("scenario_result", s, "method", "current_holdings"))
		p, _ := d.Ask(t, run, "optimizer.propose_trades", args("positions", valued["positions"], "cash", valued["cash"]))
		dar, _ := d.Ask(t, run, "macro.compute_dar", args("method", "current_holdings"))
		figures := []any{s["base_value"], s["delta"], get(p, "volatility.before"), get(p, "tracking_error.before"), dar["dar"], dar["cdar"]}
		for _, x := range agenttest.Rows(t, h["hedges"]) {
			figures = append(figures, x["hedge_ratio"], x["scenario_delta"])
		}
		return figures
	}
	want, got := answers(whole), answers(split)
	require.Len(t, got, len(want))
	require.Greater(t, len(want), 6)
	for i := range want {
		require.InEpsilon(t, float(t, want[i]), float(t, got[i]), 1e-8)
	}
}
