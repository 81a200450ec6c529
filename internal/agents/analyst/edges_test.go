package analyst_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/factor"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/research"
)

// mayBeNull are fields whose null says what it means by itself, as their schemas tell.
var mayBeNull = []string{"fx_date", "returns", "quantity", "price", "reverses", "period_end"}

// explainedDeep requires that every null of an answer is beside its reason, in lists too, whose items go by
// their name or symbol.
func explainedDeep(t *testing.T, answer map[string]any) {
	t.Helper()
	fields := lacking(answer)
	covered := func(path string) bool {
		last := path[strings.LastIndex(path, ".")+1:]
		return slices.Contains(mayBeNull, last) || slices.ContainsFunc(fields, func(f string) bool {
			field, _, _ := strings.Cut(f, ": ")
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
				if name != "insufficient_data" {
					walk(strings.TrimPrefix(path+"."+name, "."), member)
				}
			}
		case []any:
			for _, item := range v {
				name := path
				if object, ok := item.(map[string]any); ok {
					for _, key := range []string{"name", "symbol"} {
						if s, ok := object[key].(string); ok {
							name = path + "." + s
						}
					}
				}
				walk(name, item)
			}
		}
	}
	walk("", answer)
}

// questions is one request of every capability that reads a portfolio's past or its market.
func questions(symbol string) map[string]map[string]any {
	window := about(symbol, map[string]any{"lookback_days": 252})
	stdc := phasesOf()
	exposures := map[string]any{"factors": []any{map[string]any{"name": "SPI", "beta": 0.5}, map[string]any{"name": "USDCHF", "beta": nil}}}
	return map[string]map[string]any{
		"metrics.compute":                       {"portfolio_id": portfolioID, "pack_id": packID, "metric": "twr_1y"},
		"metrics.compute_sharpe":                over(252),
		"metrics.history":                       over(252),
		"get_position_details":                  about(symbol, nil),
		"compute_position_return":               window,
		"compute_portfolio_contribution":        window,
		"compute_position_currency_attribution": window,
		"compute_position_risk":                 window,
		"get_transaction_history":               {"portfolio_id": portfolioID, "security_id": idOf(symbol)},
		"get_security_fundamentals":             {"security_id": idOf(symbol)},
		"get_comparable_positions":              {"security_id": idOf(symbol)},
		"risk.compute_factor_exposures":         {"portfolio_id": portfolioID, "pack_id": packID},
		"risk.get_factor_exposure_history":      {"portfolio_id": portfolioID, "lookback_weeks": 3},
		"risk.overlay_cycle_phases":             {"factor_exposures": exposures, "stdc": stdc, "ltdc": map[string]any{"insufficient_data": []any{}}},
	}
}

// Each case of a poor portfolio or market is answered, and every null has its reason.
func TestEdgesAreAnswered(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		asof   string
		symbol string
		change func(t *testing.T, d *desk)
		lacks  map[string][]string
		warns  bool
	}{
		"empty portfolio": {asof, "SBI", func(_ *testing.T, d *desk) { d.Ledger = nil }, map[string][]string{
			"metrics.compute":                       {"value: transactions", "asof: transactions"},
			"metrics.compute_sharpe":                {"window: transactions", "sharpe_ratio: transactions"},
			"metrics.history":                       {"nav: transactions"},
			"get_position_details":                  {"market_value: holding"},
			"compute_position_return":               {"total_return: transactions"},
			"compute_portfolio_contribution":        {"contribution: transactions", "total_return: transactions"},
			"compute_position_currency_attribution": {"total_return: transactions", "contribution: transactions"},
			"compute_position_risk":                 {"beta: transactions", "current_holdings.var_95: transactions"},
			"risk.compute_factor_exposures":         {"factors: transactions", "window: transactions"},
			"risk.get_factor_exposure_history":      {"history: transactions"},
		}, false},
		"before the first transaction": {"2004-12-31", "SBI", nil, map[string][]string{
			"metrics.compute":               {"value: transactions"},
			"compute_position_return":       {"total_return: transactions"},
			"risk.compute_factor_exposures": {"factors: transactions"},
			"get_position_details":          {"market_value: holding"},
		}, false},
		"one day of history": {"2005-01-03", "SBI", nil, map[string][]string{
			"metrics.history":                  {"nav: returns"},
			"compute_position_return":          {"total_return: returns"},
			"compute_position_risk":            {"current_holdings.var_95: returns"},
			"risk.get_factor_exposure_history": {"history: returns"},
		}, false},
		"one return": {"2005-01-04", "SBI", nil, map[string][]string{
			"metrics.compute_sharpe":        {"sharpe_ratio: returns"},
			"compute_position_return":       {"volatility: returns", "sharpe_ratio: returns"},
			"compute_position_risk":         {"beta: returns", "current_holdings.var_95: returns"},
			"risk.compute_factor_exposures": {"factors: returns"},
		}, true},
		"a weekend": {"2007-05-06", "SBI", nil, nil, false},
		"never traded": {asof, "TDW", nil, map[string][]string{
			"get_position_details":                  {"market_value: holding"},
			"compute_position_return":               {"total_return: holding"},
			"compute_portfolio_contribution":        {"contribution: holding"},
			"compute_position_currency_attribution": {"total_return: holding", "contribution: holding"},
			"compute_position_risk":                 {"beta: holding", "current_holdings.weight: holding"},
		}, false},
		"sold altogether": {asof, "CH_TELE", func(t *testing.T, d *desk) {
			d.Ledger = append(d.Ledger, portfolio.Transaction{
				Seq: 24, Date: day(t, "2007-05-02"), Type: portfolio.Sell, Symbol: "CH_TELE", SecurityID: idOf("CH_TELE"), Currency: "CHF",
				Quantity: decimal.NewFromInt(60), Amount: decimal.NewFromInt(55000),
			})
		}, map[string][]string{
			"get_position_details":  {"market_value: holding"},
			"compute_position_risk": {"current_holdings.weight: holding"},
		}, false},
		"unpriced": {asof, "AA", func(_ *testing.T, d *desk) { d.Hidden["prices:AA"] = true }, map[string][]string{
			"metrics.compute":                       {"value: prices:AA"},
			"metrics.history":                       {"nav: prices:AA", "returns: prices:AA"},
			"get_position_details":                  {"price: prices:AA", "weight: prices:AA"},
			"compute_position_return":               {"total_return: prices:AA"},
			"compute_portfolio_contribution":        {"contribution: prices:AA"},
			"compute_position_currency_attribution": {"total_return: prices:AA", "contribution: prices:AA"},
			"compute_position_risk":                 {"beta: prices:AA", "current_holdings.var_95: prices:AA"},
			"get_comparable_positions":              {"return_1y: prices:AA"},
			"risk.compute_factor_exposures":         {"factors: prices:AA"},
			"risk.get_factor_exposure_history":      {"history: prices:AA"},
		}, false},
		"no rate": {asof, "AA", func(_ *testing.T, d *desk) { d.Hidden["fx:USD/CHF"] = true }, map[string][]string{
			"get_position_details":          {"fx_rate: fx:USD/CHF", "market_value: fx:USD/CHF", "cost_basis: fx:USD/CHF"},
			"compute_position_return":       {"total_return: fx:USD/CHF"},
			"get_comparable_positions":      {"return_1y: fx:USD/CHF"},
			"risk.compute_factor_exposures": {"factors: fx:USD/CHF"},
			"risk.overlay_cycle_phases":     {"short_term.factors.USDCHF.amplification: factor:USDCHF"},
		}, false},
		"no factor": {asof, "SBI", func(_ *testing.T, d *desk) { d.Hidden["prices:SPI"], d.Hidden["prices:USMKT"] = true, true }, map[string][]string{
			"risk.compute_factor_exposures":    {"factors: prices:SPI", "factors: prices:USMKT"},
			"risk.get_factor_exposure_history": {"history: prices:SPI", "history: prices:USMKT"},
			"risk.overlay_cycle_phases":        {"short_term.factors.SPI.amplification: factor:SPI"},
		}, false},
		"no model": {asof, "SBI", func(_ *testing.T, d *desk) { d.factors = factor.Model{} }, map[string][]string{
			"risk.compute_factor_exposures":    {"factors: config:factors.yaml"},
			"risk.overlay_cycle_phases":        {"short_term: config:factors.yaml"},
			"risk.get_factor_exposure_history": {"history: config:factors.yaml"},
		}, false},
		"collinear factors": {asof, "SBI", func(_ *testing.T, d *desk) {
			d.factors.Factors = append(slices.Clone(d.factors.Factors), factor.Factor{Name: "AGAIN", Kind: factor.Security, Symbol: "SPI"})
		}, map[string][]string{
			"risk.compute_factor_exposures":    {"factors: factors"},
			"risk.get_factor_exposure_history": {"history: factors"},
		}, false},
		"no benchmark": {asof, "SBI", func(_ *testing.T, d *desk) { d.Subject.Benchmark = "" }, map[string][]string{
			"metrics.history":       {"benchmark: benchmark", "benchmark_symbol: benchmark"},
			"compute_position_risk": {"benchmark.beta: benchmark"},
		}, false},
		"no risk-free rate": {asof, "SBI", func(_ *testing.T, d *desk) { d.riskFree = "" }, map[string][]string{
			"metrics.compute_sharpe":  {"sharpe_ratio: risk_free_annual", "risk_free: risk_free_annual"},
			"compute_position_return": {"sharpe_ratio: risk_free_annual"},
		}, false},
		"no accounts": {asof, "EMR", nil, map[string][]string{"get_security_fundamentals": {"fundamentals: fundamentals:EMR"}}, false},
		"short position": {asof, "F", func(t *testing.T, d *desk) {
			d.Ledger = append(d.Ledger, portfolio.Transaction{
				Seq: 24, Date: day(t, "2007-01-05"), Type: portfolio.Sell, Symbol: "F", SecurityID: idOf("F"), Currency: "USD",
				Quantity: decimal.NewFromInt(1000), Amount: decimal.NewFromInt(20000),
			})
		}, nil, false},
		"cash alone": {asof, "SBI", func(_ *testing.T, d *desk) { d.Ledger = d.Ledger[:1] }, map[string][]string{
			"compute_position_risk":         {"current_holdings.var_95: variance"},
			"risk.compute_factor_exposures": {"factors: variance"},
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for capability, args := range questions(tt.symbol) {
				d := newDesk(t, demo)
				if tt.change != nil {
					tt.change(t, d)
				}
				answer, result := d.ask(t, d.at(day(t, tt.asof)), capability, args)
				if _, has := answer["insufficient_data"]; has {
					explainedDeep(t, answer)
					require.Subset(t, lacking(answer), tt.lacks[capability], capability)
				}
				if tt.warns && strings.HasPrefix(capability, "compute_position_r") {
					require.NotEmpty(t, result.Warnings, capability)
				}
				require.LessOrEqual(t, d.Reads, 5, "%s reads too often", capability)
				for _, c := range d.Cuts {
					require.Equal(t, portfolio.Cut{TenantID: "default", Date: day(t, tt.asof), Revision: 3}, c, capability)
				}
			}
		})
	}
}

// A short position's numbers have the sign of what it does to the portfolio.
func TestShortPosition(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	d.Ledger = append(d.Ledger, portfolio.Transaction{
		Seq: 24, Date: day(t, "2006-01-05"), Type: portfolio.Sell, Symbol: "F", SecurityID: idOf("F"), Currency: "USD",
		Quantity: decimal.NewFromInt(1000), Amount: decimal.NewFromInt(20000),
	})
	slices.SortStableFunc(d.Ledger, func(a, b portfolio.Transaction) int { return a.Date.Compare(b.Date) })
	run := d.at(day(t, asof))
	details, _ := d.ask(t, run, "get_position_details", about("F", nil))
	require.Equal(t, "-1000", details["quantity"])
	require.Negative(t, float(t, details["market_value"]))
	require.Negative(t, float(t, details["weight"]))
	require.Equal(t, "20", details["average_cost"], "received for one share")
	contributed, _ := d.ask(t, run, "compute_portfolio_contribution", about("F", nil))
	require.Negative(t, float(t, contributed["weight"]))
	require.NotEqual(t, float(t, contributed["return"]) > 0, float(t, contributed["contribution"]) > 0, "what the share wins is lost")
	risk, _ := d.ask(t, run, "compute_position_risk", about("F", nil))
	require.Negative(t, float(t, risk["current_holdings"].(map[string]any)["weight"]))
	explainedDeep(t, risk)
}

// A split changes no return, and a dividend adds to it.
func TestSplitAndDividend(t *testing.T) {
	t.Parallel()
	plain := newDesk(t, demo)
	run := plain.at(day(t, asof))
	before, _ := plain.ask(t, run, "compute_position_return", about("GGG", nil))
	peers, _ := plain.ask(t, run, "get_comparable_positions", map[string]any{"security_id": idOf("GGG")})

	d := newDesk(t, demo)
	d.Split("GGG", day(t, "2006-12-04"), 2)
	split, _ := d.ask(t, d.at(day(t, asof)), "compute_position_return", about("GGG", nil))
	close9(t, float(t, before["total_return"]), split["total_return"], "over a split")
	close9(t, float(t, before["volatility"]), split["volatility"], "over a split")
	after, _ := d.ask(t, d.at(day(t, asof)), "get_comparable_positions", map[string]any{"security_id": idOf("GGG")})
	close9(t, float(t, peers["return_1y"]), after["return_1y"], "over a split")

	d.Ledger = append(d.Ledger, portfolio.Transaction{
		ID: "dividend", Seq: 25, Date: day(t, asof), Type: portfolio.Dividend, Symbol: "GGG", SecurityID: idOf("GGG"), Currency: "USD",
		Amount: decimal.NewFromInt(1000),
	})
	paid, result := d.ask(t, d.at(day(t, asof)), "compute_position_return", about("GGG", nil))
	close9(t, float(t, before["total_return"]), paid["price_return"], "without the dividend")
	require.Greater(t, float(t, paid["total_return"]), float(t, paid["price_return"]))
	require.Empty(t, result.Warnings)
	listed, _ := d.ask(t, d.at(day(t, asof)), "get_transaction_history", map[string]any{"portfolio_id": portfolioID, "security_id": idOf("GGG")})
	var types []any
	for _, x := range listed["transactions"].([]any) {
		types = append(types, x.(map[string]any)["type"])
	}
	require.Equal(t, []any{"DIVIDEND", "SPLIT", "BUY"}, types)
}

// The overlay goes over splits as the betas do that it multiplies: a halved price is no loss of the factor.
func TestOverlayGoesOverSplits(t *testing.T) {
	t.Parallel()
	plain := newDesk(t, demo)
	args := map[string]any{"factor_exposures": map[string]any{"factors": []any{map[string]any{"name": "SBI", "beta": 1}}}, "stdc": phasesOf(), "ltdc": nil}
	before, _ := plain.ask(t, plain.at(day(t, asof)), "risk.overlay_cycle_phases", args)

	d := newDesk(t, demo)
	d.Split("SBI", day(t, "2006-12-04"), 2)
	after, result := d.ask(t, d.at(day(t, asof)), "risk.overlay_cycle_phases", args)
	factorOf := func(answer map[string]any) map[string]any {
		return answer["short_term"].(map[string]any)["factors"].([]any)[0].(map[string]any)
	}
	for _, field := range []string{"volatility", "volatility_in_phase", "amplification", "risk_in_phase"} {
		close9(t, float(t, factorOf(before)[field]), factorOf(after)[field], field)
	}
	require.Contains(t, names(result.Sources), "ledger:"+portfolioID)

	// Without a portfolio nobody knows of splits.
	alone := d.at(day(t, asof))
	alone.Portfolio = nil
	unknown, _ := d.ask(t, alone, "risk.overlay_cycle_phases", args)
	require.Greater(t, float(t, factorOf(unknown)["volatility"]), 2*float(t, factorOf(before)["volatility"]))
}

func TestTransactionsOfASecurity(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	undone := d.Ledger[12] // the purchase of GOLD
	d.Ledger[12].ID = "gold"
	d.Ledger = append(d.Ledger, portfolio.Transaction{
		ID: "undo", Seq: 24, Date: undone.Date, Type: portfolio.Reversal, Symbol: undone.Symbol, Currency: undone.Currency,
		Amount: undone.Amount.Neg(), Reverses: "gold",
	})
	run := d.at(day(t, asof))
	got, _ := d.ask(t, run, "get_transaction_history", map[string]any{"portfolio_id": portfolioID, "security_id": strings.ToUpper(idOf("SBI")), "limit": 2})
	require.InDelta(t, 3, got["total"], 0)
	list := got["transactions"].([]any)
	require.Len(t, list, 2)
	require.Equal(t, "2006-11-15", list[0].(map[string]any)["date"])
	require.Equal(t, "39736", list[0].(map[string]any)["amount"])
	require.Equal(t, "99.34", list[0].(map[string]any)["price"])

	require.Equal(t, "GOLD", undone.Symbol)
	got, _ = d.ask(t, run, "get_transaction_history", map[string]any{"portfolio_id": portfolioID, "security_id": idOf("GOLD")})
	list = got["transactions"].([]any)
	require.Len(t, list, 2)
	require.Equal(t, "REVERSAL", list[0].(map[string]any)["type"])
	require.Equal(t, "gold", list[0].(map[string]any)["reverses"])
	require.Nil(t, list[0].(map[string]any)["quantity"])
}

func TestFundamentalsOfASecurity(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	figure := func(provider, metric, on string, value float64) research.Fundamental {
		return research.Fundamental{SecurityID: idOf("EMR"), Symbol: "EMR", Provider: provider, Metric: metric, Date: day(t, on), Value: value}
	}
	d.Accounts = []research.Fundamental{
		figure("fmp", "current_ratio", "2007-02-01", 1.4), figure("fmp", "roe_5y", "2007-03-01", 0.19),
		figure("other", "roe_5y", "2006-03-01", 0.2), figure("other", "tomorrow", "2007-05-09", 1),
	}
	d.Accounts[1].PeriodEnd = day(t, "2006-12-31")
	got, result := d.ask(t, d.at(day(t, asof)), "get_security_fundamentals", map[string]any{"security_id": idOf("EMR")})
	require.Equal(t, "Industrials", got["sector"])
	require.Empty(t, got["insufficient_data"])
	require.Equal(t, []any{
		map[string]any{"provider": "fmp", "metric": "current_ratio", "value": 1.4, "date": "2007-02-01", "period_end": nil},
		map[string]any{"provider": "fmp", "metric": "roe_5y", "value": 0.19, "date": "2007-03-01", "period_end": "2006-12-31"},
		map[string]any{"provider": "other", "metric": "roe_5y", "value": 0.2, "date": "2006-03-01", "period_end": nil},
	}, got["fundamentals"])
	require.Equal(t, []string{"fundamentals:EMR:fmp", "fundamentals:EMR:other"}, names(result.Sources))
	require.Equal(t, day(t, "2007-03-01"), result.Sources[0].Asof)
}

func TestAllAnswersRepeat(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	run := d.at(day(t, asof))
	for capability, args := range questions("AA") {
		answer := func() string {
			result, err := d.run(run, capability, args)
			require.NoError(t, err)
			raw, err := json.Marshal([]any{result.Value, result.Sources, result.Warnings})
			require.NoError(t, err)
			return string(raw)
		}
		first := answer()
		for range 5 {
			require.Equal(t, first, answer(), capability)
		}
	}
}

func TestQuestionsThatAreRefused(t *testing.T) {
	t.Parallel()
	window := about("AA", map[string]any{"lookback_days": 252})
	phases := func(history ...any) map[string]any { return map[string]any{"phase": "boom", "history": history} }
	at := func(date string) any { return map[string]any{"date": date, "phase": "boom"} }
	overlay := func(stdc any) map[string]any {
		return map[string]any{"factor_exposures": map[string]any{"factors": []any{}}, "stdc": stdc}
	}
	for name, tt := range map[string]struct {
		capability string
		args       map[string]any
		change     map[string]any
		code       fault.Code
		says       string
	}{
		"no such metric":     {"metrics.compute", questions("AA")["metrics.compute"], map[string]any{"metric": "luck"}, fault.Invalid, "/args/metric"},
		"SQL for a metric":   {"metrics.compute", questions("AA")["metrics.compute"], map[string]any{"metric": "nav; DROP TABLE prices"}, fault.Invalid, "/args/metric"},
		"rate in percent":    {"metrics.compute_sharpe", over(252), map[string]any{"risk_free_annual": 2}, fault.Invalid, "/args/risk_free_annual"},
		"position's rate":    {"compute_position_return", window, map[string]any{"risk_free_annual": -1}, fault.Invalid, "/args/risk_free_annual"},
		"no days":            {"metrics.history", over(252), map[string]any{"lookback_days": 0}, fault.Invalid, "/args/lookback_days"},
		"other pack":         {"compute_position_risk", window, map[string]any{"pack_id": portfolioID}, fault.Invalid, "pack_id"},
		"other portfolio":    {"compute_portfolio_contribution", window, map[string]any{"portfolio_id": packID}, fault.Invalid, "/args/portfolio_id"},
		"unknown security":   {"compute_position_return", window, map[string]any{"security_id": packID}, fault.NotFound, "there is no security"},
		"of the details":     {"get_position_details", about("AA", nil), map[string]any{"security_id": packID}, fault.NotFound, "there is no security"},
		"of the accounts":    {"get_security_fundamentals", map[string]any{"security_id": packID}, nil, fault.NotFound, "there is no security"},
		"of the comparables": {"get_comparable_positions", map[string]any{"security_id": packID}, nil, fault.NotFound, "there is no security"},
		"too many":           {"get_transaction_history", questions("AA")["get_transaction_history"], map[string]any{"limit": 201}, fault.Invalid, "/args/limit"},
		"too few":            {"get_comparable_positions", questions("AA")["get_comparable_positions"], map[string]any{"limit": 0}, fault.Invalid, "/args/limit"},
		"no weeks":           {"risk.get_factor_exposure_history", map[string]any{"portfolio_id": portfolioID}, map[string]any{"lookback_weeks": 0}, fault.Invalid, "/args/lookback_weeks"},
		"many weeks":         {"risk.get_factor_exposure_history", map[string]any{"portfolio_id": portfolioID}, map[string]any{"lookback_weeks": 521}, fault.Invalid, "/args/lookback_weeks"},
		"no date":            {"risk.overlay_cycle_phases", overlay(phases(at("May"))), nil, fault.Invalid, "/args/stdc/history/0/date"},
		"out of order":       {"risk.overlay_cycle_phases", overlay(phases(at("2006-05-31"), at("2006-04-30"))), nil, fault.Invalid, "/args/stdc/history"},
		"no cycle":           {"risk.overlay_cycle_phases", overlay(map[string]any{"phase": 7}), nil, fault.Invalid, "/args/stdc"},
		"no factors":         {"risk.overlay_cycle_phases", map[string]any{"factor_exposures": map[string]any{"factors": "SPI"}}, nil, fault.Invalid, "/args/factor_exposures"},
		"a misspelt one":     {"compute_position_risk", window, map[string]any{"lookback": 252}, fault.Invalid, "arguments"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := maps.Clone(tt.args)
			maps.Copy(args, tt.change)
			d := newDesk(t, demo)
			_, err := d.run(d.at(day(t, asof)), tt.capability, args)
			require.Equal(t, tt.code, fault.CodeOf(err), "%v", err)
			require.Contains(t, fault.Detail(err), tt.says)
		})
	}
}
