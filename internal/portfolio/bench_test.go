package portfolio_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// decade is a ledger of n securities in three currencies, each traded once a year, over 2,520
// days.
func decade(n int) (portfolio.Portfolio, []portfolio.Transaction, map[string]portfolio.Security, portfolio.SeriesSet) {
	return years(n, 10)
}

// years is a ledger of n securities in three currencies over years of 252 days. Each year each
// security is bought and pays a dividend, one in ten is split, and one in ten bookings is reversed.
func years(n, years int) (portfolio.Portfolio, []portfolio.Transaction, map[string]portfolio.Security, portfolio.SeriesSet) {
	days := 252 * years
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
	for year := range years {
		for i := range n {
			t := portfolio.Transaction{
				ID: fmt.Sprint(year, "-", i), Date: start.AddDate(0, 0, year*252), Type: portfolio.Buy, Symbol: fmt.Sprintf("S%04d", i),
				Quantity: decimal.NewFromInt(100), Currency: currencies[i%3], Amount: decimal.NewFromInt(-10_000),
			}
			ledger = append(ledger, t)
			if (i+year)%10 == 0 {
				undo := t
				undo.ID, undo.Type, undo.Reverses = "", portfolio.Reversal, t.ID
				ledger = append(ledger, undo)
			}
		}
		for i := range n {
			t := portfolio.Transaction{
				Date: start.AddDate(0, 0, year*252+100), Type: portfolio.Dividend, Symbol: fmt.Sprintf("S%04d", i),
				Currency: currencies[i%3], Amount: decimal.NewFromInt(150),
			}
			ledger = append(ledger, t)
			if (i+year)%10 == 5 {
				t.Type, t.Quantity, t.Amount = portfolio.Split, decimal.NewFromInt(2), decimal.Zero
				ledger = append(ledger, t)
			}
		}
	}
	return portfolio.Portfolio{BaseCurrency: "CHF", Calendar: "CAL"}, ledger, securities, market
}

// BenchmarkThousandPositions is all that one portfolio's analytics compute, from its ledger and market
// data on: the history, every figure, and the linked attribution over all days.
func BenchmarkThousandPositions(b *testing.B) {
	for _, size := range []struct{ positions, years int }{{1000, 10}, {100, 10}, {1000, 1}, {100, 1}} {
		b.Run(fmt.Sprintf("positions=%d/years=%d", size.positions, size.years), func(b *testing.B) {
			p, ledger, securities, market := years(size.positions, size.years)
			asof := market.Prices["CAL"][252*size.years-1].Date
			b.ReportAllocs()
			before := cpuTime(b)
			for b.Loop() {
				h, err := portfolio.NewHistory(p, ledger, securities, market, asof)
				if err != nil {
					b.Fatal(err)
				}
				zero := func(w portfolio.Window) ([]float64, error) { return make([]float64, w.Len()), nil }
				h.Figures(portfolio.Relative{RiskFree: zero, Benchmark: func(w portfolio.Window) ([]float64, error) {
					return h.SecurityReturns(portfolio.Security{Symbol: "CAL", Currency: "CHF"}, w)
				}})
				w, err := h.All()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := h.AttributeCurrency(w); err != nil {
					b.Fatal(err)
				}
			}
			cells := float64(size.positions) * float64(252*size.years)
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N)/cells, "cpu-ns/cell")
		})
	}
}

// cpuTime returns what the process has used of the processors: on a machine that is shared, a steadier
// measure than the clock. The collector's work on other threads is in it.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
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
	for _, m := range []portfolio.CostMethod{portfolio.FIFO, portfolio.Average} {
		b.Run(string(m), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.HoldingsAt(ledger, securities, asof); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
