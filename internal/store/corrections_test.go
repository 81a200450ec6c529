package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store"
)

func TestEveryTypeIsKept(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	p, err := s.CreatePortfolio(t.Context(), "default", portfolio.Portfolio{
		Name: "Mine", BaseCurrency: "CHF", CostMethod: portfolio.Average,
	})
	require.NoError(t, err)
	got, err := s.Portfolio(t.Context(), "default", p.ID)
	require.NoError(t, err)
	require.Equal(t, portfolio.Average, got.CostMethod)
	require.Equal(t, portfolio.Genesis(p), got.LedgerVersion)

	day := date(t, "2005-01-05")
	_, booked, err := s.AppendTransactions(t.Context(), "default", p.ID, []portfolio.Transaction{
		buy(t, "2005-01-04", "AAA", "300"),
		{Date: day, Type: portfolio.Dividend, Symbol: "AAA", Amount: dec(t, "12.5")},
		{Date: day, Type: portfolio.Split, Symbol: "AAA", Quantity: dec(t, "0.333333333333")},
		sell(t, "2005-01-06", "AAA", "100"),
	})
	require.NoError(t, err)
	_, err = s.ReverseTransaction(t.Context(), "default", p.ID, booked[1].ID, nil)
	require.NoError(t, err)
	verifyChain(t, s, "default", p.ID)

	all, err := s.Transactions(t.Context(), "default", p.ID, 5, day)
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2, 3, 5}, seqs(all))
	require.Equal(t, booked[0].SecurityID, all[1].SecurityID, "a dividend is of a security")
	require.Equal(t, booked[0].SecurityID, all[2].SecurityID, "a split too")
	require.Equal(t, "0.333333333333", all[2].Quantity.String())
	require.Equal(t, "USD", all[2].Currency)
	require.True(t, all[2].Amount.IsZero())
	require.Equal(t, booked[1].ID, all[3].Reverses)
	require.Equal(t, "-12.5", all[3].Amount.String())
}

func TestReverseTransaction(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	ctx := t.Context()
	p, other := open(t, s, "default", "Mine"), open(t, s, "default", "Mine too")
	before, booked, err := s.AppendTransactions(ctx, "default", p.ID, []portfolio.Transaction{
		deposit(t, "2005-01-03", "1000"), buy(t, "2005-01-04", "AAA", "10"), sell(t, "2005-01-06", "AAA", "4"),
	})
	require.NoError(t, err)

	_, err = s.ReverseTransaction(ctx, "default", p.ID, booked[1].ID, nil)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.ErrorContains(t, err, "without the BUY of 10 AAA on 2005-01-04 only 0 would be held for the sale of 4 on 2005-01-06, transaction 3")
	for name, ids := range map[string][2]string{
		"no such portfolio": {uuid.NewString(), booked[0].ID}, "no such transaction": {p.ID, uuid.NewString()},
		"no id": {p.ID, "1"}, "of another portfolio": {other.ID, booked[0].ID},
	} {
		_, err := s.ReverseTransaction(ctx, "default", ids[0], ids[1], nil)
		require.Equal(t, fault.NotFound, fault.CodeOf(err), name)
	}
	_, err = s.ReverseTransaction(ctx, "other", p.ID, booked[0].ID, nil)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	require.Equal(t, before, verifyChain(t, s, "default", p.ID), "what is refused leaves nothing behind")

	sale, err := s.ReverseTransaction(ctx, "default", p.ID, booked[2].ID, nil)
	require.NoError(t, err)
	undo := sale.Transactions[0]
	require.EqualValues(t, 4, undo.Seq)
	require.Equal(t, booked[2].Date, undo.Date)
	require.Equal(t, booked[2].ID, undo.Reverses)
	require.Equal(t, sale.LedgerVersion, verifyChain(t, s, "default", p.ID).LedgerVersion)
	_, err = s.ReverseTransaction(ctx, "default", p.ID, booked[2].ID, nil)
	require.Equal(t, fault.Conflict, fault.CodeOf(err))
	require.ErrorContains(t, err, "transaction 3 has been reversed already, by transaction 4")
	_, err = s.ReverseTransaction(ctx, "default", p.ID, undo.ID, nil)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))

	// All ten can be sold again, and the purchase undone after that is.
	_, resold, err := s.AppendTransactions(ctx, "default", p.ID, []portfolio.Transaction{sell(t, "2005-01-06", "AAA", "10")})
	require.NoError(t, err)
	_, err = s.ReverseTransaction(ctx, "default", p.ID, booked[1].ID, nil)
	require.ErrorContains(t, err, "transaction 5")
	_, err = s.ReverseTransaction(ctx, "default", p.ID, resold[0].ID, nil)
	require.NoError(t, err)
	_, err = s.ReverseTransaction(ctx, "default", p.ID, booked[1].ID, nil)
	require.NoError(t, err)
	_, _, err = s.AppendTransactions(ctx, "default", p.ID, []portfolio.Transaction{sell(t, "2005-01-06", "AAA", "1")})
	requireField(t, err, "/0/quantity")

	// What the versions hold: the first three bookings, and the deposit alone.
	for seq, held := range map[int64]int{3: 1, 4: 1, 5: 0, 7: 0} {
		ledger, err := s.Transactions(ctx, "default", p.ID, seq, date(t, "2005-12-31"))
		require.NoError(t, err)
		h, err := portfolio.HoldingsAt(ledger, nil, date(t, "2005-12-31"))
		require.NoError(t, err)
		require.Len(t, h.Positions, held, "version %d", seq)
	}

	// The database itself keeps a second reversal, and one of nothing, out.
	for _, reverses := range []any{booked[2].ID, uuid.NewString(), nil} {
		_, err := pool.Exec(ctx, `INSERT INTO transactions (id, tenant_id, portfolio_id, seq, date, type, currency, amount, ledger_version, reverses)
			VALUES (gen_random_uuid(), 'default', $1, 100, '2005-01-03', 'REVERSAL', 'CHF', 1, 'v', $2)`, p.ID, reverses)
		require.Error(t, err)
	}
}

// Of those who undo the same at the same time, one does.
func TestReversedOnce(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	p := open(t, s, "default", "Mine")
	_, booked, err := s.AppendTransactions(t.Context(), "default", p.ID, []portfolio.Transaction{deposit(t, "2005-01-03", "1")})
	require.NoError(t, err)
	errs := make([]error, 6)
	var g errgroup.Group
	for i := range errs {
		g.Go(func() error {
			_, errs[i] = s.ReverseTransaction(t.Context(), "default", p.ID, booked[0].ID, nil)
			return nil
		})
	}
	require.NoError(t, g.Wait())
	done := 0
	for _, err := range errs {
		if err == nil {
			done++
			continue
		}
		require.Equal(t, fault.Conflict, fault.CodeOf(err), "%v", err)
	}
	require.Equal(t, 1, done)
	require.EqualValues(t, 2, verifyChain(t, s, "default", p.ID).LedgerSeq)
}

func TestBookedOnce(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	now := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	s := store.New(pool, store.Options{Now: func() time.Time { return now }})
	ctx := t.Context()
	p, other := open(t, s, "default", "Mine"), open(t, s, "default", "Mine too")
	batch := []portfolio.Transaction{deposit(t, "2005-01-03", "5"), buy(t, "2005-01-04", "AAA", "1")}
	key := portfolio.Once{Key: "k", Request: []byte("r")}

	// What is refused has not used its key.
	_, err := s.BookTransactions(ctx, "default", p.ID, []portfolio.Transaction{sell(t, "2005-01-04", "AAA", "1")}, &key)
	requireField(t, err, "/0/quantity")

	receipts := make([]portfolio.Receipt, 6)
	var g errgroup.Group
	for i := range receipts {
		g.Go(func() (err error) {
			receipts[i], err = s.BookTransactions(ctx, "default", p.ID, batch, &key)
			return err
		})
	}
	require.NoError(t, g.Wait())
	first := 0
	for _, r := range receipts {
		if !r.Repeated {
			first++
		}
		r.Repeated = false
		require.Len(t, r.Transactions, 2)
		require.Equal(t, receipts[0].LedgerVersion, r.LedgerVersion)
		require.Equal(t, seqs(receipts[0].Transactions), seqs(r.Transactions))
		require.Equal(t, receipts[0].Transactions[1].ID, r.Transactions[1].ID)
		require.Equal(t, receipts[0].Transactions[1].SecurityID, r.Transactions[1].SecurityID)
	}
	require.Equal(t, 1, first)
	require.EqualValues(t, 2, verifyChain(t, s, "default", p.ID).LedgerSeq)
	require.Empty(t, batch[0].ID, "what was handed in is not changed")

	// Later bookings do not change the first answer.
	_, _, err = s.AppendTransactions(ctx, "default", p.ID, []portfolio.Transaction{deposit(t, "2005-01-02", "7")})
	require.NoError(t, err)
	again, err := s.BookTransactions(ctx, "default", p.ID, batch, &key)
	require.NoError(t, err)
	require.True(t, again.Repeated)
	require.Equal(t, receipts[0].LedgerVersion, again.LedgerVersion)

	now = now.Add(23 * time.Hour)
	_, err = s.BookTransactions(ctx, "default", other.ID, batch, &portfolio.Once{Key: "k", Request: []byte("another")})
	requireField(t, err, "/header/Idempotency-Key")
	_, err = s.BookTransactions(ctx, "default", p.ID, batch, &portfolio.Once{Key: "k2", Request: []byte("r")})
	require.NoError(t, err, "another key books anew")
	now = now.Add(2 * time.Hour)
	again, err = s.BookTransactions(ctx, "default", p.ID, batch, &key)
	require.NoError(t, err)
	require.False(t, again.Repeated, "after 24 hours a key is new")
	require.EqualValues(t, 7, verifyChain(t, s, "default", p.ID).LedgerSeq)

	undo := portfolio.Once{Key: "undo", Request: []byte("r")}
	one, err := s.ReverseTransaction(ctx, "default", p.ID, again.Transactions[0].ID, &undo)
	require.NoError(t, err)
	two, err := s.ReverseTransaction(ctx, "default", p.ID, again.Transactions[0].ID, &undo)
	require.NoError(t, err)
	require.True(t, two.Repeated)
	require.Equal(t, one.Transactions[0].ID, two.Transactions[0].ID)
	require.Equal(t, one.LedgerVersion, two.LedgerVersion)
}
