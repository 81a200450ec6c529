package portfolio_test

import (
	"maps"
	"math"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/portfolio"
)

func day(s string) time.Time {
	d, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return d
}

func dec(s string) decimal.Decimal { return decimal.RequireFromString(s) }

func trade(date string, kind portfolio.Type, symbol, quantity, currency, amount string) portfolio.Transaction {
	return portfolio.Transaction{Date: day(date), Type: kind, Symbol: symbol, Quantity: dec(quantity), Currency: currency, Amount: dec(amount)}
}

func cash(date string, kind portfolio.Type, currency, amount string) portfolio.Transaction {
	return portfolio.Transaction{Date: day(date), Type: kind, Currency: currency, Amount: dec(amount)}
}

// securities takes symbols and currencies in turn.
func securities(pairs ...string) map[string]portfolio.Security {
	m := map[string]portfolio.Security{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = portfolio.Security{Symbol: pairs[i], Currency: pairs[i+1]}
	}
	return m
}

// series takes dates within January 2005 and values in turn.
func series(points ...float64) portfolio.Series {
	var s portfolio.Series
	for i := 0; i < len(points); i += 2 {
		s = append(s, portfolio.Point{Date: time.Date(2005, 1, int(points[i]), 0, 0, 0, 0, time.UTC), Value: points[i+1]})
	}
	return s
}

// january is a portfolio in CHF over the valuation days 3, 4, 5, 6, 7 and 10 January 2005.
func january(t *testing.T, asof string, market portfolio.SeriesSet, ledger ...portfolio.Transaction) *portfolio.History {
	t.Helper()
	market.Prices = maps.Clone(market.Prices) // parallel subtests share one
	if market.Prices == nil {
		market.Prices = map[string]portfolio.Series{}
	}
	market.Prices["CAL"] = series(2, 1, 3, 1, 4, 1, 5, 1, 6, 1, 7, 1, 10, 1)
	h, err := portfolio.NewHistory(portfolio.Portfolio{BaseCurrency: "CHF", Calendar: "CAL"}, ledger,
		securities("A", "CHF", "U", "USD"), market, day(asof))
	require.NoError(t, err)
	return h
}

func TestHistoryCarriesForwardOnly(t *testing.T) {
	t.Parallel()
	market := portfolio.SeriesSet{
		Prices: map[string]portfolio.Series{"A": series(1, 10, 5, 12), "U": series(4, 20, 8, 30)},
		FX:     map[string]portfolio.Series{"USD/CHF": series(3, 2, 7, 3)},
	}
	h := january(t, "2005-01-10", market,
		cash("2005-01-03", portfolio.Deposit, "CHF", "1000"),
		trade("2005-01-03", portfolio.Buy, "A", "10", "CHF", "-100"),
		trade("2005-01-04", portfolio.FX, "USD/CHF", "100", "CHF", "-200"),
		trade("2005-01-04", portfolio.Buy, "U", "5", "USD", "-100"),
	)
	require.Equal(t, []float64{1000, 1000, 1020, 1020, 1120, 1270}, h.NAV)
	require.Equal(t, []float64{1000, 0, 0, 0, 0, 0}, h.Flows)

	w, err := h.Last(3)
	require.NoError(t, err)
	require.Equal(t, portfolio.Window{Start: 2, End: 5}, w)
	r, err := h.Returns(w)
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{0, 1120.0/1020 - 1, 1270.0/1120 - 1}, r, 1e-15)

	b, err := h.SecurityReturns(portfolio.Security{Symbol: "U", Currency: "USD"}, w)
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{0, 0.5, 0.5}, b, 1e-15)

	require.Equal(t, []portfolio.Observation{
		{"fx:USD/CHF", day("2005-01-07")},
		{"prices:A", day("2005-01-05")},
		{"prices:CAL", day("2005-01-10")},
		{"prices:U", day("2005-01-08")},
	}, h.Used())
}

func TestFlowsBetweenValuationDays(t *testing.T) {
	t.Parallel()
	h := january(t, "2005-01-12", portfolio.SeriesSet{FX: map[string]portfolio.Series{"USD/CHF": series(3, 1, 8, 1.5, 10, 2)}},
		cash("2005-01-03", portfolio.Deposit, "CHF", "1000"),
		cash("2005-01-08", portfolio.Deposit, "USD", "100"),     // a Saturday: counts on Monday, at Monday's rate
		cash("2005-01-09", portfolio.Withdrawal, "CHF", "-500"), // likewise
		cash("2005-01-11", portfolio.Deposit, "CHF", "77"),      // after the last valuation day
	)
	require.Equal(t, []float64{1000, 1000, 1000, 1000, 1000, 700}, h.NAV)
	require.Equal(t, []float64{1000, 0, 0, 0, 0, -300}, h.Flows)
	w, err := h.All()
	require.NoError(t, err)
	r, err := h.Returns(w)
	require.NoError(t, err)
	require.Equal(t, make([]float64, 5), r)
}

func TestHistoryBeforeAnything(t *testing.T) {
	t.Parallel()
	deposit := cash("2005-01-04", portfolio.Deposit, "CHF", "1")
	for _, tt := range []struct {
		name, asof, missing string
		ledger              []portfolio.Transaction
	}{
		{"no transactions", "2005-01-10", "transactions", nil},
		{"as of before the first", "2005-01-03", "transactions", []portfolio.Transaction{deposit}},
		{"one day of history", "2005-01-04", "returns", []portfolio.Transaction{deposit}},
		{"no valuation day", "2005-02-10", "prices:CAL", []portfolio.Transaction{cash("2005-01-11", portfolio.Deposit, "CHF", "1")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := january(t, tt.asof, portfolio.SeriesSet{}, tt.ledger...)
			_, err := h.Last(252)
			missing(t, err, tt.missing)
			_, err = h.All()
			missing(t, err, tt.missing)
			_, err = h.Since(day("2005-01-04"))
			missing(t, err, tt.missing)
			_, err = h.MoneyWeightedSinceInception()
			missing(t, err, tt.missing)
		})
	}
}

func missing(t *testing.T, err error, names ...string) {
	t.Helper()
	var shortages portfolio.Shortages
	require.ErrorAs(t, err, &shortages)
	var got []string
	for _, s := range shortages {
		require.NotEmpty(t, s.Reason)
		got = append(got, s.Missing)
	}
	require.Equal(t, names, got)
}

func TestSince(t *testing.T) {
	t.Parallel()
	h := january(t, "2005-01-10", portfolio.SeriesSet{}, cash("2005-01-04", portfolio.Deposit, "CHF", "1"))
	w, err := h.Since(day("2005-01-07"))
	require.NoError(t, err)
	require.Equal(t, portfolio.Window{Start: 3, End: 4}, w)
	w, err = h.Since(day("2005-01-09"))
	require.NoError(t, err)
	require.Equal(t, portfolio.Window{Start: 3, End: 4}, w, "the last valuation day on or before, never after")
	_, err = h.Since(day("2005-01-03"))
	missing(t, err, "transactions")
	_, err = h.Since(day("2005-01-10"))
	missing(t, err, "returns")
}

func TestMissingMarketData(t *testing.T) {
	t.Parallel()
	market := portfolio.SeriesSet{
		Prices: map[string]portfolio.Series{"A": series(6, 10)},
		FX:     map[string]portfolio.Series{"USD/CHF": series(5, 2)},
	}
	h := january(t, "2005-01-10", market,
		cash("2005-01-03", portfolio.Deposit, "CHF", "1000"),
		cash("2005-01-04", portfolio.Deposit, "USD", "10"),
		trade("2005-01-04", portfolio.Buy, "A", "10", "CHF", "-100"),
	)
	all, err := h.All()
	require.NoError(t, err)
	_, err = h.Returns(all)
	missing(t, err, "prices:A", "fx:USD/CHF")
	_, err = h.AttributeCurrency(all)
	missing(t, err, "prices:A", "fx:USD/CHF")
	_, err = h.MoneyWeighted(all)
	missing(t, err, "prices:A", "fx:USD/CHF")
	require.True(t, math.IsNaN(h.NAV[2]))

	late, err := h.Last(2)
	require.NoError(t, err)
	r, err := h.Returns(late)
	require.NoError(t, err, "what was missing before the window does not matter")
	require.Equal(t, []float64{0, 0}, r)

	_, err = h.AttributeStartHoldings(portfolio.Window{Start: 2, End: 5})
	missing(t, err, "prices:A")
	_, err = h.SecurityReturns(portfolio.Security{Symbol: "A", Currency: "CHF"}, portfolio.Window{Start: 2, End: 5})
	missing(t, err, "prices:A")
	_, err = h.SecurityReturns(portfolio.Security{Symbol: "CAL", Currency: "SEK"}, late)
	missing(t, err, "fx:SEK/CHF")
	_, err = h.MacroValues("BILL", late)
	missing(t, err, "macro:BILL")

	unknown, err := portfolio.NewHistory(portfolio.Portfolio{BaseCurrency: "CHF", Calendar: "CAL"},
		[]portfolio.Transaction{
			cash("2005-01-03", portfolio.Deposit, "CHF", "1000"), trade("2005-01-03", portfolio.Buy, "Z", "1", "SEK", "-1"),
		}, nil, portfolio.SeriesSet{Prices: map[string]portfolio.Series{"CAL": series(3, 1, 4, 1)}}, day("2005-01-10"))
	require.NoError(t, err)
	_, err = unknown.Returns(portfolio.Window{Start: 0, End: 1})
	missing(t, err, "prices:Z", "fx:SEK/CHF")
	require.ErrorContains(t, err, "no such security is listed")
}

// A foreign deposit that is exchanged the same day leaves no foreign line behind, only a flow.
func TestFlowWithoutRate(t *testing.T) {
	t.Parallel()
	h := january(t, "2005-01-10", portfolio.SeriesSet{FX: map[string]portfolio.Series{"USD/CHF": series(10, 2)}},
		cash("2005-01-03", portfolio.Deposit, "USD", "10"),
		trade("2005-01-03", portfolio.FX, "CHF/USD", "20", "USD", "-10"),
		cash("2005-01-05", portfolio.Deposit, "USD", "10"),
		trade("2005-01-05", portfolio.FX, "CHF/USD", "20", "USD", "-10"),
	)
	_, err := h.Returns(portfolio.Window{Start: 0, End: 5})
	missing(t, err, "fx:USD/CHF")
	_, err = h.MoneyWeightedSinceInception()
	missing(t, err, "fx:USD/CHF")
	_, err = h.Returns(portfolio.Window{Start: 1, End: 2})
	missing(t, err, "fx:USD/CHF")
	_, err = h.Returns(portfolio.Window{Start: 2, End: 5})
	require.NoError(t, err)
}

func TestMacroValues(t *testing.T) {
	t.Parallel()
	h := january(t, "2005-01-10", portfolio.SeriesSet{Macro: map[string]portfolio.Series{"BILL": series(4, 0.1, 6, 0.2)}},
		cash("2005-01-03", portfolio.Deposit, "CHF", "1"))
	got, err := h.MacroValues("BILL", portfolio.Window{Start: 0, End: 5})
	require.NoError(t, err, "the first return is that of the second day")
	require.Equal(t, []float64{0.1, 0.1, 0.2, 0.2, 0.2}, got)
	require.Contains(t, h.Used(), portfolio.Observation{Name: "macro:BILL", Date: day("2005-01-06")})

	h = january(t, "2005-01-10", portfolio.SeriesSet{Macro: map[string]portfolio.Series{"BILL": series(5, 0.1)}},
		cash("2005-01-03", portfolio.Deposit, "CHF", "1"))
	_, err = h.MacroValues("BILL", portfolio.Window{Start: 0, End: 5})
	missing(t, err, "macro:BILL")
}

func TestCapitalMustBePositive(t *testing.T) {
	t.Parallel()
	market := portfolio.SeriesSet{Prices: map[string]portfolio.Series{"A": series(3, 10, 5, 30)}}
	h := january(t, "2005-01-10", market,
		trade("2005-01-03", portfolio.Sell, "A", "10", "CHF", "100"),
		cash("2005-01-03", portfolio.Deposit, "CHF", "100"),
		cash("2005-01-06", portfolio.Deposit, "CHF", "500"),
	)
	require.Equal(t, []float64{100, 100, -100, 400, 400, 400}, h.NAV)
	_, err := h.Returns(portfolio.Window{Start: 0, End: 2})
	require.NoError(t, err, "a loss of more than everything is a return")
	_, err = h.AttributeCurrency(portfolio.Window{Start: 0, End: 2})
	missing(t, err, "capital")
	_, err = h.MoneyWeighted(portfolio.Window{Start: 2, End: 5})
	missing(t, err, "capital")
	_, err = h.AttributeStartHoldings(portfolio.Window{Start: 2, End: 5})
	missing(t, err, "capital")
	_, err = h.Returns(portfolio.Window{Start: 2, End: 5})
	require.NoError(t, err, "the deposit stands at the start of its day")

	empty := january(t, "2005-01-10", portfolio.SeriesSet{},
		cash("2005-01-03", portfolio.Deposit, "CHF", "100"),
		cash("2005-01-04", portfolio.Withdrawal, "CHF", "-100"),
		cash("2005-01-07", portfolio.Deposit, "CHF", "100"),
	)
	w, err := empty.All()
	require.NoError(t, err)
	_, err = empty.Returns(w)
	missing(t, err, "capital")
	require.ErrorContains(t, err, "2005-01-04", "the withdrawal leaves nothing to earn on")
}

func TestMoneyWeighted(t *testing.T) {
	t.Parallel()
	market := portfolio.SeriesSet{Prices: map[string]portfolio.Series{
		"CAL": {{day("2005-01-03"), 1}, {day("2005-07-04"), 1}, {day("2006-01-03"), 1}},
		"A":   {{day("2005-01-03"), 100}, {day("2006-01-03"), 120}},
	}}
	h, err := portfolio.NewHistory(portfolio.Portfolio{BaseCurrency: "CHF", Calendar: "CAL"}, []portfolio.Transaction{
		cash("2005-01-03", portfolio.Deposit, "CHF", "1000"),
		trade("2005-01-03", portfolio.Buy, "A", "10", "CHF", "-1000"),
		cash("2005-07-02", portfolio.Deposit, "CHF", "500"), // counts on 4 July
	}, securities("A", "CHF"), market, day("2006-01-03"))
	require.NoError(t, err)
	want, err := portfolio.XIRR([]portfolio.CashFlow{
		{day("2005-01-03"), -1000}, {day("2005-07-04"), -500}, {day("2006-01-03"), 1700},
	})
	require.NoError(t, err)

	got, err := h.MoneyWeightedSinceInception()
	require.NoError(t, err)
	require.InDelta(t, want, got, 1e-12)
	got, err = h.MoneyWeighted(portfolio.Window{Start: 0, End: 2})
	require.NoError(t, err)
	require.InDelta(t, want, got, 1e-12, "the first value is what was paid in")
	got, err = h.MoneyWeighted(portfolio.Window{Start: 1, End: 2})
	require.NoError(t, err)
	require.InDelta(t, math.Pow(1700.0/1500, 365.0/183)-1, got, 1e-12, "flows up to the start are in its value")
}

// One currency step by hand: 100 USD cash and 10 U at 20 USD, the franc at 1 and then 1.1, U at
// 22; the portfolio pays a fee of 3.
func TestAttributionByHand(t *testing.T) {
	t.Parallel()
	market := portfolio.SeriesSet{
		Prices: map[string]portfolio.Series{"U": series(3, 20, 4, 22)},
		FX:     map[string]portfolio.Series{"USD/CHF": series(3, 1, 4, 1.1)},
	}
	h := january(t, "2005-01-04", market,
		cash("2005-01-03", portfolio.Deposit, "USD", "300"),
		trade("2005-01-03", portfolio.Buy, "U", "10", "USD", "-200"),
		cash("2005-01-04", portfolio.Deposit, "CHF", "100"),
		cash("2005-01-04", portfolio.Fee, "CHF", "-3"),
	)
	w := portfolio.Window{Start: 0, End: 1}
	a, err := h.AttributeCurrency(w)
	require.NoError(t, err)
	require.InDelta(t, (10*22*1.1+100*1.1+97)/400-1, a.Total, 1e-14)
	require.InDelta(t, 200.0/400*0.1, a.Local, 1e-14)
	require.InDelta(t, 300.0/400*0.1, a.FX, 1e-14)
	require.InDelta(t, 200.0/400*0.01, a.Interaction, 1e-14)
	require.InDelta(t, -3.0/400, a.Costs, 1e-14)
	require.Len(t, a.Lines, 3)
	require.Equal(t, "U", a.Lines[0].Symbol)
	require.InDelta(t, 200.0/300, a.Lines[0].Weight, 1e-14, "before the day's deposit")
	require.InDelta(t, 200.0/400, a.Lines[0].AverageWeight, 1e-14, "after it")
	require.Equal(t, "CHF", a.Lines[1].Symbol)
	require.InDelta(t, 100.0/400, a.Lines[1].AverageWeight, 1e-14)

	a, err = h.AttributeStartHoldings(w)
	require.NoError(t, err)
	require.InDelta(t, (10*22*1.1+100*1.1)/300-1, a.Total, 1e-14)
	require.Zero(t, a.Costs)
	require.InDelta(t, a.Total, a.Local+a.FX+a.Interaction, 1e-14)
}
