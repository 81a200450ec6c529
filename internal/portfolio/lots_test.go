package portfolio_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// costOf returns what is held of the only security, and what it has cost.
func costOf(t *testing.T, m portfolio.CostMethod, ledger []portfolio.Transaction) (quantity, cost decimal.Decimal) {
	t.Helper()
	h, err := m.HoldingsAt(ledger, securities("A", "USD"), day("2100-01-01"))
	require.NoError(t, err)
	for _, p := range h.Positions {
		quantity = quantity.Add(p.Quantity())
		for _, l := range p.Lots {
			cost = cost.Add(l.Cost)
		}
	}
	return quantity, cost
}

func near(t *testing.T, want, got decimal.Decimal, msg ...any) {
	t.Helper()
	require.True(t, want.Sub(got).Abs().LessThanOrEqual(decimal.New(1, -6)), append([]any{"%s, not %s", got, want}, msg...)...)
}

// IRS Publication 564, Mutual Fund Distributions (2009), table 3, "Example of How To Figure Basis of
// Shares Sold": of 410 shares that cost 9,100, 210 are sold. Their basis is 5,000 first in, first
// out, and 210 times the average, 9,100 / 410, by the single-category method.
func TestBasisOfSharesSold(t *testing.T) {
	t.Parallel()
	ledger := []portfolio.Transaction{
		trade("2008-02-06", portfolio.Buy, "A", "160", "USD", "-4000"),
		trade("2008-08-07", portfolio.Buy, "A", "240", "USD", "-4800"),
		cash("2008-12-18", portfolio.Dividend, "USD", "300"),
		trade("2008-12-18", portfolio.Buy, "A", "10", "USD", "-300"),
		trade("2009-10-01", portfolio.Sell, "A", "210", "USD", "6720"),
	}
	ledger[2].Symbol = "A"
	quantity, cost := costOf(t, portfolio.FIFO, ledger)
	require.Equal(t, "200", quantity.String())
	require.Equal(t, "4100", cost.String())

	quantity, cost = costOf(t, portfolio.Average, ledger)
	require.Equal(t, "200", quantity.String())
	near(t, dec("9100").Sub(dec("210").Mul(dec("9100")).Div(dec("410"))), cost)
}

// The examples of the single-category method in the same publication: 300 shares that cost 4,800, of
// which 150 are sold at a basis of 16 a share; then 150 bought at 14, and 50 sold at 15 a share.
func TestAverageBasis(t *testing.T) {
	t.Parallel()
	ledger := []portfolio.Transaction{
		trade("2007-05-15", portfolio.Buy, "A", "100", "USD", "-1000"),
		trade("2007-06-15", portfolio.Buy, "A", "100", "USD", "-1200"),
		trade("2007-07-16", portfolio.Buy, "A", "100", "USD", "-2600"),
		trade("2009-05-11", portfolio.Sell, "A", "150", "USD", "3000"),
	}
	quantity, cost := costOf(t, portfolio.Average, ledger)
	require.Equal(t, "150", quantity.String())
	require.Equal(t, "2400", cost.String())
	h, err := portfolio.Average.HoldingsAt(ledger, nil, day("2010-01-01"))
	require.NoError(t, err)
	require.Len(t, h.Positions[0].Lots, 3, "a sale takes of every lot, so that each keeps the day whose exchange rate it was paid at")
	for i, want := range []string{"500", "600", "1300"} {
		require.Equal(t, "50", h.Positions[0].Lots[i].Quantity.String())
		require.Equal(t, want, h.Positions[0].Lots[i].Cost.String())
		require.Equal(t, ledger[i].Date, h.Positions[0].Lots[i].Date)
	}

	ledger = append(ledger,
		trade("2009-09-21", portfolio.Buy, "A", "150", "USD", "-2100"),
		trade("2009-12-14", portfolio.Sell, "A", "50", "USD", "700"),
	)
	quantity, cost = costOf(t, portfolio.Average, ledger)
	require.Equal(t, "250", quantity.String())
	near(t, dec("3750"), cost)
}

func TestAverageCostThroughZero(t *testing.T) {
	t.Parallel()
	ledger := []portfolio.Transaction{
		trade("2005-01-03", portfolio.Buy, "A", "2", "USD", "-20"),
		trade("2005-01-04", portfolio.Sell, "A", "5", "USD", "75"),
	}
	quantity, cost := costOf(t, portfolio.Average, ledger)
	require.Equal(t, "-3", quantity.String())
	require.Equal(t, "-45", cost.String())
	ledger = append(ledger, trade("2005-01-05", portfolio.Sell, "A", "1", "USD", "35"), trade("2005-01-06", portfolio.Buy, "A", "2", "USD", "-30"))
	quantity, cost = costOf(t, portfolio.Average, ledger)
	require.Equal(t, "-2", quantity.String())
	require.Equal(t, "-40", cost.String(), "half of what four were sold for")
	quantity, _ = costOf(t, portfolio.Average, append(ledger, trade("2005-01-07", portfolio.Buy, "A", "2", "USD", "-30")))
	require.Equal(t, "0", quantity.String())
}

func TestSplitScalesLots(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, ratio string
		want        []string // quantities
	}{
		{"two for one", "2", []string{"20", "10.5"}},
		{"one for two", "0.5", []string{"5", "2.625"}},
		{"three for two", "1.5", []string{"15", "7.875"}},
		{"one for three, which does not end", "0.333333333333", []string{"3.333333333333", "1.75"}},
		{"two for three", "0.666666666667", []string{"6.666666666667", "3.5"}},
		{"with seven decimals it is what it says", "0.3333333", []string{"3.333333", "1.749999825"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			split := trade("2005-01-05", portfolio.Split, "A", tt.ratio, "USD", "0")
			ledger := []portfolio.Transaction{
				trade("2005-01-03", portfolio.Buy, "A", "10", "USD", "-100"),
				trade("2005-01-04", portfolio.Buy, "A", "5.25", "USD", "-60"),
				split,
			}
			for _, m := range []portfolio.CostMethod{portfolio.FIFO, portfolio.Average} {
				h, err := m.HoldingsAt(ledger, nil, day("2005-01-05"))
				require.NoError(t, err)
				p := h.Positions[0]
				for i, l := range p.Lots {
					require.Equal(t, tt.want[i], l.Quantity.String(), m)
					require.Equal(t, []string{"100", "60"}[i], l.Cost.String())
				}
				require.Equal(t, []portfolio.SplitOn{{Date: split.Date, Ratio: split.Quantity}}, p.Splits)
				before, err := m.HoldingsAt(ledger, nil, day("2005-01-04"))
				require.NoError(t, err)
				require.Equal(t, "15.25", before.Positions[0].Quantity().String())
			}
		})
	}

	// What is left of a lot is split at what it has cost.
	rest := []portfolio.Transaction{
		trade("2005-01-03", portfolio.Buy, "A", "10", "USD", "-100"),
		trade("2005-01-04", portfolio.Sell, "A", "4", "USD", "50"),
		trade("2005-01-05", portfolio.Split, "A", "2", "USD", "0"),
		trade("2005-01-06", portfolio.Sell, "A", "3", "USD", "50"),
	}
	for _, m := range []portfolio.CostMethod{portfolio.FIFO, portfolio.Average} {
		quantity, cost := costOf(t, m, rest)
		require.Equal(t, "9", quantity.String())
		require.Equal(t, "45", cost.String(), m)
	}

	// 300 shares, 1 for 3, are 100, all of which can be sold.
	ledger := []portfolio.Transaction{
		trade("2005-01-03", portfolio.Buy, "A", "300", "USD", "-300"),
		trade("2005-01-04", portfolio.Split, "A", "0.333333333333", "USD", "0"),
		trade("2005-01-05", portfolio.Sell, "A", "100", "USD", "350"),
	}
	for _, m := range []portfolio.CostMethod{portfolio.FIFO, portfolio.Average} {
		h, err := m.HoldingsAt(ledger, nil, day("2006-01-01"))
		require.NoError(t, err)
		require.Empty(t, h.Positions, m)
	}
}

// The trades of a split's day are in new shares, in whatever order they were booked.
func TestSplitComesFirst(t *testing.T) {
	t.Parallel()
	ledger := []portfolio.Transaction{
		trade("2005-01-03", portfolio.Buy, "A", "10", "USD", "-100"),
		trade("2005-01-04", portfolio.Buy, "A", "6", "USD", "-30"),
		trade("2005-01-04", portfolio.Split, "A", "2", "USD", "0"),
	}
	quantity, _ := costOf(t, portfolio.FIFO, ledger)
	require.Equal(t, "26", quantity.String())
}

// Whatever is traded and split, lots sum exactly to what is held, and by the average method their
// cost is that of a plain running average.
func TestLotsOfRandomTrades(t *testing.T) {
	t.Parallel()
	ratios := []string{"2", "0.5", "3", "0.333333333333", "1.5", "0.142857142857", "7", "1.000000000001"}
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 11))
		var ledger []portfolio.Transaction
		var held, cost decimal.Decimal // the running average
		for i := range 1 + rng.IntN(60) {
			date := day("2005-01-03").AddDate(0, 0, i)
			if rng.IntN(8) == 0 {
				split := trade("2005-01-03", portfolio.Split, "A", ratios[rng.IntN(len(ratios))], "USD", "0")
				split.Date = date
				ledger = append(ledger, split)
				h, err := portfolio.FIFO.HoldingsAt(ledger, nil, date)
				require.NoError(t, err)
				held = decimal.Zero
				for _, p := range h.Positions {
					held = p.Quantity()
				}
				continue
			}
			tx := portfolio.Transaction{
				Date: date, Type: portfolio.Buy, Symbol: "A", Currency: "USD", Quantity: decimal.New(1+rng.Int64N(5000), -int32(rng.IntN(4))),
				Amount: decimal.New(1+rng.Int64N(100000), -2).Neg(),
			}
			signed := tx.Quantity
			if rng.IntN(2) == 0 {
				tx.Type, tx.Amount, signed = portfolio.Sell, tx.Amount.Neg(), signed.Neg()
			}
			after := held.Add(signed)
			switch {
			case held.Sign()*signed.Sign() >= 0:
				cost = cost.Sub(tx.Amount)
			case after.Sign() == held.Sign():
				cost = cost.Mul(after).DivRound(held, 30)
			default:
				cost = tx.Amount.Neg().Mul(after).DivRound(signed, 30)
			}
			held = after
			ledger = append(ledger, tx)
		}
		fifo, _ := costOf(t, portfolio.FIFO, ledger)
		average, paid := costOf(t, portfolio.Average, ledger)
		require.True(t, held.Equal(fifo), "seed %d: %s, not %s", seed, fifo, held)
		require.True(t, held.Equal(average), "seed %d: %s, not %s", seed, average, held)
		near(t, cost, paid, "seed", seed)
	}
}

// booked numbers transactions and gives them ids.
func booked(ledger []portfolio.Transaction) []portfolio.Transaction {
	for i := range ledger {
		ledger[i].Seq, ledger[i].ID = int64(i+1), string(rune('a'+i))
	}
	return ledger
}

func TestReverse(t *testing.T) {
	t.Parallel()
	ledger := booked([]portfolio.Transaction{
		cash("2005-01-03", portfolio.Deposit, "USD", "1000"),
		trade("2005-01-04", portfolio.Buy, "A", "10", "USD", "-100"),
		trade("2005-01-05", portfolio.Buy, "A", "5", "USD", "-60"),
		trade("2005-01-06", portfolio.Split, "A", "2", "USD", "0"),
		trade("2005-01-07", portfolio.Sell, "A", "22", "USD", "150"),
		trade("2005-01-08", portfolio.FX, "CHF/USD", "12", "USD", "-10"),
	})
	undo, err := portfolio.Reverse(ledger[4], ledger)
	require.NoError(t, err)
	want := ledger[4]
	want.ID, want.Seq, want.Type, want.Amount, want.Reverses = "", 0, portfolio.Reversal, dec("-150"), "e"
	require.Equal(t, want, undo)

	for _, tt := range []struct {
		name  string
		index int
		want  string // "" when it may be undone
	}{
		{"a deposit", 0, ""},
		{"an exchange", 5, ""},
		{"a purchase that a sale needs", 1, "without the BUY of 10 A on 2005-01-04 only 10 would be held for the sale of 22 on 2005-01-07, transaction 5"},
		{"a purchase of which a part is needed", 2, "only 20 would be held"},
		{"a split", 3, "without the SPLIT of 2 A on 2005-01-06 only 15 would be held"},
		{"a sale", 4, ""},
	} {
		undo, err := portfolio.Reverse(ledger[tt.index], ledger)
		if tt.want != "" {
			require.ErrorContains(t, err, tt.want, tt.name)
			continue
		}
		require.NoError(t, err, tt.name)
		require.Equal(t, ledger[tt.index].ID, undo.Reverses)
	}

	_, err = portfolio.Reverse(undo, ledger)
	require.ErrorContains(t, err, "is a reversal itself")
}

func TestReversalsCount(t *testing.T) {
	t.Parallel()
	ledger := booked([]portfolio.Transaction{
		cash("2005-01-03", portfolio.Deposit, "USD", "1000"),
		trade("2005-01-04", portfolio.Buy, "A", "10", "USD", "-100"),
		trade("2005-01-05", portfolio.Buy, "A", "5", "USD", "-60"),
	})
	undo, err := portfolio.Reverse(ledger[1], ledger)
	require.NoError(t, err)
	undo.ID, undo.Seq = "z", 4
	with := slices.Insert(slices.Clone(ledger), 2, undo) // in order of date
	before := slices.Clone(with)

	got, err := portfolio.Effective(with)
	require.NoError(t, err)
	require.Equal(t, []portfolio.Transaction{ledger[0], ledger[2]}, got)
	require.Equal(t, before, with, "what was handed in is not changed")
	quantity, cost := costOf(t, portfolio.FIFO, with)
	require.Equal(t, "5", quantity.String())
	require.Equal(t, "60", cost.String())
	quantity, _ = costOf(t, portfolio.FIFO, ledger)
	require.Equal(t, "15", quantity.String(), "a version without the reversal still holds it")

	_, err = portfolio.Effective([]portfolio.Transaction{undo})
	require.ErrorContains(t, err, `transaction 4 reverses "b"`)
	for _, f := range []func([]portfolio.Transaction) error{
		func(l []portfolio.Transaction) error {
			_, err := portfolio.HoldingsAt(l, nil, day("2006-01-01"))
			return err
		},
		func(l []portfolio.Transaction) error {
			_, err := portfolio.NewHistory(portfolio.Portfolio{}, l, nil, portfolio.SeriesSet{}, day("2006-01-01"))
			return err
		},
	} {
		require.ErrorContains(t, f([]portfolio.Transaction{undo}), "which is not in the ledger")
	}
}

// Two ledgers with the same bookings have one version; what was reversed is part of it.
func TestVersionsOfCorrections(t *testing.T) {
	t.Parallel()
	p := portfolio.Portfolio{ID: "1", BaseCurrency: "CHF", Calendar: "CAL"}
	fifo, average := p, p
	fifo.CostMethod, average.CostMethod = portfolio.FIFO, portfolio.Average
	require.Equal(t, portfolio.Genesis(p), portfolio.Genesis(fifo), "the default keeps the versions of before there was a choice")
	require.NotEqual(t, portfolio.Genesis(p), portfolio.Genesis(average))

	undo := portfolio.Transaction{Seq: 3, Type: portfolio.Reversal, Reverses: "a"}
	other := undo
	other.Reverses = "b"
	require.NotEqual(t, portfolio.Chain("v", undo), portfolio.Chain("v", other))
}
