package portfolio_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// decade is a ledger of n securities in three currencies, each traded once a year, over 2,520
// days.
func decade(n int) (portfolio.Portfolio, []portfolio.Transaction, map[string]portfolio.Security, portfolio.SeriesSet) {
	const days = 2520
	rng := rand.New(rand.NewPCG(1, 1))
	start := day("2000-01-03")
	currencies := []string{"CHF", "USD", "EUR"}
	walk := func(level float64) portfolio.Series {
		s := make(portfolio.Series, days)
		for i := range s {
			level *= math.Exp(0.01 * rng.NormFloat64())
			s[i] = portfolio.Point{Date: start.AddDate(0, 0, i), Value: level}
		}
		return s
	}
	market := portfolio.SeriesSet{
		Prices: map[string]portfolio.Series{"CAL": walk(100)},
		FX:     map[string]portfolio.Series{"USD/CHF": walk(1.2), "EUR/USD": walk(1.1)},
	}
	securities := map[string]portfolio.Security{}
	ledger := []portfolio.Transaction{{Date: start, Type: portfolio.Deposit, Currency: "CHF", Amount: decimal.NewFromInt(int64(n) * 1_000_000)}}
	for i := range n {
		symbol := fmt.Sprintf("S%04d", i)
		securities[symbol] = portfolio.Security{Symbol: symbol, Currency: currencies[i%3]}
		market.Prices[symbol] = walk(100)
	}
	for year := range 10 {
		for i := range n {
			symbol := fmt.Sprintf("S%04d", i)
			ledger = append(ledger, portfolio.Transaction{
				Date: start.AddDate(0, 0, year*252), Type: portfolio.Buy, Symbol: symbol,
				Quantity: decimal.NewFromInt(100), Currency: currencies[i%3], Amount: decimal.NewFromInt(-10_000),
			})
		}
	}
	return portfolio.Portfolio{BaseCurrency: "CHF", Calendar: "CAL"}, ledger, securities, market
}

func BenchmarkHistory(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("positions=%d/days=2520", n), func(b *testing.B) {
			p, ledger, securities, market := decade(n)
			asof := market.Prices["CAL"][2519].Date
			b.ReportAllocs()
			for b.Loop() {
				h, err := portfolio.NewHistory(p, ledger, securities, market, asof)
				if err != nil {
					b.Fatal(err)
				}
				w, err := h.All()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := h.Returns(w); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAttributeCurrency(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("positions=%d/days=2519", n), func(b *testing.B) {
			p, ledger, securities, market := decade(n)
			h, err := portfolio.NewHistory(p, ledger, securities, market, market.Prices["CAL"][2519].Date)
			if err != nil {
				b.Fatal(err)
			}
			w, err := h.All()
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := h.AttributeCurrency(w); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHoldingsAt(b *testing.B) {
	_, ledger, securities, market := decade(1000)
	asof := market.Prices["CAL"][2519].Date
	for b.Loop() {
		if _, err := portfolio.HoldingsAt(ledger, securities, asof); err != nil {
			b.Fatal(err)
		}
	}
}
