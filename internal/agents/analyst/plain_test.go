package analyst_test

import (
	"math"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/agenttest"
	"github.com/dawsos/dawsos/internal/portfolio"
)

// plain is a second calculation of the sample portfolio, in loops over the files' rows: nothing of
// package portfolio's arithmetic is in it. The base currency is CHF, all else is in USD.
type plain struct {
	*agenttest.Sample

	ledger []portfolio.Transaction
	days   []time.Time
	nav    []float64
	flows  []float64
	r      []float64 // r[t] is earned on days[t]
}

func newPlain(t testing.TB, asof string) *plain {
	t.Helper()
	d := newDesk(t, demo)
	p := &plain{Sample: d.Sample, ledger: d.Ledger}
	for _, q := range d.Sample.Prices["SBI"] {
		if !q.Date.Before(d.Ledger[0].Date) && !q.Date.After(day(t, asof)) {
			p.days = append(p.days, q.Date)
		}
	}
	for i, day := range p.days {
		var nav, flow float64
		for line, quantity := range p.held(day) {
			nav += quantity * p.value(line, day)
		}
		for _, x := range p.ledger {
			since := time.Time{}
			if i > 0 {
				since = p.days[i-1]
			}
			if (x.Type == "DEPOSIT" || x.Type == "WITHDRAWAL") && x.Date.After(since) && !x.Date.After(day) {
				flow += x.Amount.InexactFloat64() // all in CHF
			}
		}
		r := math.NaN()
		if i > 0 {
			r = nav/(p.nav[i-1]+flow) - 1
		}
		p.nav, p.flows, p.r = append(p.nav, nav), append(p.flows, flow), append(p.r, r)
	}
	return p
}

// held returns quantities at the end of a day, cash under "CASH:CHF" and "CASH:USD".
func (p *plain) held(day time.Time) map[string]float64 {
	q := map[string]float64{}
	for _, x := range p.ledger {
		if x.Date.After(day) {
			break
		}
		q["CASH:"+x.Currency] += x.Amount.InexactFloat64()
		switch x.Type {
		case "BUY":
			q[x.Symbol] += x.Quantity.InexactFloat64()
		case "SELL":
			q[x.Symbol] -= x.Quantity.InexactFloat64()
		case "FX":
			q["CASH:USD"] += x.Quantity.InexactFloat64()
		}
	}
	for line, x := range q {
		if math.Abs(x) < 1e-7 {
			delete(q, line)
		}
	}
	return q
}

func lastOf(quotes []portfolio.Quote, day time.Time) float64 {
	i := sort.Search(len(quotes), func(i int) bool { return quotes[i].Date.After(day) })
	if i == 0 {
		return math.NaN()
	}
	return quotes[i-1].Value.InexactFloat64()
}

func (p *plain) close(symbol string, day time.Time) float64 { return lastOf(p.Prices[symbol], day) }

func (p *plain) rate(line string, day time.Time) float64 {
	if line == "CASH:CHF" || p.Securities[line].Currency == "CHF" {
		return 1
	}
	return lastOf(p.FX["USD/CHF"], day)
}

// value is that of one unit of a line in CHF.
func (p *plain) value(line string, day time.Time) float64 {
	if line == "CASH:CHF" || line == "CASH:USD" {
		return p.rate(line, day)
	}
	return p.close(line, day) * p.rate(line, day)
}

// last returns the daily changes of f over the last n valuation days.
func (p *plain) last(n int, f func(time.Time) float64) []float64 {
	var r []float64
	for i := len(p.days) - n; i < len(p.days); i++ {
		r = append(r, f(p.days[i])/f(p.days[i-1])-1)
	}
	return r
}

func mean(x []float64) float64 {
	var s float64
	for _, v := range x {
		s += v
	}
	return s / float64(len(x))
}

func covariance(a, b []float64) float64 {
	var s float64
	ma, mb := mean(a), mean(b)
	for i := range a {
		s += (a[i] - ma) * (b[i] - mb)
	}
	return s / float64(len(a)-1)
}

func deviation(x []float64) float64 { return math.Sqrt(covariance(x, x)) }

func compound(r []float64) float64 {
	w := 1.0
	for _, x := range r {
		w *= 1 + x
	}
	return w - 1
}

// lowest5 is the 5 % quantile of type 7.
func lowest5(x []float64) float64 {
	s := slices.Sorted(slices.Values(x))
	h := 0.05 * float64(len(s)-1)
	i := int(h)
	return s[i] + (h-float64(i))*(s[i+1]-s[i])
}

// close9 requires agreement to 1e-9 relative.
func close9(t *testing.T, want float64, got any, what string) {
	t.Helper()
	require.NotNil(t, got, what)
	require.InDelta(t, want, float(t, got), 1e-9*math.Max(math.Abs(want), 1e-4), what)
}

const asof = "2007-05-08"

func about(symbol string, more map[string]any) map[string]any {
	args := map[string]any{"portfolio_id": portfolioID, "security_id": idOf(symbol), "pack_id": packID}
	for k, v := range more {
		args[k] = v
	}
	return args
}

func TestHistoryAgainstPlainLoops(t *testing.T) {
	t.Parallel()
	p, d := newPlain(t, asof), newDesk(t, demo)
	got, result := d.ask(t, d.at(day(t, asof)), "metrics.history", over(252))
	require.Empty(t, got["insufficient_data"])
	require.Empty(t, result.Warnings)
	n := len(p.days)
	require.Len(t, got["days"], 253)
	index, peak, benchmark := 1.0, 1.0, 1.0
	for i := range 253 {
		at := n - 253 + i
		require.Equal(t, p.days[at].Format(time.DateOnly), got["days"].([]any)[i])
		require.InDelta(t, p.nav[at], got["nav"].([]any)[i], 1e-6)
		if i == 0 {
			require.Nil(t, got["returns"].([]any)[0])
		} else {
			close9(t, p.r[at], got["returns"].([]any)[i], "return")
			index *= 1 + p.r[at]
			benchmark = p.close("LP40", p.days[at]) / p.close("LP40", p.days[n-253])
		}
		peak = max(peak, index)
		close9(t, index, got["index"].([]any)[i], "index")
		close9(t, 1-index/peak, got["drawdown"].([]any)[i], "drawdown")
		close9(t, benchmark, got["benchmark"].([]any)[i], "benchmark")
	}
	require.Equal(t, "LP40", got["benchmark_symbol"])
	require.InDelta(t, 1444808.19, got["nav"].([]any)[252], 0.005)
}

func TestNamedFiguresAndSharpe(t *testing.T) {
	t.Parallel()
	p, d := newPlain(t, asof), newDesk(t, demo)
	run := d.at(day(t, asof))
	r := p.r[len(p.r)-252:]
	for metric, want := range map[string]float64{
		"nav": p.nav[len(p.nav)-1], "twr_1y": compound(r), "twr_1d": r[251], "volatility_1y": deviation(r) * math.Sqrt(252),
		"var_95_1y": -lowest5(r),
	} {
		got, _ := d.ask(t, run, "metrics.compute", map[string]any{"portfolio_id": portfolioID, "pack_id": packID, "metric": metric})
		close9(t, want, got["value"], metric)
		require.Equal(t, metric, got["metric"])
		require.Equal(t, asof, got["asof"])
		require.Empty(t, got["insufficient_data"])
	}
	// Two and a third years are no five.
	got, _ := d.ask(t, run, "metrics.compute", map[string]any{"portfolio_id": portfolioID, "pack_id": packID, "metric": "twr_5y_ann"})
	require.Nil(t, got["value"])
	require.Equal(t, []string{"value: returns"}, lacking(got))

	var excess []float64
	for i := len(p.days) - 252; i < len(p.days); i++ {
		rf := math.NaN()
		for _, x := range p.Macro[riskFreeName] {
			if !x.Date.After(p.days[i]) {
				rf = x.Value
			}
		}
		excess = append(excess, p.r[i]-rf)
	}
	sharpe, _ := d.ask(t, run, "metrics.compute_sharpe", over(252))
	close9(t, mean(excess)/deviation(excess)*math.Sqrt(252), sharpe["sharpe_ratio"], "Sharpe")
	close9(t, mean(excess)*252, sharpe["excess_return"], "excess")
	close9(t, deviation(excess)*math.Sqrt(252), sharpe["volatility"], "volatility")
	measured, _ := d.ask(t, run, "metrics.compute_twr", over(252))
	require.Equal(t, measured["sharpe_ratio"], sharpe["sharpe_ratio"])
	require.Equal(t, measured["risk_free"], sharpe["risk_free"])

	args := over(252)
	args["risk_free_annual"] = 0.0252
	sharpe, _ = d.ask(t, run, "metrics.compute_sharpe", args)
	close9(t, (mean(r)-0.0001)/deviation(r)*math.Sqrt(252), sharpe["sharpe_ratio"], "at a fixed rate")
}

func TestPositionDetailsOfTheSample(t *testing.T) {
	t.Parallel()
	p, d := newPlain(t, asof), newDesk(t, demo)
	run := d.at(day(t, asof))
	got, result := d.ask(t, run, "get_position_details", about("AA", nil))
	require.Equal(t, "AA", got["symbol"])
	require.Equal(t, "equity", got["asset_class"])
	require.Equal(t, "500", got["quantity"])
	require.Equal(t, "93.2482375", got["average_cost"]) // 74598.59 for 800
	require.Equal(t, "46624.11875", got["cost_basis_local"])
	value := 500 * p.value("AA", day(t, asof))
	require.InDelta(t, value, float(t, got["market_value"]), 1e-6)
	close9(t, value/p.nav[len(p.nav)-1], got["weight"], "weight")
	cost := 46624.11875 * lastOf(p.FX["USD/CHF"], day(t, "2005-01-04"))
	require.InDelta(t, cost, float(t, got["cost_basis"]), 1e-6)
	require.InDelta(t, value-cost, float(t, got["unrealized_pnl"]), 1e-6)
	close9(t, value/cost-1, got["unrealized_return"], "unrealised return")
	require.Len(t, got["lots"], 1)
	require.Empty(t, got["insufficient_data"])
	require.Contains(t, names(result.Sources), "ledger:"+portfolioID)
	require.Contains(t, names(result.Sources), "prices:AA")

	// It is the line of the valuation.
	valued, _ := d.value(t, run)
	for _, line := range valued["positions"].([]any) {
		line := line.(map[string]any)
		got, _ := d.ask(t, run, "get_position_details", about(line["symbol"].(string), nil))
		for _, field := range []string{"security_id", "quantity", "price", "fx_rate", "market_value", "weight", "cost_basis", "unrealized_pnl"} {
			require.Equal(t, line[field], got[field], "%s of %s", field, line["symbol"])
		}
	}
}

func TestPositionReturnsAgainstPlainLoops(t *testing.T) {
	t.Parallel()
	p, d := newPlain(t, asof), newDesk(t, demo)
	run := d.at(day(t, asof))
	for _, symbol := range []string{"AA", "SBI", "CH_TELE", "GOLD"} {
		got, _ := d.ask(t, run, "compute_position_return", about(symbol, nil))
		r := p.last(252, func(day time.Time) float64 { return p.value(symbol, day) })
		close9(t, compound(r), got["total_return"], symbol)
		close9(t, compound(r), got["price_return"], symbol)
		close9(t, compound(r), got["total_return_annualized"], symbol+" over 252 days")
		close9(t, compound(p.last(252, func(day time.Time) float64 { return p.close(symbol, day) })), got["local_return"], symbol)
		close9(t, compound(p.last(252, func(day time.Time) float64 { return p.rate(symbol, day) })), got["fx_return"], symbol)
		close9(t, deviation(r)*math.Sqrt(252), got["volatility"], symbol)
		w, peak, depth := 1.0, 1.0, 0.0
		for _, x := range r {
			w *= 1 + x
			peak = max(peak, w)
			depth = max(depth, 1-w/peak)
		}
		close9(t, depth, got["max_drawdown"], symbol)
		held := 252.0
		if symbol == "CH_TELE" { // bought on 2006-08-16
			held = 0
			for _, day := range p.days[len(p.days)-253 : len(p.days)-1] {
				if p.held(day)[symbol] != 0 {
					held++
				}
			}
		}
		require.InDelta(t, held, got["held_days"], 0)
		explainedDeep(t, got)

		attributed, _ := d.ask(t, run, "compute_position_currency_attribution", about(symbol, nil))
		require.InDelta(t, float(t, got["total_return"]), attributed["total_return"], 1e-12)
		require.InDelta(t, float(t, attributed["total_return"]),
			float(t, attributed["local_return"])+float(t, attributed["fx_return"])+float(t, attributed["interaction"]), 1e-14)
		parts := attributed["contribution"].(map[string]any)
		require.InDelta(t, float(t, parts["total"]), float(t, parts["local"])+float(t, parts["fx"])+float(t, parts["interaction"]), 1e-14)

		contributed, _ := d.ask(t, run, "compute_portfolio_contribution", about(symbol, nil))
		require.InDelta(t, float(t, contributed["contribution"]), parts["total"], 1e-14)
		require.Equal(t, contributed["weight"], parts["weight"])
	}
}

func TestContributionAgainstPlainLoops(t *testing.T) {
	t.Parallel()
	p, d := newPlain(t, asof), newDesk(t, demo)
	got, _ := d.ask(t, d.at(day(t, asof)), "compute_portfolio_contribution", about("AA", nil))
	n := len(p.days)
	total := compound(p.r[n-252:])
	close9(t, total, got["total_return"], "total")
	k := func(r float64) float64 {
		if r == 0 {
			return 1
		}
		return math.Log(1+r) / r
	}
	want := map[string]float64{}
	for i := n - 252; i < n; i++ {
		start := p.held(p.days[i-1])
		for line, q := range start {
			gain := q * (p.value(line, p.days[i]) - p.value(line, p.days[i-1]))
			want[line] += k(p.r[i]) / k(total) * gain / (p.nav[i-1] + p.flows[i])
		}
	}
	sum := float(t, got["costs"])
	for _, line := range got["positions"].([]any) {
		line := line.(map[string]any)
		symbol := line["symbol"].(string)
		close9(t, want[symbol], line["contribution"], symbol)
		sum += float(t, line["contribution"])
		if symbol == "AA" {
			require.Equal(t, line["contribution"], got["contribution"])
			require.Equal(t, line["return"], got["return"])
		}
	}
	require.InDelta(t, total, sum, 1e-12)
}

func TestRiskAgainstPlainLoops(t *testing.T) {
	t.Parallel()
	p, d := newPlain(t, asof), newDesk(t, demo)
	run := d.at(day(t, asof))
	got, _ := d.ask(t, run, "compute_position_risk", about("AA", nil))
	n := len(p.days)
	r := p.last(252, func(day time.Time) float64 { return p.value("AA", day) })
	rp := p.r[n-252:]
	close9(t, covariance(r, rp)/covariance(rp, rp), got["beta"], "beta")
	close9(t, covariance(r, rp)/deviation(r)/deviation(rp), got["correlation"], "correlation")
	close9(t, -lowest5(r), got["var_95"], "VaR")
	b := p.last(252, func(day time.Time) float64 { return p.close("LP40", day) })
	close9(t, covariance(r, b)/covariance(b, b), got["benchmark"].(map[string]any)["beta"], "benchmark beta")

	current := got["current_holdings"].(map[string]any)
	repriced := make([]float64, 252)
	weights := map[string]float64{}
	for line, q := range p.held(p.days[n-1]) {
		weights[line] = q * p.value(line, p.days[n-1]) / p.nav[n-1]
		for i, x := range p.last(252, func(day time.Time) float64 { return p.value(line, day) }) {
			repriced[i] += weights[line] * x
		}
	}
	valueAtRisk := -lowest5(repriced)
	close9(t, valueAtRisk, current["var_95"], "VaR of the current holdings")
	var sum float64
	for _, line := range current["positions"].([]any) {
		line := line.(map[string]any)
		symbol := line["symbol"].(string)
		x := p.last(252, func(day time.Time) float64 { return p.value(symbol, day) })
		close9(t, weights[symbol], line["weight"], symbol)
		close9(t, covariance(x, repriced)/covariance(repriced, repriced), line["beta"], symbol)
		close9(t, weights[symbol]*covariance(x, repriced)/covariance(repriced, repriced)*valueAtRisk, line["component_var_95"], symbol)
		sum += float(t, line["component_var_95"])
		if symbol == "AA" {
			for _, field := range []string{"weight", "beta", "correlation", "component_var_95", "share"} {
				require.Equal(t, line[field], current[field], field)
			}
		}
	}
	close9(t, valueAtRisk, sum, "sum of the components")
	require.Len(t, current["positions"], len(weights))
	explainedDeep(t, got)
}

// solve inverts a small matrix by Gauss-Jordan with pivots.
func solve(a [][]float64) [][]float64 {
	n := len(a)
	inverse := make([][]float64, n)
	for i := range inverse {
		inverse[i] = make([]float64, n)
		inverse[i][i] = 1
	}
	for c := range n {
		pivot := c
		for i := c; i < n; i++ {
			if math.Abs(a[i][c]) > math.Abs(a[pivot][c]) {
				pivot = i
			}
		}
		a[c], a[pivot] = a[pivot], a[c]
		inverse[c], inverse[pivot] = inverse[pivot], inverse[c]
		for i := range n {
			if i == c {
				continue
			}
			f := a[i][c] / a[c][c]
			for j := range n {
				a[i][j] -= f * a[c][j]
				inverse[i][j] -= f * inverse[c][j]
			}
		}
		f := a[c][c]
		for j := range n {
			a[c][j] /= f
			inverse[c][j] /= f
		}
	}
	return inverse
}

// regression is the normal equations over the sample's default factors.
func (p *plain) regression(end int) (b, se []float64, square float64) {
	q := &plain{Sample: p.Sample, days: p.days[:end+1]}
	x := [][]float64{slices.Repeat([]float64{1}, 252)}
	for _, symbol := range []string{"SPI", "SBI", "USD/CHF", "USMKT"} {
		x = append(x, q.last(252, func(day time.Time) float64 {
			return lastOf(cmpOr(p.Prices[symbol], p.FX[symbol]), day)
		}))
	}
	y := p.r[end-251 : end+1]
	k := len(x)
	gram, xy := make([][]float64, k), make([]float64, k)
	for i := range k {
		gram[i] = make([]float64, k)
		for t := range y {
			xy[i] += x[i][t] * y[t]
			for j := range k {
				gram[i][j] += x[i][t] * x[j][t]
			}
		}
	}
	inverse := solve(gram)
	b, se = make([]float64, k), make([]float64, k)
	for i := range k {
		for j := range k {
			b[i] += inverse[i][j] * xy[j]
		}
	}
	var ssr float64
	for t := range y {
		e := y[t]
		for j := range k {
			e -= b[j] * x[j][t]
		}
		ssr += e * e
	}
	for i := range k {
		se[i] = math.Sqrt(ssr / float64(len(y)-k) * inverse[i][i])
	}
	return b, se, 1 - ssr/(covariance(y, y)*float64(len(y)-1))
}

func cmpOr[T any](a, b []T) []T {
	if a != nil {
		return a
	}
	return b
}

func close6(t *testing.T, want float64, got any, what string) {
	t.Helper()
	require.NotNil(t, got, what)
	require.InDelta(t, want, float(t, got), 1e-6*math.Max(math.Abs(want), 1e-6), what)
}

func TestExposuresAgainstPlainLoops(t *testing.T) {
	t.Parallel()
	p, d := newPlain(t, asof), newDesk(t, demo)
	run := d.at(day(t, asof))
	got, result := d.ask(t, run, "risk.compute_factor_exposures", map[string]any{"portfolio_id": portfolioID, "pack_id": packID})
	n := len(p.days)
	b, se, square := p.regression(n - 1)
	close6(t, b[0], got["alpha"], "alpha")
	close6(t, se[0], got["alpha_std_error"], "standard error of alpha")
	close6(t, square, got["r_squared"], "R²")
	close6(t, 1-(1-square)*251/247, got["adj_r_squared"], "adjusted R²")
	close6(t, deviation(p.r[n-252:])*math.Sqrt(252*(1-square)), got["residual_volatility"], "residual volatility")
	var shares float64
	for i, f := range got["factors"].([]any) {
		f := f.(map[string]any)
		require.Equal(t, []string{"SPI", "SBI", "USDCHF", "USMKT"}[i], f["name"])
		close6(t, b[i+1], f["beta"], "beta")
		close6(t, se[i+1], f["std_error"], "standard error")
		close6(t, b[i+1]/se[i+1], f["t_stat"], "t")
		shares += float(t, f["variance_share"])
	}
	close6(t, square, shares, "shares")
	require.InDelta(t, 252, got["window"].(map[string]any)["returns"], 0)
	require.Equal(t, []string{"factors.inflation: breakeven_inflation", "factors.credit: credit_spread"}, lacking(got))
	require.Contains(t, names(result.Sources), d.factors.Source)
	require.Contains(t, names(result.Sources), "prices:USMKT")
	require.True(t, slices.IsSorted(names(result.Sources)))

	history, result := d.ask(t, run, "risk.get_factor_exposure_history", map[string]any{"portfolio_id": portfolioID, "lookback_weeks": 10})
	require.Len(t, history["history"], 11)
	require.Contains(t, names(result.Sources), d.factors.Source)
	for _, entry := range history["history"].([]any) {
		entry := entry.(map[string]any)
		end := slices.IndexFunc(p.days, func(d time.Time) bool { return d.Format(time.DateOnly) == entry["date"] })
		b, se, square := p.regression(end)
		close6(t, square, entry["r_squared"], "R²")
		for i, f := range entry["factors"].([]any) {
			f := f.(map[string]any)
			close6(t, b[i+1], f["beta"], "beta")
			close6(t, se[i+1], f["std_error"], "standard error")
		}
	}
	newest := history["history"].([]any)[10].(map[string]any)
	require.Equal(t, asof, newest["date"])
	for i, f := range newest["factors"].([]any) {
		want := got["factors"].([]any)[i].(map[string]any)
		require.Equal(t, want["beta"], f.(map[string]any)["beta"], "the newest week is the exposures")
	}
}

// phasesOf alternates two phases by quarter, dated at month ends, over the sample's years.
func phasesOf() map[string]any {
	var history []any
	for m := range 86 {
		d := time.Date(2000, time.Month(3+m), 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, -1)
		history = append(history, map[string]any{"date": d.Format(time.DateOnly), "phase": []string{"boom", "bust"}[m/3%2]})
	}
	history[7].(map[string]any)["phase"] = nil // a month that the data do not tell
	return map[string]any{"phase": "bust", "label": "Bust", "confidence": 0.7, "history": history, "insufficient_data": []any{}}
}

func TestOverlayAgainstPlainLoops(t *testing.T) {
	t.Parallel()
	p, d := newPlain(t, asof), newDesk(t, demo)
	run := d.at(day(t, asof))
	exposures, _ := d.ask(t, run, "risk.compute_factor_exposures", map[string]any{"portfolio_id": portfolioID, "pack_id": packID})
	stdc := phasesOf()
	got, result := d.ask(t, run, "risk.overlay_cycle_phases", map[string]any{"factor_exposures": exposures, "stdc": stdc, "ltdc": nil})
	require.Nil(t, got["long_term"])
	require.Contains(t, lacking(got), "long_term: cycle:long_term")
	risk := got["short_term"].(map[string]any)
	require.Equal(t, "bust", risk["phase"])
	require.Equal(t, "Bust", risk["label"])
	require.Contains(t, names(result.Sources), d.factors.Source)
	require.Contains(t, names(result.Sources), "fx:USD/CHF")

	dateless, _ := d.ask(t, run, "risk.overlay_cycle_phases", map[string]any{
		"factor_exposures": exposures, "ltdc": map[string]any{"phase": "bubble", "label": "Bubble"},
	})
	require.Nil(t, dateless["long_term"])
	require.Contains(t, lacking(dateless), "long_term: cycle:long_term")
	require.Contains(t, lacking(dateless), "short_term: cycle:short_term")

	betas := map[string]float64{}
	for _, f := range exposures["factors"].([]any) {
		f := f.(map[string]any)
		betas[f["name"].(string)] = float(t, f["beta"])
	}
	history := stdc["history"].([]any)
	last := math.Inf(1)
	for i, f := range risk["factors"].([]any) {
		f := f.(map[string]any)
		name := f["name"].(string)
		quotes := cmpOr(p.Prices[name], p.FX["USD/CHF"])
		var all, within []float64
		for j := 1; j < len(quotes); j++ {
			phase := ""
			for _, h := range history {
				if h := h.(map[string]any); h["date"].(string) <= quotes[j].Date.Format(time.DateOnly) {
					phase, _ = h["phase"].(string)
				}
			}
			if phase == "" || quotes[j].Date.After(day(t, asof)) {
				continue
			}
			x := quotes[j].Value.InexactFloat64()/quotes[j-1].Value.InexactFloat64() - 1
			all = append(all, x)
			if phase == "bust" {
				within = append(within, x)
			}
		}
		amplification := deviation(within) / deviation(all)
		close9(t, amplification, f["amplification"], name)
		close9(t, deviation(within)*math.Sqrt(252), f["volatility_in_phase"], name)
		close9(t, math.Abs(betas[name])*deviation(within)*math.Sqrt(252), f["risk_in_phase"], name)
		require.InDelta(t, len(within), f["phase_returns"], 0)
		require.InDelta(t, len(all), f["returns"], 0)
		require.InDelta(t, i+1, f["rank"], 0)
		require.LessOrEqual(t, amplification, last, "ranked")
		last = amplification
	}
	require.Len(t, risk["factors"], 4)
}

func TestComparables(t *testing.T) {
	t.Parallel()
	p, d := newPlain(t, asof), newDesk(t, demo)
	run := d.at(day(t, asof))
	got, result := d.ask(t, run, "get_comparable_positions", map[string]any{"security_id": idOf("EMR"), "limit": 5})
	require.Equal(t, "Industrials", got["sector"])
	year := func(symbol string) float64 {
		return p.value(symbol, day(t, asof))/p.value(symbol, day(t, "2006-05-08")) - 1
	}
	close9(t, year("EMR"), got["return_1y"], "itself")
	var symbols []string
	for _, c := range got["comparables"].([]any) {
		c := c.(map[string]any)
		symbol := c["symbol"].(string)
		symbols = append(symbols, symbol)
		close9(t, year(symbol), c["return_1y"], symbol)
		require.Equal(t, true, c["held"])
		close9(t, p.held(day(t, asof))[symbol]*p.value(symbol, day(t, asof))/p.nav[len(p.nav)-1], c["weight"], symbol)
	}
	require.Equal(t, []string{"CH_INDU", "GGG"}, symbols)
	require.Contains(t, names(result.Sources), "prices:EMR")
	require.Contains(t, names(result.Sources), "fx:USD/CHF")

	got, _ = d.ask(t, run, "get_comparable_positions", map[string]any{"security_id": idOf("EMR"), "sector": "Consumer Discretionary", "limit": 2})
	list := got["comparables"].([]any)
	require.Len(t, list, 2)
	require.Equal(t, "CH_CONS", list[0].(map[string]any)["symbol"], "held first")
	require.Equal(t, "F", list[1].(map[string]any)["symbol"])
	require.Nil(t, list[1].(map[string]any)["weight"])
	explainedDeep(t, got)

	got, _ = d.ask(t, run, "get_comparable_positions", map[string]any{"security_id": idOf("TDW")})
	require.Empty(t, got["comparables"])
	require.Contains(t, lacking(got), "comparables: securities")
}
