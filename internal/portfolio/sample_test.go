package portfolio_test

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// rows reads a file of the sample data, without its header.
func rows(t *testing.T, name string) [][]string {
	t.Helper()
	f, err := os.Open(filepath.Join("../../configs/sample", name))
	require.NoError(t, err)
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	return all[1:]
}

func float(t *testing.T, s string) float64 {
	t.Helper()
	if s == "" {
		return 0
	}
	v, err := strconv.ParseFloat(s, 64)
	require.NoError(t, err)
	return v
}

// A second calculation of the sample portfolio, straight from its files: for every day all bookings
// from the first on, all prices up to the day, and the textbook's formula. It shares no code with
// what it checks.
func TestSampleByPlainLoops(t *testing.T) {
	t.Parallel()
	const asof = "2007-05-08"
	bookings, prices, rates := rows(t, "demo_transactions.csv"), rows(t, "prices.csv"), rows(t, "fx.csv")
	closes, currency := map[string]map[string]float64{}, map[string]string{}
	for _, r := range prices { // symbol, date, close, currency
		if closes[r[0]] == nil {
			closes[r[0]] = map[string]float64{}
		}
		closes[r[0]][r[1]], currency[r[0]] = float(t, r[2]), r[3]
	}
	usdchf := map[string]float64{}
	for _, r := range rates { // date, base, quote, rate
		if r[1] == "USD" && r[2] == "CHF" {
			usdchf[r[0]] = float(t, r[3])
		}
	}
	// Text dates compare as dates do.
	last := func(values map[string]float64, on string) float64 {
		newest := ""
		for date := range values {
			if date <= on && date > newest {
				newest = date
			}
		}
		require.NotEmpty(t, newest)
		return values[newest]
	}
	var days []string
	for date := range closes["SBI"] {
		if date >= bookings[0][0] && date <= asof {
			days = append(days, date)
		}
	}
	slices.Sort(days)

	navs, flows := make([]float64, len(days)), make([]float64, len(days))
	for i, on := range days {
		held, chf, usd := map[string]float64{}, 0.0, 0.0
		for _, b := range bookings { // date, type, symbol, quantity, price, currency, amount
			if b[0] > on {
				break
			}
			quantity, amount := float(t, b[3]), float(t, b[6])
			switch b[1] {
			case "BUY":
				held[b[2]] += quantity
			case "SELL":
				held[b[2]] -= quantity
			case "FX":
				usd += quantity
			case "DEPOSIT", "WITHDRAWAL":
				if i == 0 || b[0] > days[i-1] {
					flows[i] += amount
				}
			}
			if b[5] == "CHF" {
				chf += amount
			} else {
				usd += amount
			}
		}
		navs[i] = chf + usd*last(usdchf, on)
		for symbol, quantity := range held {
			value := quantity * last(closes[symbol], on)
			if currency[symbol] == "USD" {
				value *= last(usdchf, on)
			}
			navs[i] += value
		}
	}
	twr := 1.0
	for i := len(days) - 252; i < len(days); i++ {
		twr *= navs[i] / (navs[i-1] + flows[i])
	}
	twr--
	require.InDelta(t, 1_444_808.19, navs[len(navs)-1], 0.005)
	require.InDelta(t, 0.136819, twr, 0.5e-6)

	h := sampleHistory(t, bookings, prices, rates, asof)
	require.Len(t, h.Days, len(days))
	for i := range days {
		require.Equal(t, days[i], h.Days[i].Format("2006-01-02"))
		require.InDelta(t, navs[i], h.NAV[i], 0.01)
		require.InDelta(t, flows[i], h.Flows[i], 0.01)
	}
	w, err := h.Last(252)
	require.NoError(t, err)
	r, err := h.Returns(w)
	require.NoError(t, err)
	require.InEpsilon(t, twr, portfolio.Compound(r), 1e-9)
	for i, x := range r {
		at := w.Start + 1 + i
		require.InDelta(t, navs[at]/(navs[at-1]+flows[at])-1, x, 1e-12)
	}
}

func sampleHistory(t *testing.T, bookings, prices, rates [][]string, asof string) *portfolio.History {
	t.Helper()
	market := portfolio.SeriesSet{Prices: map[string]portfolio.Series{}, FX: map[string]portfolio.Series{}}
	listed := map[string]portfolio.Security{}
	for _, r := range prices {
		market.Prices[r[0]] = append(market.Prices[r[0]], portfolio.Point{Date: day(r[1]), Value: float(t, r[2])})
		listed[r[0]] = portfolio.Security{Symbol: r[0], Currency: r[3]}
	}
	for _, r := range rates {
		pair := strings.Join(r[1:3], "/")
		market.FX[pair] = append(market.FX[pair], portfolio.Point{Date: day(r[0]), Value: float(t, r[3])})
	}
	var ledger []portfolio.Transaction
	for i, b := range bookings {
		tx := booking(portfolio.Type(b[1]), 1, b[2], b[3], b[4], b[5], b[6])
		tx.Date, tx.Seq = day(b[0]), int64(i+1)
		ledger = append(ledger, tx)
	}
	h, err := portfolio.NewHistory(portfolio.Portfolio{BaseCurrency: "CHF", Calendar: "SBI"}, ledger, listed, market, day(asof))
	require.NoError(t, err)
	return h
}
