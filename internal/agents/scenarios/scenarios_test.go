package scenarios_test

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/agenttest"
	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/agents/scenarios"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/scenario"
	"github.com/dawsos/dawsos/pkg/agent"
)

const asof = "2007-05-08"

func newDesk(t testing.TB, empty bool) *agenttest.Desk {
	t.Helper()
	l, err := scenario.Load(agenttest.Configs("analytics"))
	require.NoError(t, err)
	d := agenttest.New(t, empty)
	d.Agents = slices.Concat(scenarios.Capabilities(d, d, l), analyst.New(d, d, analyst.Options{}).Capabilities())
	return d
}

func args(more ...any) map[string]any {
	all := map[string]any{"portfolio_id": agenttest.PortfolioID, "pack_id": agenttest.PackID}
	for i := 0; i < len(more); i += 2 {
		all[more[i].(string)] = more[i+1]
	}
	return all
}

func at(t testing.TB, d *agenttest.Desk, day string) agent.Context {
	return d.At(agenttest.Day(t, day))
}

// The drawdowns are those of metrics.compute_twr's returns: counted out here with plain loops over the
// values that the ledger and the closes give.
func TestDrawdownAtRiskOfTheSample(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	run := at(t, d, asof)
	dar, result := d.Ask(t, run, "macro.compute_dar", args())
	perf, _ := d.Ask(t, run, "metrics.compute_twr", args())
	require.Equal(t, perf["max_drawdown"], dar["max_drawdown"])
	require.Equal(t, perf["window"], dar["window"])
	require.Equal(t, "realised_returns", dar["method"])
	require.Empty(t, agenttest.Lacking(t, dar))
	require.Contains(t, result.Sources, agent.Source{Name: "prices:SBI", Asof: run.Asof})

	r := plainReturns(t, d, run)
	r = r[len(r)-252:]
	var drawdowns []float64
	w, peak := 1.0, 1.0
	for _, x := range r {
		w *= 1 + x
		peak = math.Max(peak, w)
		drawdowns = append(drawdowns, 1-w/peak)
	}
	slices.Sort(drawdowns)
	h := 0.95 * 251 // 238.45
	want := drawdowns[238] + (h-238)*(drawdowns[239]-drawdowns[238])
	var sum float64
	for _, x := range drawdowns[239:] {
		sum += x
	}
	require.InDelta(t, want, agenttest.Float(t, dar["dar"]), 1e-9*want)
	require.InDelta(t, sum/13, agenttest.Float(t, dar["cdar"]), 1e-9)

	now, _ := d.Ask(t, run, "macro.compute_dar", args("method", "current_holdings"))
	require.NotEqual(t, dar["dar"], now["dar"])
	require.Equal(t, dar["window"], now["window"])
}

// plainReturns values the sample's ledger on every SBI day with nothing of the product's but its data.
func plainReturns(t testing.TB, d *agenttest.Desk, run agent.Context) []float64 {
	t.Helper()
	days := d.Closes("SBI", run.Asof)
	var calendar []time.Time
	for day := range days {
		if !day.Before(d.Ledger[0].Date) {
			calendar = append(calendar, day)
		}
	}
	slices.SortFunc(calendar, time.Time.Compare)
	last := func(closes map[time.Time]float64, day time.Time) float64 {
		for {
			if v, ok := closes[day]; ok {
				return v
			}
			day = day.AddDate(0, 0, -1)
		}
	}
	closes := map[string]map[time.Time]float64{"fx": d.Rates("USD/CHF", run.Asof)}
	var r []float64
	previous := math.NaN()
	for i, day := range calendar {
		held, cash := map[string]float64{}, map[string]float64{}
		var flow float64
		for _, tx := range d.Ledger {
			if tx.Date.After(day) {
				break
			}
			cash[tx.Currency] += tx.Amount.InexactFloat64()
			q := tx.Quantity.InexactFloat64()
			switch tx.Type {
			case portfolio.Buy:
				held[tx.Symbol] += q
			case portfolio.Sell:
				held[tx.Symbol] -= q
			case portfolio.FX:
				cash["USD"] += q
			case portfolio.Deposit, portfolio.Withdrawal:
				if i > 0 && tx.Date.After(calendar[i-1]) {
					flow += tx.Amount.InexactFloat64()
				}
			}
		}
		usd := last(closes["fx"], day)
		value := cash["CHF"] + cash["USD"]*usd
		for symbol, q := range held {
			if closes[symbol] == nil {
				closes[symbol] = d.Closes(symbol, run.Asof)
			}
			v := q * last(closes[symbol], day)
			if d.Security(symbol).Currency == "USD" {
				v *= usd
			}
			value += v
		}
		if i > 0 {
			r = append(r, value/(previous+flow)-1)
		}
		previous = value
	}
	return r
}

func TestDrawdownAtRiskAdjustedToTheCycle(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	run := at(t, d, asof)
	plain, _ := d.Ask(t, run, "macro.compute_dar", args())
	phases := func(phase string, history ...string) map[string]any {
		list := []any{}
		for i := 0; i < len(history); i += 2 {
			list = append(list, map[string]any{"date": history[i], "phase": history[i+1]})
		}
		return map[string]any{"phase": phase, "history": list, "label": "more fields", "confidence": 0.5}
	}
	adjusted, result := d.Ask(t, run, "macro.compute_dar", args("cycle_adjusted", true,
		"stdc", phases("late_expansion", "2004-12-31", "mid_expansion", "2006-04-28", "late_expansion")))
	c := adjusted["cycle_adjustment"].(map[string]any)
	require.Equal(t, true, c["applied"])
	require.Equal(t, plain["dar"], c["unadjusted_dar"])
	require.Empty(t, result.Warnings)
	r := plainReturns(t, d, run)
	in := r[len(r)-int(agenttest.Float(t, c["returns"])):]
	want, err := scenario.PhaseScale(in, r[len(r)-252:], 63)
	require.NoError(t, err)
	require.InDelta(t, want, agenttest.Float(t, c["scale"]), 1e-9)
	scaled := make([]float64, 252)
	for i, x := range r[len(r)-252:] {
		scaled[i] = want * x
	}
	dar, cdar := scenario.DrawdownAtRisk(scaled, 0.95)
	require.InDelta(t, dar, agenttest.Float(t, adjusted["dar"]), 1e-9)
	require.InDelta(t, cdar, agenttest.Float(t, adjusted["cdar"]), 1e-9)

	for name, stdc := range map[string]any{
		"none": nil, "no phase": map[string]any{"phase": nil, "history": []any{}},
		"no history": phases("late_expansion"), "too short": phases("late_expansion", "2007-04-30", "late_expansion"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, result := d.Ask(t, run, "macro.compute_dar", args("cycle_adjusted", true, "stdc", stdc))
			require.Equal(t, plain["dar"], got["dar"], "as it is")
			require.Equal(t, false, got["cycle_adjustment"].(map[string]any)["applied"])
			require.Contains(t, strings.Join(agenttest.Lacking(t, got), " "), "cycle_adjustment.scale: ")
			require.Len(t, result.Warnings, 1)
		})
	}
}

func TestShortAndEmptyHistories(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		empty bool
		day   string
		want  string // what dar lacks
	}{
		"empty":                  {true, asof, "dar: transactions"},
		"before the first":       {false, "2004-12-31", "dar: transactions"},
		"one day":                {false, "2005-01-03", "dar: returns"},
		"two days":               {false, "2005-01-04", ""},
		"a weekend":              {false, "2007-05-06", ""},
		"young, today's weights": {false, "2005-01-04", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, tt.empty)
			run := at(t, d, tt.day)
			dar, _ := d.Ask(t, run, "macro.compute_dar", args())
			if tt.want != "" {
				require.Contains(t, agenttest.Lacking(t, dar), tt.want)
				require.Nil(t, dar["dar"])
			} else {
				require.NotNil(t, dar["dar"])
			}
			s, _ := d.Ask(t, run, "macro.run_scenario", args("scenario_id", "equity_selloff"))
			if tt.empty || tt.day == "2004-12-31" {
				require.Nil(t, s["delta"])
				require.Contains(t, agenttest.Lacking(t, s), "delta: holdings")
			}
			if strings.Contains(name, "today's") {
				now, _ := d.Ask(t, run, "macro.compute_dar", args("method", "current_holdings"))
				require.EqualValues(t, "252", now["window"].(map[string]any)["returns"], "a young portfolio has old securities")
				require.NotEmpty(t, agenttest.Rows(t, s["positions"])[0]["by_shock"], "and old betas")
			}
		})
	}
}

// By the data alone: betas by plain sums over the 252 days, dollars by 3 %.
func TestScenarioOfTheSample(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	run := at(t, d, asof)
	s, result := d.Ask(t, run, "macro.run_scenario", args("scenario_id", "equity_selloff"))
	require.Equal(t, "1444808.19", s["base_value"], "pricing.apply_pack's")
	require.Contains(t, s["source"], "Judgement")

	calendar := []time.Time{}
	for day := range d.Closes("SBI", run.Asof) {
		calendar = append(calendar, day)
	}
	slices.SortFunc(calendar, time.Time.Compare)
	calendar = calendar[len(calendar)-253:]
	returns := func(symbol string) []float64 {
		closes := d.Closes(symbol, run.Asof)
		var r []float64
		previous := math.NaN()
		for i, day := range calendar {
			for {
				if v, ok := closes[day]; ok {
					if i > 0 {
						r = append(r, v/previous-1)
					}
					previous = v
					break
				}
				day = day.AddDate(0, 0, -1)
			}
		}
		return r
	}
	slope := func(y, x []float64) float64 {
		var sx, sy, sxx, sxy float64
		n := float64(len(x))
		for i := range x {
			sx, sy, sxx, sxy = sx+x[i], sy+y[i], sxx+x[i]*x[i], sxy+x[i]*y[i]
		}
		return (n*sxy - sx*sy) / (n*sxx - sx*sx)
	}
	total := decimal.Zero
	seen := 0
	for _, p := range agenttest.Rows(t, s["positions"]) {
		symbol := p["symbol"].(string)
		value := agenttest.Float(t, p["base_value"])
		want := 0.0
		if p["currency"] == "USD" {
			want += 0.03 * value
		}
		if p["asset_class"] == "equity" || p["asset_class"] == "real_estate" {
			factor := map[any]string{"CHF": "SPI", "USD": "USMKT"}[p["currency"]]
			want -= 0.2 * value * slope(returns(symbol), returns(factor))
			seen++
		}
		if symbol == "SBI" {
			require.Nil(t, p["delta"], "its duration is not known")
			continue
		}
		require.InDelta(t, want, agenttest.Float(t, p["delta"]), 1e-6*math.Abs(want)+1e-5, symbol)
		total = total.Add(decimal.RequireFromString(p["delta"].(string)))
	}
	require.Greater(t, seen, 5)
	for _, c := range agenttest.Rows(t, s["cash"]) {
		total = total.Add(decimal.RequireFromString(c["delta"].(string)))
	}
	require.Equal(t, total.StringFixed(2), s["delta"])
	require.InDelta(t, agenttest.Float(t, s["base_value"])+agenttest.Float(t, s["delta"]), agenttest.Float(t, s["shocked_value"]), 1e-6)
	require.Subset(t, agenttest.Lacking(t, s), []string{
		"shocks.rates_bps.delta: exposure:rates_bps", "shocks.credit_bps.delta: factor:credit", "positions.SBI.delta: securities:SBI.duration",
	})
	var sources []string
	for _, x := range result.Sources {
		sources = append(sources, x.Name)
	}
	require.True(t, slices.IsSorted(sources))
	require.Contains(t, sources, "prices:USMKT")
	require.Contains(t, sources[0], "config:scenarios.yaml@")
	require.NotContains(t, strings.Join(sources, " "), "CASH:")
}

func TestScenarioWithADuration(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	duration, convexity := 5.2, 36.0
	sbi := d.Security("SBI")
	sbi.Duration, sbi.Convexity = &duration, &convexity
	d.Changed["SBI"] = sbi
	s, _ := d.Ask(t, at(t, d, asof), "macro.run_scenario", args("scenario_id", "rates_up"))
	for _, p := range agenttest.Rows(t, s["positions"]) {
		if p["symbol"] == "SBI" {
			require.InDelta(t, 261_198*(-5.2*0.01+0.5*36*0.0001), agenttest.Float(t, p["delta"]), 1e-5)
		}
	}
}

func TestCustomShocks(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	run := at(t, d, asof)
	s, _ := d.Ask(t, run, "macro.run_scenario", args("custom_shocks", map[string]any{
		"rates_bps": 50, "usd_vs_cad_pct": 3, "cpi_surprise_pct": 1,
	}))
	require.Equal(t, "custom", s["scenario_id"])
	require.Nil(t, s["delta"], "nothing of it reaches anything that can be computed")
	require.Subset(t, agenttest.Lacking(t, s), []string{
		"shocks.cpi_surprise_pct.delta: factor:inflation", "shocks.usd_vs_cad_pct.delta: exposure:USD/CAD", "delta: factor:inflation",
	})
	one, _ := d.Ask(t, run, "macro.run_scenario", args("custom_shocks", map[string]any{"equity_pct": -10}))
	two, _ := d.Ask(t, run, "macro.run_scenario", args("custom_shocks", map[string]any{"equity_pct": -20}))
	require.InDelta(t, 2*agenttest.Float(t, one["delta"]), agenttest.Float(t, two["delta"]), 0.02)
	mixed, _ := d.Ask(t, run, "macro.run_scenario", args("scenario_id", "usd_up", "custom_shocks", map[string]any{"equity_pct": 0}))
	usd, _ := d.Ask(t, run, "macro.run_scenario", args("custom_shocks", map[string]any{"usd_pct": 5}))
	require.Equal(t, usd["delta"], mixed["delta"])

	for shock, size := range map[string]float64{"oil_pct": 1, "rates_bps": 1e6} {
		wrong := agenttest.Violations(t, d.Agents, "macro.run_scenario", args("custom_shocks", map[string]any{shock: size}))
		require.Len(t, wrong, 1)
		require.Equal(t, "/args/custom_shocks/"+shock, wrong[0].Pointer)
	}
	for name, tt := range map[string]struct {
		args    map[string]any
		pointer string
	}{
		"neither":       {args(), "/args/scenario_id"},
		"empty":         {args("custom_shocks", map[string]any{}), "/args/scenario_id"},
		"unknown":       {args("scenario_id", "doom"), "/args/scenario_id"},
		"unknown shock": {args("custom_shocks", map[string]any{"oil_pct": json.Number("1")}), "/args/custom_shocks/oil_pct"},
	} {
		_, err := d.Run(run, "macro.run_scenario", tt.args)
		require.Equal(t, fault.Invalid, fault.CodeOf(err), name)
		e := new(fault.Error)
		require.ErrorAs(t, err, &e)
		require.Equal(t, tt.pointer, e.Fields[0].Pointer, name)
	}
}

func TestMissingMarketData(t *testing.T) {
	t.Parallel()
	for hidden, want := range map[string][]string{
		"prices:AA":     {"delta: prices:AA", "base_value: prices:AA", "positions.AA.delta: prices:AA"},
		"fx:USD/CHF":    {"delta: fx:USD/CHF", "cash.USD.delta: fx:USD/CHF"},
		"prices:USMKT":  {"positions.SBI.delta: securities:SBI.duration"},
		"securities:AA": {},
	} {
		t.Run(hidden, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, false)
			d.Hidden[hidden] = true
			s, _ := d.Ask(t, at(t, d, asof), "macro.run_scenario", args("scenario_id", "equity_selloff"))
			require.Subset(t, agenttest.Lacking(t, s), want)
			if hidden == "prices:USMKT" {
				missing := 0
				for _, u := range agenttest.Rows(t, s["unmapped"]) {
					if u["shock"] == "equity_pct" {
						require.Equal(t, "prices:USMKT", u["missing"])
						missing++
					}
				}
				require.Equal(t, 5, missing, "AA, EMR, GGG, ROG, T")
			}
			_, _ = d.Ask(t, at(t, d, asof), "macro.compute_dar", args("method", "current_holdings"))
		})
	}
}

func TestShortPosition(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	d.Book(portfolio.Transaction{
		Date: agenttest.Day(t, "2007-05-08"), Type: portfolio.Sell, Symbol: "CH_TECH", SecurityID: agenttest.SecurityID("CH_TECH"),
		Quantity: decimal.NewFromInt(100), Price: decimal.NewFromInt(100), Currency: "CHF", Amount: decimal.NewFromInt(10000),
	})
	s, _ := d.Ask(t, at(t, d, asof), "macro.run_scenario", args("custom_shocks", map[string]any{"equity_pct": -10}))
	for _, p := range agenttest.Rows(t, s["positions"]) {
		if p["symbol"] == "CH_TECH" {
			require.Negative(t, agenttest.Float(t, p["base_value"]))
			require.Positive(t, agenttest.Float(t, p["delta"]), "a short position gains when shares fall")
			require.Negative(t, agenttest.Float(t, p["delta_pct"]), "the security's own change")
		}
	}
}

func TestDeleveraging(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	run := at(t, d, asof)
	for _, id := range scenario.DeleveragingIDs {
		s, result := d.Ask(t, run, "scenarios.deleveraging_"+id, args("ltdc_phase", "top"))
		require.Equal(t, id, s["scenario_id"])
		require.Equal(t, "top", s["ltdc_phase"])
		require.Empty(t, result.Warnings)
		require.Empty(t, s["unmapped"], "all classes of the sample are covered")
		_, result = d.Ask(t, run, "scenarios.deleveraging_"+id, args("ltdc_phase", nil))
		require.Len(t, result.Warnings, 1)
	}
	s, _ := d.Ask(t, run, "scenarios.deleveraging_money_printing", args())
	for _, p := range agenttest.Rows(t, s["positions"]) {
		if p["symbol"] == "SBI" {
			require.InDelta(t, -0.25*261_198, agenttest.Float(t, p["delta"]), 1e-6)
		}
		if p["symbol"] == "GOLD" {
			require.InDelta(t, 0.15, agenttest.Float(t, p["delta_pct"]), 1e-12, "30 % up in dollars that lose 15 %")
		}
	}
}

func TestFourReadsWithinTheCut(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	run := at(t, d, "2006-06-02")
	run.PricingPack.Date = agenttest.Day(t, "2007-05-08")
	for capability, a := range map[string]map[string]any{
		"macro.compute_dar": args("method", "current_holdings"), "macro.run_scenario": args("scenario_id", "rates_up"),
		"scenarios.deleveraging_default": args(),
	} {
		before := d.Reads
		first, _ := d.Ask(t, run, capability, a)
		require.Equal(t, 4, d.Reads-before, capability)
		for range 5 {
			again, _ := d.Ask(t, run, capability, a)
			require.Equal(t, first, again)
		}
	}
	for _, c := range d.Cuts {
		require.Equal(t, portfolio.Cut{TenantID: "default", Date: agenttest.Day(t, "2006-06-02"), Revision: 3}, c)
	}
}

func TestOtherPacksAndPortfoliosAreRefused(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	run := at(t, d, asof)
	other := "11111111-3c7b-4f0a-9a53-2f1f2c6c9b11"
	for _, capability := range []string{"macro.compute_dar", "macro.run_scenario", "scenarios.deleveraging_default"} {
		more := []any{}
		if capability == "macro.run_scenario" {
			more = []any{"scenario_id", "rates_up"}
		}
		for _, name := range []string{"portfolio_id", "pack_id"} {
			a := args(more...)
			a[name] = other
			_, err := d.Run(run, capability, a)
			require.Equal(t, fault.Invalid, fault.CodeOf(err), "%s %s", capability, name)
		}
	}
	for pointer, a := range map[string]map[string]any{
		"/args/confidence_level": args("confidence_level", json.Number("1")), "/args/method": args("method", "guess"),
		"/args/lookback_days":       args("lookback_days", json.Number("0")),
		"/args/stdc/history/0/date": args("stdc", map[string]any{"history": []any{map[string]any{"date": "May", "phase": "x"}}}),
		"/args/stdc/history":        args("stdc", map[string]any{"history": []any{map[string]any{"date": "2006-01-31"}, map[string]any{"date": "2005-01-31"}}}),
	} {
		_, err := d.Run(run, "macro.compute_dar", a)
		e := new(fault.Error)
		require.ErrorAs(t, err, &e, pointer)
		require.Equal(t, pointer, e.Fields[0].Pointer)
	}
}

// The pattern names the library's shocks within their bounds.
func TestPatternNamesTheShocks(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(agenttest.Configs("patterns/portfolio_scenario_analysis.json"))
	require.NoError(t, err)
	type bounds struct{ Minimum, Maximum float64 }
	var definition struct {
		Inputs map[string]struct {
			Properties map[string]bounds `json:"properties"`
		} `json:"inputs"`
	}
	require.NoError(t, json.Unmarshal(raw, &definition))
	l, err := scenario.Load(agenttest.Configs("analytics"))
	require.NoError(t, err)
	want := map[string]bounds{}
	for _, s := range l.Shocks {
		want[s.Name] = bounds{s.Min, s.Max}
	}
	require.Equal(t, want, definition.Inputs["custom_shocks"].Properties)
}
