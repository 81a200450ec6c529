package portfolio_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// held is one line on one day, from the lots and the series themselves.
type held struct {
	value float64 // base currency
	next  float64 // the same quantity on the next valuation day
}

// lineName tells cash from securities.
func lineName(kind portfolio.Kind, symbol string) string { return string(kind) + " " + symbol }

// heldOn values what w holds at the end of a day, and on the next one: a second method, from decimals.
func heldOn(t *testing.T, w world, h *portfolio.History, i int) map[string]held {
	t.Helper()
	holdings, err := portfolio.HoldingsAt(w.ledger, w.securities, h.Days[i])
	require.NoError(t, err)
	rate := func(currency string, day int) float64 {
		r, ok := w.market.RateOn(h.Days[day], currency, w.portfolio.BaseCurrency)
		require.True(t, ok)
		return r.Value.InexactFloat64()
	}
	price := func(symbol string, day int) float64 {
		p, ok := w.market.Prices[symbol].On(h.Days[day])
		require.True(t, ok)
		return p.Value
	}
	next := min(i+1, len(h.Days)-1)
	lines := map[string]held{}
	for _, p := range holdings.Positions {
		q, s := p.Quantity().InexactFloat64(), p.Security
		lines[lineName(portfolio.KindSecurity, s.Symbol)] = held{
			q * price(s.Symbol, i) * rate(s.Currency, i), q * price(s.Symbol, next) * rate(s.Currency, next),
		}
	}
	for _, c := range holdings.Cash {
		q := c.Amount.InexactFloat64()
		lines[lineName(portfolio.KindCash, c.Currency)] = held{q * rate(c.Currency, i), q * rate(c.Currency, next)}
	}
	return lines
}

// The second method: each day's gains of what was held, over the day's capital, times Carino's
// coefficient ln(1+r)/r over that of the whole.
func TestContributionsAgainstPlainLoops(t *testing.T) {
	t.Parallel()
	for seed := range uint64(15) {
		w := newPlainWorld(seed)
		h := w.history(t)
		window, err := h.Last(40)
		require.NoError(t, err)
		got, err := h.Contribute(window)
		require.NoError(t, err)

		total := 1.0
		for i := window.Start + 1; i <= window.End; i++ {
			total *= h.NAV[i] / (h.NAV[i-1] + h.Flows[i])
		}
		total--
		k := func(r float64) float64 { return math.Log(1+r) / r }
		want := map[string]float64{}
		days := map[string]int{}
		growth := map[string]float64{}
		for i := window.Start; i < window.End; i++ {
			capital := h.NAV[i] + h.Flows[i+1]
			r := h.NAV[i+1]/capital - 1
			for name, line := range heldOn(t, w, h, i) {
				want[name] += k(r) / k(total) * (line.next - line.value) / capital
				days[name]++
				if growth[name] == 0 {
					growth[name] = 1
				}
				growth[name] *= line.next / line.value
			}
		}
		require.InDelta(t, total, got.Total, 1e-12)
		var sum float64
		for _, l := range got.Lines {
			name := lineName(l.Kind, l.Symbol)
			require.InDelta(t, want[name], l.Contribution, 1e-11, "seed %d, %s", seed, name)
			require.Equal(t, days[name], l.Held, "seed %d, %s", seed, name)
			if l.Held > 0 {
				require.InDelta(t, growth[name]-1, l.Return, 1e-10, "seed %d, %s", seed, name)
			}
			sum += l.Contribution
		}
		require.InDelta(t, total, sum+got.Costs, 1e-12, "seed %d", seed)
	}
}

// With dividends, splits and reversals too, the contributions and costs are the time-weighted return.
func TestContributionsSumToReturn(t *testing.T) {
	t.Parallel()
	for seed := range uint64(worlds) {
		h := newWorld(seed).history(t)
		for _, n := range []int{1, 7, 60, 1000} {
			w, err := h.Last(n)
			require.NoError(t, err)
			r, err := h.Returns(w)
			require.NoError(t, err)
			c, err := h.Contribute(w)
			require.NoError(t, err, "seed %d", seed)
			require.InDelta(t, portfolio.Compound(r), c.Total, 1e-12)
			sum := c.Costs
			for _, l := range c.Lines {
				sum += l.Contribution
				require.LessOrEqual(t, l.Held, w.Len())
			}
			require.InDelta(t, c.Total, sum, 1e-12, "seed %d", seed)
		}
	}
}

// A portfolio of one security that is always held: its contribution is the return, and its own.
func TestContributionOfEverything(t *testing.T) {
	t.Parallel()
	h := january(t, "2005-01-10", portfolio.SeriesSet{
		Prices: map[string]portfolio.Series{"A": series(3, 10, 4, 11, 5, 9, 6, 12, 7, 12, 10, 15)},
	}, cash("2005-01-03", portfolio.Deposit, "CHF", "1000"), trade("2005-01-03", portfolio.Buy, "A", "100", "CHF", "-1000"))
	w, err := h.All()
	require.NoError(t, err)
	c, err := h.Contribute(w)
	require.NoError(t, err)
	require.InDelta(t, 0.5, c.Total, 1e-12)
	require.Len(t, c.Lines, 1)
	require.InDelta(t, 0.5, c.Lines[0].Contribution, 1e-12)
	require.InDelta(t, 0.5, c.Lines[0].Return, 1e-12)
	require.InDelta(t, 1, c.Lines[0].AverageWeight, 1e-12)
	require.Equal(t, 5, c.Lines[0].Held)
	require.InDelta(t, 0, c.Costs, 1e-12)
}

// 100 shares at 10 francs pay 50 francs while the price falls to 9.5: nothing is lost. Then a split in
// two leaves the value as it is, and a dividend on the new shares counts for each of those.
func TestHoldingReturnsWithDividendsAndSplits(t *testing.T) {
	t.Parallel()
	dividend := func(date, amount string) portfolio.Transaction {
		d := cash(date, portfolio.Dividend, "CHF", amount)
		d.Symbol = "A"
		return d
	}
	split := trade("2005-01-05", portfolio.Split, "A", "2", "CHF", "0")
	h := january(t, "2005-01-10", portfolio.SeriesSet{
		Prices: map[string]portfolio.Series{"A": series(3, 10, 4, 9.5, 5, 4.75, 6, 5, 7, 5, 10, 6)},
	},
		cash("2005-01-03", portfolio.Deposit, "CHF", "1000"), trade("2005-01-03", portfolio.Buy, "A", "100", "CHF", "-1000"),
		dividend("2005-01-04", "50"), split, dividend("2005-01-06", "38"),
		trade("2005-01-07", portfolio.Sell, "A", "200", "CHF", "1000"), dividend("2005-01-10", "7"))
	w, err := h.All()
	require.NoError(t, err)
	r, err := h.HoldingReturns(portfolio.Security{Symbol: "A", Currency: "CHF"}, w)
	require.NoError(t, err)
	inDeltas(t, []float64{0, 0, (200*5+38)/(200*4.75) - 1, 0, 0.2}, r.Local)
	inDeltas(t, []float64{-0.05, 0, 5/4.75 - 1, 0, 0.2}, r.Price)
	inDeltas(t, []float64{0, 0, 0, 0, 0}, r.FX)
	inDeltas(t, r.Local, r.Base())
	inDeltas(t, r.Price, r.BasePrice())
	require.Equal(t, "2005-01-10", r.Unmatched[0].Format("2006-01-02"), "nothing was held any more")
	require.Len(t, r.Unmatched, 1)
	require.Equal(t, 4, h.HeldDays("A", w))
	require.Zero(t, h.HeldDays("B", w))

	c, err := h.Contribute(w)
	require.NoError(t, err)
	require.InDelta(t, 0.095, c.Total, 1e-12, "1,000 francs became 1,095")
	require.InDelta(t, (1.0+38/950.0+0.25/4.75)-1, c.Lines[0].Return, 1e-12, "while it was held")
}

func inDeltas(t *testing.T, want, got []float64) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.InDelta(t, want[i], got[i], 1e-12, "[%d]", i)
	}
}

// Over any ledger, the parts of a position's return multiply to that of its price in base currency.
func TestHoldingReturnsAgreeWithSecurityReturns(t *testing.T) {
	t.Parallel()
	for seed := range uint64(worlds) {
		world := newWorld(seed)
		h := world.history(t)
		w, err := h.All()
		require.NoError(t, err)
		for _, symbol := range world.symbols() {
			r, err := h.HoldingReturns(world.securities[symbol], w)
			require.NoError(t, err)
			prices, err := h.SecurityReturns(world.securities[symbol], w)
			require.NoError(t, err)
			inDeltas(t, prices, r.BasePrice())
		}
	}
}
