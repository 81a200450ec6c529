package portfolio_test

import (
	"math/rand/v2"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/portfolio"
)

func dividend(date, symbol, currency, amount string) portfolio.Transaction {
	t := cash(date, portfolio.Dividend, currency, amount)
	t.Symbol = symbol
	return t
}

// valued returns what HoldingsAt holds at the last prices of the market on a day.
func valued(t *testing.T, base string, ledger []portfolio.Transaction, market portfolio.SeriesSet, on string) portfolio.Valuation {
	t.Helper()
	held, err := portfolio.HoldingsAt(ledger, securities("A", "CHF", "U", "USD"), day(on))
	require.NoError(t, err)
	return portfolio.Value(base, held, quotesOn(t, market, on), market)
}

func quotesOn(t *testing.T, market portfolio.SeriesSet, on string) portfolio.Quotes {
	t.Helper()
	quotes := portfolio.Quotes{Prices: map[string]portfolio.Quote{}, FX: map[string]portfolio.Quote{}}
	for into, all := range map[*map[string]portfolio.Quote]map[string]portfolio.Series{&quotes.Prices: market.Prices, &quotes.FX: market.FX} {
		for name, s := range all {
			if p, ok := s.On(day(on)); ok {
				(*into)[name] = portfolio.Quote{Date: p.Date, Value: decimal.NewFromFloat(p.Value)}
			}
		}
	}
	return quotes
}

// A two for one split on 5 January: the price halves, and nothing else happens. Where there is no
// price on the day, the one that is carried over the split is halved too.
func TestSplitIsNoJump(t *testing.T) {
	t.Parallel()
	for name, prices := range map[string]portfolio.Series{
		"with a price on the day": series(3, 20, 5, 10, 6, 10, 7, 11),
		"without":                 series(3, 20, 6, 10, 7, 11),
		"on a weekend":            series(3, 20, 4, 20, 7, 11),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			market := portfolio.SeriesSet{Prices: map[string]portfolio.Series{"A": prices}}
			ledger := []portfolio.Transaction{
				cash("2005-01-03", portfolio.Deposit, "CHF", "1000"),
				trade("2005-01-03", portfolio.Buy, "A", "10", "CHF", "-200"),
				trade("2005-01-05", portfolio.Split, "A", "2", "CHF", "0"),
				trade("2005-01-05", portfolio.Buy, "A", "1", "CHF", "-10"),
			}
			h := january(t, "2005-01-07", market, ledger...)
			require.Equal(t, []float64{1000, 1000, 1000, 1000, 1021}, h.NAV)
			require.InDelta(t, 2, h.SplitFactor("A", 0, 4), 0)
			require.InDelta(t, 2, h.SplitFactor("A", 1, 2), 0)
			require.InDelta(t, 1, h.SplitFactor("A", 2, 4), 0, "what was held at the end of the day is in new shares")
			require.InDelta(t, 1, h.SplitFactor("A", 0, 1), 0)
			require.InDelta(t, 1, h.SplitFactor("U", 0, 4), 0)

			w, err := h.All()
			require.NoError(t, err)
			r, err := h.SecurityReturns(portfolio.Security{Symbol: "A", Currency: "CHF"}, w)
			require.NoError(t, err)
			require.InDeltaSlice(t, []float64{0, 0, 0, 0.1}, r, 1e-15)
			a, err := h.AttributeCurrency(w)
			require.NoError(t, err)
			require.InDelta(t, 0.021, a.Local, 1e-15)
			require.InDelta(t, 0, a.Costs, 1e-15)
			one, err := h.AttributeStartHoldings(w)
			require.NoError(t, err)
			require.InDelta(t, 0.02, one.Total, 1e-15, "20 of today's shares, at 11")
			require.InDelta(t, 0.02, one.Local, 1e-15)

			for i, on := range h.Days {
				v := valued(t, "CHF", ledger, market, on.Format("2006-01-02"))
				require.InDelta(t, h.NAV[i], v.Total.Decimal.InexactFloat64(), 1e-12)
			}
		})
	}
}

func TestSplitsBeforeAndAfterTheHistory(t *testing.T) {
	t.Parallel()
	market := portfolio.SeriesSet{Prices: map[string]portfolio.Series{"A": series(1, 40, 6, 10)}}
	h := january(t, "2005-01-06", market,
		trade("2005-01-02", portfolio.Split, "A", "2", "CHF", "0"), // nothing is held yet
		cash("2005-01-03", portfolio.Deposit, "CHF", "1000"),
		trade("2005-01-03", portfolio.Buy, "A", "10", "CHF", "-200"),
		trade("2005-01-04", portfolio.Split, "A", "2", "CHF", "0"),
		trade("2005-01-09", portfolio.Split, "A", "3", "CHF", "0"),
	)
	require.Equal(t, day("2005-01-03"), h.Days[1])
	require.Equal(t, []float64{0, 1000, 1000, 1000, 1000}, h.NAV)
	require.InDelta(t, 2, h.SplitFactor("A", 0, 4), 0)
}

// What a security pays is earned by it, converted at the day's rate, and no external flow. By hand:
// 10 U at 20 USD and 100 USD cash, the dollar at 1 and then 1.1, U at 19 after it has paid 1.5 a
// share.
func TestDividendIsReturn(t *testing.T) {
	t.Parallel()
	market := portfolio.SeriesSet{
		Prices: map[string]portfolio.Series{"U": series(3, 20, 4, 19)},
		FX:     map[string]portfolio.Series{"USD/CHF": series(3, 1, 4, 1.1), "EUR/CHF": series(3, 1.5)},
	}
	ledger := []portfolio.Transaction{
		cash("2005-01-03", portfolio.Deposit, "USD", "300"),
		trade("2005-01-03", portfolio.Buy, "U", "10", "USD", "-200"),
	}
	w := portfolio.Window{Start: 0, End: 1}
	for name, paid := range map[string]portfolio.Transaction{
		"in its own currency": dividend("2005-01-04", "U", "USD", "15"),
		"in another":          dividend("2005-01-04", "U", "EUR", "11"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := january(t, "2005-01-04", market, append(ledger[:2:2], paid)...)
			require.InDeltaSlice(t, []float64{300, 335.5}, h.NAV, 1e-12)
			require.Equal(t, []float64{0}, h.Flows[1:])
			income, err := h.Dividends("U", w)
			require.NoError(t, err)
			require.InDeltaSlice(t, []float64{16.5}, income, 1e-12)
			a, err := h.AttributeCurrency(w)
			require.NoError(t, err)
			require.InDelta(t, 35.5/300, a.Total, 1e-14)
			require.InDelta(t, 200.0/300*(-1+1.5)/20, a.Local, 1e-14, "the price fell by less than was paid")
			require.InDelta(t, 0.1, a.FX, 1e-14)
			require.InDelta(t, a.Local*0.1, a.Interaction, 1e-14)
			require.InDelta(t, 0, a.Costs, 1e-14)
			require.InDelta(t, a.Local, a.Lines[0].Local, 0)
			require.Equal(t, "U", a.Lines[0].Symbol)
		})
	}

	// Paid after all of it was sold: the return is the security's all the same.
	h := january(t, "2005-01-05", market,
		cash("2005-01-03", portfolio.Deposit, "CHF", "300"),
		trade("2005-01-04", portfolio.Buy, "U", "1", "USD", "-19"),
		trade("2005-01-04", portfolio.Sell, "U", "1", "USD", "19"),
		dividend("2005-01-05", "U", "CHF", "3"),
	)
	a, err := h.AttributeCurrency(portfolio.Window{Start: 0, End: 2})
	require.NoError(t, err)
	require.InDelta(t, 0.01, a.Total, 1e-14)
	require.InDelta(t, 0.01, a.Local, 1e-14)
	require.Len(t, a.Lines, 2)
	mwr, err := h.MoneyWeightedSinceInception()
	require.NoError(t, err)
	require.Positive(t, mwr, "it was not paid in")
	none, err := h.Dividends("A", portfolio.Window{Start: 0, End: 2})
	require.NoError(t, err)
	require.Nil(t, none)

	// A payment in a currency without a rate, exchanged on its day, is in the value but can't be told.
	h = january(t, "2005-01-04", market,
		cash("2005-01-03", portfolio.Deposit, "CHF", "300"),
		dividend("2005-01-04", "A", "SEK", "30"),
		trade("2005-01-04", portfolio.FX, "CHF/SEK", "3", "SEK", "-30"),
	)
	r, err := h.Returns(w)
	require.NoError(t, err)
	require.InDelta(t, 0.01, r[0], 1e-14)
	_, err = h.AttributeCurrency(w)
	missing(t, err, "fx:SEK/CHF")
	_, err = h.Dividends("A", w)
	missing(t, err, "fx:SEK/CHF")
}

// A ledger and its market are the same with and without splits: after one, there are more shares at
// a lower price.
func TestSplitsChangeNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(worlds) {
		whole := newPlainWorld(seed)
		plain := whole.history(t)
		rng := rand.New(rand.NewPCG(seed, 23))
		cut := whole
		cut.market.Prices = map[string]portfolio.Series{}
		for symbol, s := range whole.market.Prices {
			cut.market.Prices[symbol] = append(portfolio.Series(nil), s...)
		}
		cut.ledger = append([]portfolio.Transaction(nil), whole.ledger...)
		for _, symbol := range whole.symbols() {
			for range rng.IntN(3) {
				ratio := []string{"2", "4", "0.5", "1.25"}[rng.IntN(4)]
				on := whole.ledger[0].Date.AddDate(0, 0, rng.IntN(220))
				for i := range cut.market.Prices[symbol] {
					if p := &cut.market.Prices[symbol][i]; !p.Date.Before(on) {
						p.Value /= dec(ratio).InexactFloat64()
					}
				}
				for i := range cut.ledger {
					if tx := &cut.ledger[i]; tx.Symbol == symbol && !tx.Date.Before(on) && tx.Type != portfolio.Split {
						tx.Quantity = tx.Quantity.Mul(dec(ratio))
					}
				}
				split := trade("2005-01-03", portfolio.Split, symbol, ratio, whole.securities[symbol].Currency, "0")
				split.Date = on
				cut.ledger = append(cut.ledger, split)
			}
		}
		cut.number()
		h := cut.history(t)
		require.InEpsilonSlice(t, plain.NAV, h.NAV, 1e-11, "seed %d", seed)
		require.Equal(t, plain.Flows, h.Flows)
		w, err := h.All()
		require.NoError(t, err)
		want, err := plain.AttributeCurrency(w)
		require.NoError(t, err)
		got, err := h.AttributeCurrency(w)
		require.NoError(t, err)
		require.Len(t, got.Lines, len(want.Lines))
		for i, l := range want.Lines {
			require.Equal(t, l.Symbol, got.Lines[i].Symbol)
			require.InDelta(t, l.Local, got.Lines[i].Local, 1e-11)
			require.InDelta(t, l.FX, got.Lines[i].FX, 1e-11)
			require.InDelta(t, l.Interaction, got.Lines[i].Interaction, 1e-11)
			require.InDelta(t, l.Weight, got.Lines[i].Weight, 1e-11)
		}
		one, err := plain.AttributeStartHoldings(w)
		require.NoError(t, err)
		other, err := h.AttributeStartHoldings(w)
		require.NoError(t, err)
		require.InDelta(t, one.Total, other.Total, 1e-11)
		for _, symbol := range whole.symbols() {
			want, err := plain.SecurityReturns(whole.securities[symbol], w)
			require.NoError(t, err)
			got, err := h.SecurityReturns(whole.securities[symbol], w)
			require.NoError(t, err)
			require.InDeltaSlice(t, want, got, 1e-11, "seed %d", seed)
		}
	}
}

// Any booking of a random ledger, undone, leaves the ledger without it.
func TestReversalIsAbsence(t *testing.T) {
	t.Parallel()
	for seed := range uint64(worlds) {
		rng := rand.New(rand.NewPCG(seed, 31))
		w := newWorld(seed)
		effective, err := portfolio.Effective(w.ledger)
		require.NoError(t, err)
		victim := effective[1+rng.IntN(len(effective)-1)] // not the first deposit
		undo, err := portfolio.Reverse(victim, nil)
		require.NoError(t, err)
		undo.ID = "undo"
		undone, without := w, w
		undone.ledger = append(append([]portfolio.Transaction(nil), w.ledger...), undo)
		without.ledger = nil
		for _, tx := range w.ledger {
			if tx.ID != victim.ID {
				without.ledger = append(without.ledger, tx)
			}
		}
		undone.number()
		a, b := undone.history(t), without.history(t)
		require.Equal(t, b.NAV, a.NAV, "seed %d", seed)
		require.Equal(t, b.Flows, a.Flows)
		require.Equal(t, b.Used(), a.Used())
		span, err := a.All()
		require.NoError(t, err)
		one, err := a.AttributeCurrency(span)
		require.NoError(t, err)
		other, err := b.AttributeCurrency(span)
		require.NoError(t, err)
		require.Equal(t, other, one)
		for _, m := range []portfolio.CostMethod{portfolio.FIFO, portfolio.Average} {
			left, err := m.HoldingsAt(undone.ledger, w.securities, w.asof)
			require.NoError(t, err)
			right, err := m.HoldingsAt(without.ledger, w.securities, w.asof)
			require.NoError(t, err)
			require.Equal(t, right, left)
		}
	}
}
