package portfolio_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// The components sum to the value at risk and the weighted betas to 1, whatever is held, short or long.
func TestComponentsSumToValueAtRisk(t *testing.T) {
	t.Parallel()
	for seed := range uint64(worlds) {
		world := newWorld(seed)
		h := world.history(t)
		w, err := h.All()
		require.NoError(t, err)
		risk, err := h.CurrentRisk(world.valuation(t, world.asof), w, 0.95)
		require.NoError(t, err, "seed %d", seed)
		var weights, betas, components float64
		for _, l := range risk.Lines {
			weights += l.Weight
			betas += l.Weight * l.Beta
			components += l.Component
		}
		require.InDelta(t, 1, weights, 1e-12, "seed %d", seed)
		require.InDelta(t, 1, betas, 1e-9, "seed %d", seed)
		require.InDelta(t, risk.VaR, components, 1e-11, "seed %d", seed)
		require.GreaterOrEqual(t, risk.ES, risk.VaR)
	}
}

// The second method: quantities from the lots, returns from the series, covariances and the quantile in
// plain loops.
func TestCurrentRiskAgainstPlainLoops(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		world := newPlainWorld(seed)
		h := world.history(t)
		w, err := h.Last(100)
		require.NoError(t, err)
		risk, err := h.CurrentRisk(world.valuation(t, h.Days[w.End]), w, 0.95)
		require.NoError(t, err)

		last := heldOn(t, world, h, w.End)
		var nav float64
		for _, l := range last {
			nav += l.value
		}
		require.Len(t, risk.Lines, len(last))
		returns := make([]float64, w.Len())
		lines := map[string][]float64{}
		for _, l := range risk.Lines {
			name := lineName(l.Kind, l.Symbol)
			require.Contains(t, last, name)
			for i := range returns {
				growth := func(day int) float64 {
					rate, ok := world.market.RateOn(h.Days[day], l.Currency, world.portfolio.BaseCurrency)
					require.True(t, ok)
					v := rate.Value.InexactFloat64()
					if l.Kind == portfolio.KindSecurity {
						p, ok := world.market.Prices[l.Symbol].On(h.Days[day])
						require.True(t, ok)
						v *= p.Value
					}
					return v
				}
				r := growth(w.Start+i+1)/growth(w.Start+i) - 1
				lines[name] = append(lines[name], r)
				returns[i] += last[name].value / nav * r
			}
		}
		cov := func(a, b []float64) float64 {
			var ma, mb, sum float64
			for i := range a {
				ma += a[i] / float64(len(a))
				mb += b[i] / float64(len(b))
			}
			for i := range a {
				sum += (a[i] - ma) * (b[i] - mb)
			}
			return sum / float64(len(a)-1)
		}
		sorted := slices.Sorted(slices.Values(returns))
		at := 0.05 * float64(len(sorted)-1)
		low := int(math.Floor(at + 1e-9))
		valueAtRisk := -(sorted[low] + (at-float64(low))*(sorted[low+1]-sorted[low]))
		require.InDelta(t, valueAtRisk, risk.VaR, 1e-11, "seed %d", seed)
		for _, l := range risk.Lines {
			name := lineName(l.Kind, l.Symbol)
			require.InDelta(t, last[name].value/nav, l.Weight, 1e-11)
			require.InDelta(t, cov(lines[name], returns)/cov(returns, returns), l.Beta, 1e-8, "seed %d, %s", seed, name)
			require.InDelta(t, l.Weight*l.Beta*valueAtRisk, l.Component, 1e-10)
			if l.Kind == portfolio.KindCash && l.Currency == world.portfolio.BaseCurrency {
				require.True(t, math.IsNaN(l.Correlation), "cash does not vary")
				continue
			}
			require.InDelta(t, cov(lines[name], returns)/math.Sqrt(cov(returns, returns)*cov(lines[name], lines[name])), l.Correlation, 1e-8)
		}
	}
}

func TestCurrentRiskThatCannotBe(t *testing.T) {
	t.Parallel()
	deposit := cash("2005-01-03", portfolio.Deposit, "CHF", "1000")
	buy := trade("2005-01-06", portfolio.Buy, "A", "1", "CHF", "-10")
	prices := func(points ...float64) portfolio.SeriesSet {
		return portfolio.SeriesSet{Prices: map[string]portfolio.Series{"A": series(points...)}}
	}
	for name, tt := range map[string]struct {
		asof    string
		market  portfolio.SeriesSet
		ledger  []portfolio.Transaction
		missing string
	}{
		"cash alone":       {"2005-01-10", portfolio.SeriesSet{}, []portfolio.Transaction{deposit}, "variance"},
		"one return":       {"2005-01-04", portfolio.SeriesSet{}, []portfolio.Transaction{deposit}, "returns"},
		"no price":         {"2005-01-10", portfolio.SeriesSet{}, []portfolio.Transaction{deposit, buy}, "prices:A"},
		"priced too late":  {"2005-01-10", prices(5, 10, 6, 11, 7, 12), []portfolio.Transaction{deposit, buy}, "prices:A"},
		"nothing is there": {"2005-01-10", prices(3, 10, 4, 11), []portfolio.Transaction{deposit, cash("2005-01-04", portfolio.Withdrawal, "CHF", "-1000")}, "capital"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := january(t, tt.asof, tt.market, tt.ledger...)
			w, err := h.All()
			require.NoError(t, err)
			_, err = h.CurrentRisk(valued(t, "CHF", tt.ledger, tt.market, tt.asof), w, 0.95)
			var shortages portfolio.Shortages
			require.ErrorAs(t, err, &shortages)
			require.Equal(t, tt.missing, shortages[0].Missing)
		})
	}
}

// Today's weights are those of the as-of date, a Sunday with a purchase on the Saturday before here, and
// what was paid out on days of the past has no part in them.
func TestCurrentRiskIsOfTheDayAskedFor(t *testing.T) {
	t.Parallel()
	market := portfolio.SeriesSet{Prices: map[string]portfolio.Series{"A": series(3, 100, 4, 110, 5, 99, 6, 105, 7, 100)}}
	ledger := []portfolio.Transaction{
		cash("2005-01-03", portfolio.Deposit, "CHF", "1000"),
		trade("2005-01-03", portfolio.Buy, "A", "2", "CHF", "-200"),
		dividend("2005-01-05", "A", "CHF", "50"),
		trade("2005-01-08", portfolio.Buy, "A", "3", "CHF", "-300"),
	}
	h := january(t, "2005-01-09", market, ledger...)
	w, err := h.All()
	require.NoError(t, err)
	risk, err := h.CurrentRisk(valued(t, "CHF", ledger, market, "2005-01-09"), w, 0.95)
	require.NoError(t, err)
	const weight = 500.0 / 1050
	require.InDelta(t, weight, risk.Lines[0].Weight, 1e-15)
	require.InDeltaSlice(t, []float64{weight * 0.1, weight * -0.1, weight * (105.0/99 - 1), weight * (100.0/105 - 1)}, risk.Returns, 1e-15)
}

func TestDeepestDrawdown(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		r    []float64
		want portfolio.Recovery
	}{
		"none":               {[]float64{0.1, 0, 0.2}, portfolio.Recovery{}},
		"no returns":         {nil, portfolio.Recovery{}},
		"from the start":     {[]float64{-0.5, 0.5, 0.25}, portfolio.Recovery{Depth: 0.5, Peak: 0, Trough: 1}},
		"to the very peak":   {[]float64{-0.5, 0.5, 1}, portfolio.Recovery{Depth: 0.5, Peak: 0, Trough: 1, Recovered: 3}},
		"the deeper of two":  {[]float64{1, -0.25, 1, -0.5, 1, 1}, portfolio.Recovery{Depth: 0.5, Peak: 3, Trough: 4, Recovered: 5}},
		"the last of a flat": {[]float64{0.5, 0, -0.5}, portfolio.Recovery{Depth: 0.5, Peak: 2, Trough: 3}},
		"a deeper one later": {[]float64{-0.25, 1, -0.5}, portfolio.Recovery{Depth: 0.5, Peak: 2, Trough: 3}},
		"still below it all": {[]float64{-0.5, 0.25, -0.5, 0.25}, portfolio.Recovery{Depth: 0.6875, Peak: 0, Trough: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := portfolio.DeepestDrawdown(tt.r)
			require.InDelta(t, tt.want.Depth, got.Depth, 1e-15)
			got.Depth = tt.want.Depth
			require.Equal(t, tt.want, got)
		})
	}
	// It is the drawdown that is known already, and what lies between its days is as it says.
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 11))
		r := make([]float64, 1+rng.IntN(100))
		level := make([]float64, len(r)+1)
		level[0] = 1
		for i := range r {
			r[i] = 0.03 * rng.NormFloat64()
			level[i+1] = level[i] * (1 + r[i])
		}
		got := portfolio.DeepestDrawdown(r)
		depth, trough := portfolio.MaxDrawdown(r)
		require.InDelta(t, depth, got.Depth, 0)
		require.Equal(t, trough+1, got.Trough)
		if got.Trough == 0 {
			continue
		}
		require.InDelta(t, slices.Max(level[:got.Trough+1]), level[got.Peak], 1e-12)
		if got.Recovered > 0 {
			require.GreaterOrEqual(t, level[got.Recovered], level[got.Peak])
			require.Less(t, slices.Max(level[got.Trough:got.Recovered]), level[got.Peak])
		} else {
			require.Less(t, slices.Max(level[got.Trough:]), level[got.Peak])
		}
	}
}
