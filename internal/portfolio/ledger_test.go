package portfolio_test

import (
	"math/rand/v2"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/portfolio"
)

func TestLotsFirstInFirstOut(t *testing.T) {
	t.Parallel()
	type lot struct{ date, quantity, cost string }
	for _, tt := range []struct {
		name string
		txs  []portfolio.Transaction
		want []lot
		cash string
	}{
		{
			"the oldest is sold first",
			[]portfolio.Transaction{
				trade("2005-01-03", portfolio.Buy, "A", "10", "CHF", "-100"),
				trade("2005-01-04", portfolio.Buy, "A", "10", "CHF", "-120"),
				trade("2005-01-05", portfolio.Sell, "A", "15", "CHF", "225"),
			},
			[]lot{{"2005-01-04", "5", "60"}},
			"5",
		},
		{
			"a cost that does not divide is split once",
			[]portfolio.Transaction{
				trade("2005-01-03", portfolio.Buy, "A", "3", "CHF", "-100"),
				trade("2005-01-04", portfolio.Sell, "A", "1", "CHF", "33"),
				trade("2005-01-04", portfolio.Sell, "A", "1", "CHF", "33"),
			},
			[]lot{{"2005-01-03", "1", "33.333333333333"}},
			"-34",
		},
		{
			"all sold, nothing left",
			[]portfolio.Transaction{
				trade("2005-01-03", portfolio.Buy, "A", "3", "CHF", "-100"),
				trade("2005-01-04", portfolio.Sell, "A", "3", "CHF", "120"),
			},
			nil,
			"20",
		},
		{
			"a short position",
			[]portfolio.Transaction{trade("2005-01-03", portfolio.Sell, "A", "4", "CHF", "100")},
			[]lot{{"2005-01-03", "-4", "-100"}},
			"100",
		},
		{
			"a sale through zero opens a short lot at its own price",
			[]portfolio.Transaction{
				trade("2005-01-03", portfolio.Buy, "A", "2", "CHF", "-20"),
				trade("2005-01-04", portfolio.Sell, "A", "5", "CHF", "75"),
			},
			[]lot{{"2005-01-04", "-3", "-45"}},
			"55",
		},
		{
			"purchases close short lots in order",
			[]portfolio.Transaction{
				trade("2005-01-03", portfolio.Sell, "A", "2", "CHF", "20"),
				trade("2005-01-04", portfolio.Sell, "A", "2", "CHF", "30"),
				trade("2005-01-05", portfolio.Buy, "A", "3", "CHF", "-30"),
			},
			[]lot{{"2005-01-04", "-1", "-15"}},
			"20",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, err := portfolio.HoldingsAt(tt.txs, securities("A", "CHF"), day("2006-01-01"))
			require.NoError(t, err)
			var got []lot
			for _, p := range h.Positions {
				require.Equal(t, "A", p.Security.Symbol)
				for _, l := range p.Lots {
					got = append(got, lot{l.Date.Format("2006-01-02"), l.Quantity.String(), l.Cost.String()})
				}
			}
			require.Equal(t, tt.want, got)
			require.Len(t, h.Cash, 1)
			require.Equal(t, tt.cash, h.Cash[0].Amount.String())
		})
	}
}

func TestHoldingsAtADate(t *testing.T) {
	t.Parallel()
	ledger := []portfolio.Transaction{
		cash("2005-01-03", portfolio.Deposit, "CHF", "1000"),
		trade("2005-01-04", portfolio.FX, "USD/CHF", "500", "CHF", "-600"),
		trade("2005-01-05", portfolio.Buy, "B", "1", "USD", "-500"),
		trade("2005-01-05", portfolio.Buy, "A", "1", "CHF", "-100"),
		cash("2005-01-06", portfolio.Fee, "CHF", "-1.5"),
		cash("2005-01-07", portfolio.Withdrawal, "CHF", "-98.5"),
	}
	h, err := portfolio.HoldingsAt(ledger, securities("A", "CHF", "B", "USD"), day("2005-01-06"))
	require.NoError(t, err)
	require.Len(t, h.Positions, 2)
	require.Equal(t, "A", h.Positions[0].Security.Symbol, "by symbol, not by order of trade")
	require.Len(t, h.Cash, 1, "a balance of zero is not a line")
	require.Equal(t, "CHF", h.Cash[0].Currency)
	require.Equal(t, "298.5", h.Cash[0].Amount.String())

	h, err = portfolio.HoldingsAt(ledger, nil, day("2005-01-02"))
	require.NoError(t, err)
	require.Equal(t, portfolio.Holdings{}, h)
}

func TestBookingsThatCannotBe(t *testing.T) {
	t.Parallel()
	for name, tx := range map[string]portfolio.Transaction{
		"unknown type":       trade("2005-01-03", "GIFT", "A", "1", "CHF", "-1"),
		"negative quantity":  trade("2005-01-03", portfolio.Buy, "A", "-1", "CHF", "-1"),
		"no quantity":        trade("2005-01-03", portfolio.Sell, "A", "0", "CHF", "1"),
		"no pair":            trade("2005-01-03", portfolio.FX, "USD", "1", "CHF", "-1"),
		"a pair of no payer": trade("2005-01-03", portfolio.FX, "USD/EUR", "1", "CHF", "-1"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tx.Seq = 7
			_, err := portfolio.HoldingsAt([]portfolio.Transaction{tx}, nil, day("2006-01-01"))
			require.ErrorContains(t, err, "transaction 7")
			_, err = portfolio.NewHistory(portfolio.Portfolio{BaseCurrency: "CHF", Calendar: "CAL"}, []portfolio.Transaction{tx}, nil,
				portfolio.SeriesSet{Prices: map[string]portfolio.Series{"CAL": {{day("2005-01-04"), 1}}}}, day("2006-01-01"))
			require.ErrorContains(t, err, "transaction 7")
		})
	}
}

func TestLotsSumToTrades(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		var ledger []portfolio.Transaction
		var traded, paid decimal.Decimal
		for i := range 1 + rng.IntN(60) {
			quantity := decimal.New(1+rng.Int64N(1000), -int32(rng.IntN(4)))
			amount := decimal.New(1+rng.Int64N(100000), -2)
			tx := portfolio.Transaction{Seq: int64(i + 1), Date: day("2005-01-03").AddDate(0, 0, i/3), Symbol: "A", Quantity: quantity, Currency: "CHF"}
			if rng.IntN(2) == 0 {
				tx.Type, tx.Amount = portfolio.Buy, amount.Neg()
				traded = traded.Add(quantity)
			} else {
				tx.Type, tx.Amount = portfolio.Sell, amount
				traded = traded.Sub(quantity)
			}
			paid = paid.Add(tx.Amount)
			ledger = append(ledger, tx)
		}
		h, err := portfolio.HoldingsAt(ledger, securities("A", "CHF"), day("2010-01-01"))
		require.NoError(t, err)
		var held decimal.Decimal
		for _, p := range h.Positions {
			held = held.Add(p.Quantity())
			for _, l := range p.Lots {
				require.Equal(t, p.Quantity().Sign(), l.Quantity.Sign(), "long and short lots never stand together")
				require.Equal(t, l.Quantity.Sign(), l.Cost.Sign())
			}
		}
		require.True(t, traded.Equal(held), "%s traded, %s held", traded, held)
		var balance decimal.Decimal
		for _, c := range h.Cash {
			balance = balance.Add(c.Amount)
		}
		require.True(t, paid.Equal(balance))
	}
}
