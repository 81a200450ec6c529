package portfolio_test

import (
	"errors"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// risen is a portfolio that puts 100 into one security, whose closes are given, on consecutive days
// from 2025-12-30.
func risen(t *testing.T, closes ...float64) *portfolio.History {
	t.Helper()
	start := time.Date(2025, 12, 30, 0, 0, 0, 0, time.UTC)
	var series portfolio.Series
	for i, c := range closes {
		series = append(series, portfolio.Point{Date: start.AddDate(0, 0, i), Value: c})
	}
	ledger := []portfolio.Transaction{
		{Seq: 1, Date: start, Type: portfolio.Deposit, Currency: "CHF", Amount: decimal.NewFromInt(100)},
		{
			Seq: 2, Date: start, Type: portfolio.Buy, Symbol: "S", Quantity: decimal.NewFromInt(1),
			Price: decimal.NewFromInt(100), Currency: "CHF", Amount: decimal.NewFromInt(-100),
		},
	}
	h, err := portfolio.NewHistory(
		portfolio.Portfolio{ID: "p", BaseCurrency: "CHF", Calendar: "S"}, ledger,
		map[string]portfolio.Security{"S": {Symbol: "S", Currency: "CHF"}},
		portfolio.SeriesSet{Prices: map[string]portfolio.Series{"S": series}}, start.AddDate(10, 0, 0))
	require.NoError(t, err)
	return h
}

var flatMarket = portfolio.Relative{
	Benchmark: func(portfolio.Window) ([]float64, error) {
		return nil, portfolio.Shortages{{Missing: "benchmark", Reason: "the portfolio has no benchmark"}}
	},
	RiskFree: func(w portfolio.Window) ([]float64, error) { return make([]float64, w.Len()), nil },
}

func TestFiguresByHand(t *testing.T) {
	t.Parallel()
	// 30 and 31 December, 1 to 3 January.
	figures := risen(t, 100, 110, 99, 121, 108.9).Figures(flatMarket)
	for name, want := range map[string]float64{
		"nav":      108.9,
		"twr_1d":   108.9/121 - 1,
		"twr_mtd":  108.9/110 - 1, // from the close of December
		"twr_qtd":  108.9/110 - 1,
		"twr_ytd":  108.9/110 - 1,
		"drawdown": 1 - 108.9/121,
	} {
		require.NoError(t, figures[name].Err, name)
		require.InDelta(t, want, figures[name].Value, 1e-12, name)
		require.Equal(t, time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC), figures[name].Asof, name)
	}
	require.Len(t, figures, len(portfolio.FigureNames()), "each name once")
	for name, why := range map[string]string{
		"twr_1y": "252 daily returns are needed, the portfolio has 4", "volatility_30d": "30 daily returns are needed",
		"max_drawdown_3y": "756", "twr_5y_ann": "1260", "win_rate_1y": "252",
	} {
		_, ok := errors.AsType[portfolio.Shortages](figures[name].Err)
		require.True(t, ok, name)
		require.ErrorContains(t, figures[name].Err, why, "a year is not told from four days")
		require.Zero(t, figures[name].Value)
	}
}

func TestFiguresOfAYear(t *testing.T) {
	t.Parallel()
	// 252 returns: up by 1 % and down by 1 % in turn.
	closes := []float64{100}
	for i := range 252 {
		closes = append(closes, closes[i]*[]float64{1.01, 0.99}[i%2])
	}
	h := risen(t, closes...)
	figures := h.Figures(flatMarket)
	require.InDelta(t, 0.5, figures["win_rate_1y"].Value, 1e-12)
	require.InDelta(t, 0.01, figures["avg_win"].Value, 1e-12)
	require.InDelta(t, 0.01, figures["avg_loss"].Value, 1e-12, "losses are positive")
	require.InDelta(t, 0.01, figures["var_95_1y"].Value, 1e-12)
	require.InDelta(t, figures["twr_1y"].Value, figures["twr_inception_ann"].Value, 1e-12, "252 days are a year")

	w, err := h.Last(252)
	require.NoError(t, err)
	r, err := h.Returns(w)
	require.NoError(t, err)
	drawdowns := portfolio.Drawdowns(r)
	deepest, _ := portfolio.MaxDrawdown(r)
	require.InDelta(t, deepest, figures["max_drawdown_1y"].Value, 1e-12)
	require.InDelta(t, drawdowns[251], figures["drawdown"].Value, 1e-12)
	require.InDelta(t, portfolio.Quantile(drawdowns, 0.95), figures["dar_95_1y"].Value, 1e-12)
	require.Less(t, figures["dar_95_1y"].Value, deepest)
	require.ErrorContains(t, figures["beta_1y"].Err, "no benchmark")
	require.ErrorContains(t, figures["alpha_1y"].Err, "no benchmark")
}

func TestFiguresWithoutALedger(t *testing.T) {
	t.Parallel()
	h, err := portfolio.NewHistory(portfolio.Portfolio{Calendar: "S"}, nil, nil, portfolio.SeriesSet{}, time.Now())
	require.NoError(t, err)
	for name, f := range h.Figures(flatMarket) {
		require.ErrorContains(t, f.Err, "transactions", name)
	}
}
