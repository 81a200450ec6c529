package analyst_test

import (
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
)

// SBI closed at 101.22 on Friday 6 January 2006, and is split three for one on Saturday.
func TestSplitAndCostMethodInPositions(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	d.Subject.CostMethod = portfolio.Average
	trade := func(seq int64, date string, kind portfolio.Type, quantity, amount int64) portfolio.Transaction {
		return portfolio.Transaction{
			ID: date, Seq: seq, Date: day(t, date), Type: kind, Symbol: "SBI", Currency: "CHF",
			Quantity: decimal.NewFromInt(quantity), Amount: decimal.NewFromInt(amount),
		}
	}
	d.Ledger = append(d.Ledger[:1:1],
		trade(2, "2006-01-03", portfolio.Buy, 10, -1000),
		trade(3, "2006-01-04", portfolio.Buy, 10, -1100),
		trade(4, "2006-01-05", portfolio.Sell, 5, 510),
		trade(5, "2006-01-07", portfolio.Split, 3, 0),
	)
	before, _ := d.value(t, d.at(day(t, "2006-01-06")))
	run := d.at(day(t, "2006-01-07"))
	held, _ := d.ask(t, run, "ledger.positions", map[string]any{"portfolio_id": portfolioID})
	require.Equal(t, "average", held["cost_method"])
	position := held["positions"].([]any)[0].(map[string]any)
	require.Equal(t, "45", position["quantity"])
	require.Equal(t, "1575", position["cost"], "15 of 20 that cost 2,100")
	require.Equal(t, []any{map[string]any{"date": "2006-01-07", "ratio": "3"}}, position["splits"])

	after, _ := d.value(t, run)
	require.Equal(t, before["total_value"], after["total_value"])
	old, split := before["positions"].([]any)[0].(map[string]any), after["positions"].([]any)[0].(map[string]any)
	require.InDelta(t, float(t, old["price"])/3, float(t, split["price"]), 1e-12, "in new shares")
	require.Equal(t, "2006-01-06", split["price_date"])
	require.Equal(t, old["cost_basis"], split["cost_basis"])
	later, _ := d.value(t, d.at(day(t, "2006-01-09")))
	monday := later["positions"].([]any)[0].(map[string]any)
	require.Equal(t, "2006-01-09", monday["price_date"])
	require.Greater(t, float(t, monday["price"]), 90.0, "a price from after the split is what it is")

	position["splits"] = []any{map[string]any{"date": "2006-01-07", "ratio": "0"}}
	_, err := d.run(run, "pricing.apply_pack", map[string]any{"positions": held["positions"], "cash": held["cash"], "pack_id": packID})
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.ErrorContains(t, err, "the split of SBI by 0")
}

// What a reversal undoes is not read, and no source of an answer.
func TestReversedIsNotRead(t *testing.T) {
	t.Parallel()
	plain, undone := newDesk(t, demo), newDesk(t, demo)
	slip := portfolio.Transaction{
		ID: "slip", Seq: 24, Date: day(t, "2007-01-03"), Type: portfolio.Deposit, Currency: "JPY", Amount: decimal.NewFromInt(1000),
	}
	undo, err := portfolio.Reverse(slip, nil)
	require.NoError(t, err)
	undo.Seq = 25
	undone.Ledger = append(undone.Ledger, slip, undo)
	for capability, args := range map[string]map[string]any{
		"ledger.positions": {"portfolio_id": portfolioID}, "metrics.compute_twr": over(252), "attribution.currency": over(252),
	} {
		want, wanted := plain.ask(t, plain.at(day(t, "2007-05-08")), capability, args)
		got, result := undone.ask(t, undone.at(day(t, "2007-05-08")), capability, args)
		require.Equal(t, want, got, capability)
		require.Equal(t, wanted.Sources, result.Sources, capability)
	}
}
