package portfolio_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// world is a random market and a random ledger in it.
type world struct {
	portfolio  portfolio.Portfolio
	securities map[string]portfolio.Security
	ledger     []portfolio.Transaction
	market     portfolio.SeriesSet
	asof       time.Time
	named      int // transactions that have been given an id
}

// walk is a random series of prices with 4 decimals. It has its first day and about nine in ten
// of the others.
func walk(rng *rand.Rand, start time.Time, days int, level, sd float64) portfolio.Series {
	var s portfolio.Series
	for i := range days {
		level *= math.Exp(sd * rng.NormFloat64())
		if i == 0 || rng.IntN(10) > 0 {
			s = append(s, portfolio.Point{Date: start.AddDate(0, 0, i), Value: math.Round(level*1e4) / 1e4})
		}
	}
	return s
}

// newWorld is a market with splits, and a ledger of bookings of every type.
func newWorld(seed uint64) world {
	w := newPlainWorld(seed)
	rng := rand.New(rand.NewPCG(seed, 98))
	days := int(w.asof.Sub(w.ledger[0].Date).Hours()/24) + 1
	for _, symbol := range w.symbols() {
		for range rng.IntN(3) {
			ratio := dec([]string{"2", "0.5", "1.5", "0.333333333333", "10"}[rng.IntN(5)])
			on := w.ledger[0].Date.AddDate(0, 0, rng.IntN(days))
			for i := range w.market.Prices[symbol] {
				if p := &w.market.Prices[symbol][i]; !p.Date.Before(on) {
					p.Value = math.Round(p.Value/ratio.InexactFloat64()*1e6) / 1e6
				}
			}
			w.ledger = append(w.ledger, portfolio.Transaction{
				Date: on, Type: portfolio.Split, Symbol: symbol, Quantity: ratio, Currency: w.securities[symbol].Currency,
			})
		}
		for range rng.IntN(4) {
			w.ledger = append(w.ledger, portfolio.Transaction{
				Date: w.ledger[0].Date.AddDate(0, 0, rng.IntN(days)), Type: portfolio.Dividend, Symbol: symbol,
				Currency: []string{"CHF", "USD", "EUR", "JPY"}[rng.IntN(4)], Amount: decimal.New(1+rng.Int64N(5_000_00), -2),
			})
		}
	}
	w.number()
	for _, i := range rng.Perm(len(w.ledger))[:rng.IntN(4)] {
		if original := w.ledger[i]; original.Seq > 1 { // the first deposit stays
			undo, err := portfolio.Reverse(original, nil)
			if err != nil {
				panic(err)
			}
			undo.ID = "undo " + original.ID
			w.ledger = append(w.ledger, undo)
		}
	}
	w.number()
	return w
}

// number puts the ledger in order of date, as if it had been booked in that order.
func (w *world) number() {
	slices.SortStableFunc(w.ledger, func(a, b portfolio.Transaction) int { return a.Date.Compare(b.Date) })
	for i := range w.ledger {
		w.ledger[i].Seq = int64(i + 1)
		if w.ledger[i].ID == "" {
			w.named++
			w.ledger[i].ID = fmt.Sprint(w.named)
		}
	}
}

func (w world) symbols() []string { return slices.Sorted(maps.Keys(w.securities)) }

// newPlainWorld is a market without splits, and a ledger without splits, dividends and reversals.
func newPlainWorld(seed uint64) world {
	rng := rand.New(rand.NewPCG(seed, 99))
	start := day("2001-06-01")
	days := 30 + rng.IntN(200)
	w := world{
		portfolio:  portfolio.Portfolio{BaseCurrency: []string{"CHF", "USD", "EUR"}[rng.IntN(3)], Calendar: "CAL"},
		securities: map[string]portfolio.Security{},
		market: portfolio.SeriesSet{
			Prices: map[string]portfolio.Series{"CAL": walk(rng, start, days, 100, 0.01)},
			FX: map[string]portfolio.Series{
				"USD/CHF": walk(rng, start, days, 1.6, 0.006),
				"EUR/USD": walk(rng, start, days, 0.9, 0.006),
				"USD/JPY": walk(rng, start, days, 120, 0.006),
			},
		},
		asof: start.AddDate(0, 0, days-1),
	}
	currencies := []string{"CHF", "USD", "EUR", "JPY"}
	var symbols []string
	for i := range 1 + rng.IntN(8) {
		symbol := fmt.Sprintf("S%d", i)
		symbols = append(symbols, symbol)
		w.securities[symbol] = portfolio.Security{Symbol: symbol, Currency: currencies[rng.IntN(4)]}
		w.market.Prices[symbol] = walk(rng, start, days, 50+100*rng.Float64(), 0.015)
	}
	amount := func(max int64) decimal.Decimal { return decimal.New(1+rng.Int64N(max*100), -2) }
	// The first deposit is large enough that no day ends without capital.
	w.ledger = []portfolio.Transaction{{Date: start, Type: portfolio.Deposit, Currency: w.portfolio.BaseCurrency, Amount: dec("5000000")}}
	for i := range days {
		for range rng.IntN(3) {
			t := portfolio.Transaction{Date: start.AddDate(0, 0, i), Currency: currencies[rng.IntN(4)]}
			switch rng.IntN(6) {
			case 0:
				t.Type, t.Amount = portfolio.Deposit, amount(40000)
			case 1:
				t.Type, t.Amount = portfolio.Withdrawal, amount(20000).Neg()
			case 2:
				t.Type, t.Amount = portfolio.Fee, amount(50).Neg()
			case 3:
				from := currencies[rng.IntN(4)]
				if from == t.Currency {
					continue
				}
				t.Type, t.Symbol = portfolio.FX, from+"/"+t.Currency
				t.Quantity, t.Amount = amount(10000), amount(10000).Neg()
			case 4, 5:
				t.Symbol = symbols[rng.IntN(len(symbols))]
				t.Currency = w.securities[t.Symbol].Currency
				t.Quantity = decimal.New(1+rng.Int64N(100000), -3)
				value := t.Quantity.Mul(decimal.NewFromInt(90 + rng.Int64N(20))).Round(2)
				if rng.IntN(3) == 0 {
					t.Type, t.Amount = portfolio.Sell, value
				} else {
					t.Type, t.Amount = portfolio.Buy, value.Neg()
				}
			}
			w.ledger = append(w.ledger, t)
		}
	}
	w.number()
	return w
}

func (w world) history(t *testing.T) *portfolio.History {
	t.Helper()
	h, err := portfolio.NewHistory(w.portfolio, w.ledger, w.securities, w.market, w.asof)
	require.NoError(t, err)
	return h
}

// valuation is what is held on a day at the last prices.
func (w world) valuation(t *testing.T, on time.Time) portfolio.Valuation {
	t.Helper()
	held, err := portfolio.HoldingsAt(w.ledger, w.securities, on)
	require.NoError(t, err)
	return portfolio.Value(w.portfolio.BaseCurrency, held, quotesOn(t, w.market, on.Format(time.DateOnly)), w.market)
}

const worlds = 150

func TestAttributionSumsToReturn(t *testing.T) {
	t.Parallel()
	for seed := range uint64(worlds) {
		h := newWorld(seed).history(t)
		for _, n := range []int{1, 7, 60, 1000} {
			w, err := h.Last(n)
			require.NoError(t, err)
			r, err := h.Returns(w)
			require.NoError(t, err, "seed %d", seed)

			a, err := h.AttributeCurrency(w)
			require.NoError(t, err)
			require.InDelta(t, portfolio.Compound(r), a.Total, 1e-12)
			require.InDelta(t, a.Total, a.Local+a.FX+a.Interaction+a.Costs, 1e-12, "seed %d", seed)
			sums(t, a)

			one, err := h.AttributeStartHoldings(w)
			require.NoError(t, err)
			require.InDelta(t, one.Total, one.Local+one.FX+one.Interaction, 1e-12, "seed %d", seed)
			sums(t, one)
		}
	}
}

// sums requires that lines sum to the parts and weights to 1.
func sums(t *testing.T, a portfolio.CurrencyAttribution) {
	t.Helper()
	var weight, average, local, fx, interaction float64
	for _, l := range a.Lines {
		weight += l.Weight
		average += l.AverageWeight
		local += l.Local
		fx += l.FX
		interaction += l.Interaction
		if l.Kind == portfolio.KindCash {
			require.Zero(t, l.Local)
		}
	}
	require.InDelta(t, 1, weight, 1e-12)
	require.InDelta(t, 1, average, 1e-12)
	require.InDelta(t, a.Local, local, 1e-12)
	require.InDelta(t, a.FX, fx, 1e-12)
	require.InDelta(t, a.Interaction, interaction, 1e-12)
}

// The valuation of the last day, in decimals from lots, is the last value of the history, in
// floats from running quantities; and its weights sum to 1.
func TestValuationAgreesWithHistory(t *testing.T) {
	t.Parallel()
	for seed := range uint64(worlds) {
		w := newWorld(seed)
		h := w.history(t)
		last := h.Days[len(h.Days)-1]
		held, err := portfolio.HoldingsAt(w.ledger, w.securities, last)
		require.NoError(t, err)
		quotes := portfolio.Quotes{Prices: map[string]portfolio.Quote{}, FX: map[string]portfolio.Quote{}}
		for into, all := range map[*map[string]portfolio.Quote]map[string]portfolio.Series{&quotes.Prices: w.market.Prices, &quotes.FX: w.market.FX} {
			for name, s := range all {
				p, ok := s.On(last)
				require.True(t, ok)
				(*into)[name] = portfolio.Quote{Date: p.Date, Value: decimal.NewFromFloat(p.Value)}
			}
		}
		v := portfolio.Value(w.portfolio.BaseCurrency, held, quotes, w.market)
		require.Empty(t, v.Unpriced)
		require.InEpsilon(t, v.Total.Decimal.InexactFloat64(), h.NAV[len(h.NAV)-1], 1e-12)

		var sum float64
		add := func(value decimal.NullDecimal) {
			weight, err := v.Weight(value.Decimal)
			require.NoError(t, err)
			sum += weight
		}
		for _, p := range v.Positions {
			require.Empty(t, p.Uncosted)
			add(p.Value)
		}
		for _, c := range v.Cash {
			add(c.Value)
		}
		require.InDelta(t, 1, sum, 1e-12)
	}
}

// What happens after a day does not change what was known on it.
func TestNoLookAhead(t *testing.T) {
	t.Parallel()
	for seed := range uint64(worlds) {
		w := newWorld(seed)
		full := w.history(t)
		cut := len(full.Days) / 2
		asof := full.Days[cut]
		for _, all := range []map[string]portfolio.Series{w.market.Prices, w.market.FX} {
			for name, s := range all {
				i := slices.IndexFunc(s, func(p portfolio.Point) bool { return p.Date.After(asof) })
				if i >= 0 {
					all[name] = s[:i]
				}
			}
		}
		w.asof = asof
		before := w.history(t)
		require.Equal(t, full.NAV[:cut+1], before.NAV, "seed %d", seed)
		require.Equal(t, full.Flows[:cut+1], before.Flows)
	}
}

// Money that comes and goes at the start of a day, and is invested at the price it finds there,
// leaves the time-weighted return what the security earned.
func TestTWRIgnoresFlows(t *testing.T) {
	t.Parallel()
	for seed := range uint64(worlds) {
		rng := rand.New(rand.NewPCG(seed, 7))
		start := day("2001-06-01")
		var prices portfolio.Series
		level := 100.0
		for i := range 100 {
			level *= math.Exp(0.02 * rng.NormFloat64())
			prices = append(prices, portfolio.Point{Date: start.AddDate(0, 0, i), Value: math.Round(level*1e4) / 1e4})
		}
		invest := func(i int, price float64, quantity decimal.Decimal) []portfolio.Transaction {
			amount := quantity.Abs().Mul(decimal.NewFromFloat(price))
			deposit := portfolio.Transaction{Date: prices[i].Date, Type: portfolio.Deposit, Currency: "CHF", Amount: amount}
			buy := portfolio.Transaction{Date: prices[i].Date, Type: portfolio.Buy, Symbol: "A", Quantity: quantity.Abs(), Currency: "CHF", Amount: amount.Neg()}
			if quantity.IsNegative() {
				deposit.Type, deposit.Amount = portfolio.Withdrawal, amount.Neg()
				buy.Type, buy.Amount = portfolio.Sell, amount
			}
			return []portfolio.Transaction{deposit, buy}
		}
		ledger := invest(0, prices[0].Value, dec("1000"))
		for i := 1; i < len(prices); i++ {
			if rng.IntN(4) == 0 {
				quantity := decimal.New(1+rng.Int64N(9000), -1)
				if rng.IntN(5) == 0 {
					quantity = dec("-3.75")
				}
				ledger = append(ledger, invest(i, prices[i-1].Value, quantity)...)
			}
		}
		h, err := portfolio.NewHistory(portfolio.Portfolio{BaseCurrency: "CHF", Calendar: "A"}, ledger, securities("A", "CHF"),
			portfolio.SeriesSet{Prices: map[string]portfolio.Series{"A": prices}}, prices[len(prices)-1].Date)
		require.NoError(t, err)
		w, err := h.All()
		require.NoError(t, err)
		r, err := h.Returns(w)
		require.NoError(t, err)
		require.InDelta(t, prices[len(prices)-1].Value/prices[0].Value-1, portfolio.Compound(r), 1e-12, "seed %d", seed)
	}
}
