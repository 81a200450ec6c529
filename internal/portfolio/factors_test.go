package portfolio_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/portfolio"
)

func TestRates(t *testing.T) {
	t.Parallel()
	set := portfolio.SeriesSet{FX: map[string]portfolio.Series{
		"USD/CHF": series(3, 1.25, 5, 1.5),
		"EUR/USD": series(4, 1.2, 6, 1.4),
	}}
	for name, tt := range map[string]struct {
		base, quote string
		want        portfolio.Series
		pairs       []string
	}{
		"direct":  {"USD", "CHF", series(3, 1.25, 5, 1.5), []string{"USD/CHF"}},
		"inverse": {"CHF", "USD", series(3, 1/1.25, 5, 1/1.5), []string{"USD/CHF"}},
		"cross":   {"EUR", "CHF", series(4, 1.2*1.25, 5, 1.2*1.5, 6, 1.4*1.5), []string{"EUR/USD", "USD/CHF"}},
		"none":    {"JPY", "CHF", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, pairs := set.Rates(tt.base, tt.quote)
			require.Equal(t, tt.pairs, pairs)
			require.Len(t, got, len(tt.want))
			for i := range got {
				require.Equal(t, tt.want[i].Date, got[i].Date)
				require.InEpsilon(t, tt.want[i].Value, got[i].Value, 1e-15)
			}
		})
	}
}

// Any pair on any day is the rate that valuations use.
func TestRatesAgreeWithRateOn(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		w := newPlainWorld(seed)
		rng := rand.New(rand.NewPCG(seed, 12))
		currencies := []string{"CHF", "USD", "EUR", "JPY"}
		base, quote := currencies[rng.IntN(4)], currencies[rng.IntN(4)]
		if base == quote {
			continue
		}
		rates, _ := w.market.Rates(base, quote)
		h := w.history(t)
		for _, d := range h.Days {
			want, ok := w.market.RateOn(d, base, quote)
			require.True(t, ok)
			got, ok := rates.On(d)
			require.True(t, ok)
			require.InEpsilon(t, want.Value.InexactFloat64(), got.Value, 1e-12)
		}
	}
}

func TestFactorReturns(t *testing.T) {
	t.Parallel()
	h := january(t, "2005-01-10", portfolio.SeriesSet{
		Prices: map[string]portfolio.Series{"F": series(2, 100, 4, 110, 7, 99), "LATE": series(4, 1)},
		FX:     map[string]portfolio.Series{"USD/CHF": series(3, 1.25, 5, 1.5)},
		Macro:  map[string]portfolio.Series{"M": series(2, 0.5, 4, 0.1, 8, 0.1, 9, 0.2, 10, -0.5)},
	}, cash("2005-01-03", portfolio.Deposit, "CHF", "1000"))
	w, err := h.All() // 3, 4, 5, 6, 7, 10
	require.NoError(t, err)

	r, err := h.PriceReturns("F", w)
	require.NoError(t, err)
	inDeltas(t, []float64{0.1, 0, 0, -0.1, 0}, r)
	r, err = h.RateReturns("USD", "CHF", w)
	require.NoError(t, err)
	inDeltas(t, []float64{0, 0.2, 0, 0, 0}, r)
	r, err = h.RateReturns("CHF", "USD", w)
	require.NoError(t, err)
	inDeltas(t, []float64{0, 1/1.2 - 1, 0, 0, 0}, r)
	r, err = h.MacroReturns("M", w)
	require.NoError(t, err)
	inDeltas(t, []float64{0.1, 0, 0, 0, 1.1*1.2*0.5 - 1}, r) // the weekend's are Monday's

	var used []string
	for _, o := range h.Used() {
		used = append(used, o.Name+" "+o.Date.Format("2006-01-02"))
	}
	require.Equal(t, []string{"fx:USD/CHF 2005-01-05", "macro:M 2005-01-10", "prices:CAL 2005-01-10", "prices:F 2005-01-07"}, used)

	for missing, err := range map[string]error{
		"prices:LATE": second(h.PriceReturns("LATE", w)), "prices:NONE": second(h.PriceReturns("NONE", w)),
		"fx:JPY/CHF": second(h.RateReturns("JPY", "CHF", w)), "macro:NONE": second(h.MacroReturns("NONE", w)),
	} {
		var shortages portfolio.Shortages
		require.ErrorAs(t, err, &shortages)
		require.Equal(t, missing, shortages[0].Missing)
	}
}

func second[T any](_ T, err error) error { return err }

func TestSeriesReturns(t *testing.T) {
	t.Parallel()
	require.Empty(t, series(3, 1).Returns())
	require.Empty(t, portfolio.Series(nil).Returns())
	got := series(3, 100, 4, 110, 7, 99).Returns()
	require.Len(t, got, 2)
	require.Equal(t, day("2005-01-07"), got[1].Date)
	require.InDelta(t, -0.1, got[1].Value, 1e-15)
}

func TestFigureByName(t *testing.T) {
	t.Parallel()
	h := newWorld(3).history(t)
	none := func(portfolio.Window) ([]float64, error) {
		return nil, portfolio.Shortages{{Missing: "benchmark", Reason: "none"}}
	}
	rel := portfolio.Relative{Benchmark: none, RiskFree: none}
	all := h.Figures(rel)
	for _, name := range portfolio.FigureNames() {
		f, ok := h.Figure(name, rel)
		require.True(t, ok)
		require.Equal(t, all[name], f, name)
	}
	_, ok := h.Figure("luck", rel)
	require.False(t, ok)
}
