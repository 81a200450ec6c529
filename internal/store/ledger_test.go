package store_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store"
)

func open(t *testing.T, s *store.Store, tenant, name string) portfolio.Portfolio {
	t.Helper()
	p, err := s.CreatePortfolio(t.Context(), tenant, portfolio.Portfolio{
		Name: name, BaseCurrency: "CHF", Calendar: "CAL",
	})
	require.NoError(t, err)
	return p
}

func buy(t *testing.T, day, symbol, quantity string) portfolio.Transaction {
	t.Helper()
	return portfolio.Transaction{
		Date: date(t, day), Type: portfolio.Buy, Symbol: symbol, Quantity: dec(t, quantity), Price: dec(t, "10.5"),
	}
}

func sell(t *testing.T, day, symbol, quantity string) portfolio.Transaction {
	t.Helper()
	b := buy(t, day, symbol, quantity)
	b.Type = portfolio.Sell
	return b
}

func deposit(t *testing.T, day, amount string) portfolio.Transaction {
	t.Helper()
	return portfolio.Transaction{Date: date(t, day), Type: portfolio.Deposit, Currency: "CHF", Amount: dec(t, amount)}
}

// verifyChain reads a whole ledger back and computes its version anew.
func verifyChain(t *testing.T, s *store.Store, tenant, id string) portfolio.Portfolio {
	t.Helper()
	p, err := s.Portfolio(t.Context(), tenant, id)
	require.NoError(t, err)
	version := portfolio.Genesis(p)
	var seq int64
	for after, more := int64(0), true; more; {
		txs, next, err := s.TransactionsPage(t.Context(), tenant, id, after, 7)
		require.NoError(t, err)
		for _, tx := range txs {
			seq++
			require.Equal(t, seq, tx.Seq, "numbers without gaps")
			version = portfolio.Chain(version, tx)
		}
		after, more = next, next != 0
	}
	require.Equal(t, p.LedgerSeq, seq)
	require.Equal(t, p.LedgerVersion, version)
	return p
}

func TestCreatePortfolio(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	now := time.Date(2024, 2, 29, 12, 0, 0, 123456789, time.FixedZone("", 3600))
	s := store.New(pool, store.Options{
		Now: func() time.Time { return now },
	})

	p, err := s.CreatePortfolio(t.Context(), "default", portfolio.Portfolio{
		Name: "Mine", BaseCurrency: "CHF", Benchmark: "AAA",
	})
	require.NoError(t, err)
	require.Equal(t, "CAL", p.Calendar, "the tenant's calendar is the default")
	require.Zero(t, p.LedgerSeq)
	require.Equal(t, portfolio.Genesis(p), p.LedgerVersion)
	require.Equal(t, time.Date(2024, 2, 29, 11, 0, 0, 123456000, time.UTC), p.CreatedAt)

	got, err := s.Portfolio(t.Context(), "default", p.ID)
	require.NoError(t, err)
	require.Equal(t, p, got)
}

func TestCreatePortfolioRefuses(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	good := portfolio.Portfolio{Name: "Mine", BaseCurrency: "CHF", Calendar: "CAL"}
	tests := map[string]struct {
		tenant  string
		change  func(*portfolio.Portfolio)
		pointer string
	}{
		"no name":               {"default", func(p *portfolio.Portfolio) { p.Name = " " }, "/name"},
		"zero byte in the name": {"default", func(p *portfolio.Portfolio) { p.Name = "a\x00b" }, "/name"},
		"no currency":           {"default", func(p *portfolio.Portfolio) { p.BaseCurrency = "" }, "/base_currency"},
		"unknown benchmark":     {"default", func(p *portfolio.Portfolio) { p.Benchmark = "NOPE" }, "/benchmark"},
		"benchmark is no text":  {"default", func(p *portfolio.Portfolio) { p.Benchmark = "\x00" }, "/benchmark"},
		"unknown calendar":      {"default", func(p *portfolio.Portfolio) { p.Calendar = "NOPE" }, "/calendar"},
		"no default calendar":   {"other", func(p *portfolio.Portfolio) { p.Calendar = "" }, "/calendar"},
		"id is no UUID":         {"default", func(p *portfolio.Portfolio) { p.ID = "1" }, "/id"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := good
			tt.change(&p)
			_, err := s.CreatePortfolio(t.Context(), tt.tenant, p)
			requireField(t, err, tt.pointer)
		})
	}
	_, err := s.CreatePortfolio(t.Context(), "nobody", good)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
}

func requireField(t *testing.T, err error, pointer string) {
	t.Helper()
	e, ok := errors.AsType[*fault.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, fault.Invalid, e.Code)
	require.Equal(t, pointer, e.Fields[0].Pointer)
}

func TestPortfolioNotFound(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	theirs := open(t, s, "other", "Theirs")
	for name, id := range map[string]string{
		"unknown": uuid.NewString(), "no UUID": "sample", "empty": "", "of another tenant": theirs.ID,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := s.Portfolio(t.Context(), "default", id)
			require.Equal(t, fault.NotFound, fault.CodeOf(err))
			_, _, err = s.AppendTransactions(t.Context(), "default", id, []portfolio.Transaction{deposit(t, "2005-01-03", "1")})
			require.Equal(t, fault.NotFound, fault.CodeOf(err))
			_, _, err = s.TransactionsPage(t.Context(), "default", id, 0, 10)
			require.Equal(t, fault.NotFound, fault.CodeOf(err))
		})
	}
}

func TestPortfoliosAreListedInPages(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	clock := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	tick := false
	s := store.New(pool, store.Options{Now: func() time.Time {
		if tick = !tick; tick { // two share each moment
			clock = clock.Add(time.Second)
		}
		return clock
	}})
	var want []string
	for range 5 {
		want = append(want, open(t, s, "default", "Mine").ID)
		open(t, s, "other", "Theirs")
		want = append(want, open(t, s, "default", "Mine too").ID)
	}
	var got []string
	cursor := &portfolio.Cursor{}
	for cursor != nil {
		page, next, err := s.Portfolios(t.Context(), "default", *cursor, 3)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page), 3)
		for _, p := range page {
			got = append(got, p.ID)
		}
		cursor = next
	}
	require.ElementsMatch(t, want, got)
	require.Equal(t, want[0], got[0])

	_, next, err := s.Portfolios(t.Context(), "default", portfolio.Cursor{}, len(want))
	require.NoError(t, err)
	require.Nil(t, next, "a page that ends with the list leads nowhere")
	_, _, err = s.Portfolios(t.Context(), "default", portfolio.Cursor{ID: "1"}, 3)
	requireField(t, err, "/query/cursor")
}

func TestAppendTransactions(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	ctx := t.Context()
	p := open(t, s, "default", "Mine")

	after, booked, err := s.AppendTransactions(ctx, "default", p.ID, []portfolio.Transaction{
		deposit(t, "2005-01-03", "1000000.00"),
		buy(t, "2005-01-04", "AAA", "33.3333"),
		{
			Date: date(t, "2005-01-04"), Type: portfolio.FX, Symbol: "USD/CHF", Quantity: dec(t, "330000"),
			Price: dec(t, "1.1674"), Currency: "CHF", Amount: dec(t, "-385242.00"),
		},
	})
	require.NoError(t, err)
	require.EqualValues(t, 3, after.LedgerSeq)
	require.NotEqual(t, p.LedgerVersion, after.LedgerVersion)
	require.Equal(t, "-350", booked[1].Amount.String())
	require.Equal(t, "USD", booked[1].Currency)
	require.Equal(t, after, verifyChain(t, s, "default", p.ID))

	// Booked later, dated earlier.
	_, _, err = s.AppendTransactions(ctx, "default", p.ID, []portfolio.Transaction{deposit(t, "2005-01-02", "0.000000000001")})
	require.NoError(t, err)
	verifyChain(t, s, "default", p.ID)

	all, err := s.Transactions(ctx, "default", p.ID, 4, date(t, "2005-12-31"))
	require.NoError(t, err)
	require.Equal(t, []int64{4, 1, 2, 3}, seqs(all), "in order of date, then number")
	require.Equal(t, booked[1].SecurityID, all[2].SecurityID)
	require.Equal(t, booked[1].ID, all[2].ID)
	require.True(t, booked[1].Quantity.Equal(all[2].Quantity))
	require.Empty(t, all[3].SecurityID)

	before, err := s.Transactions(ctx, "default", p.ID, 3, date(t, "2005-12-31"))
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2, 3}, seqs(before), "an earlier version of the ledger")
	early, err := s.Transactions(ctx, "default", p.ID, 4, date(t, "2005-01-03"))
	require.NoError(t, err)
	require.Equal(t, []int64{4, 1}, seqs(early))
	theirs, err := s.Transactions(ctx, "other", p.ID, 4, date(t, "2005-12-31"))
	require.NoError(t, err)
	require.Empty(t, theirs)
}

func seqs(txs []portfolio.Transaction) []int64 {
	var s []int64
	for _, tx := range txs {
		s = append(s, tx.Seq)
	}
	return s
}

func TestAppendIsAllOrNone(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	p := open(t, s, "default", "Mine")
	_, _, err := s.AppendTransactions(t.Context(), "default", p.ID, []portfolio.Transaction{buy(t, "2005-01-04", "AAA", "10")})
	require.NoError(t, err)
	before := verifyChain(t, s, "default", p.ID)

	bad := deposit(t, "2005-01-05", "1")
	bad.ID = "1"
	taken := deposit(t, "2005-01-05", "1")
	taken.ID = uuid.NewString()
	tests := map[string]struct {
		last    portfolio.Transaction
		pointer string // "" when it is no fault of the caller's
	}{
		"more than is held":       {sell(t, "2005-01-05", "AAA", "10.000001"), "/1/quantity"},
		"held only later":         {sell(t, "2005-01-03", "AAA", "1"), "/1/quantity"},
		"unknown security":        {buy(t, "2005-01-05", "NOPE", "1"), "/1/symbol"},
		"symbol that is no text":  {sell(t, "2005-01-05", "A\x00", "1"), "/1/symbol"},
		"id is no UUID":           {bad, "/1/id"},
		"id twice in one request": {taken, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			first := deposit(t, "2005-01-05", "1")
			if tt.pointer == "" {
				first.ID = tt.last.ID
			}
			_, _, err := s.AppendTransactions(t.Context(), "default", p.ID, []portfolio.Transaction{first, tt.last})
			require.Error(t, err)
			if tt.pointer != "" {
				requireField(t, err, tt.pointer)
			}
			require.Equal(t, before, verifyChain(t, s, "default", p.ID))
		})
	}
	var rows int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM transactions`).Scan(&rows))
	require.Equal(t, 1, rows)
}

func TestConcurrentAppendsFormOneChain(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	p := open(t, s, "default", "Mine")
	const writers, rounds = 8, 10
	var g errgroup.Group
	for range writers {
		batch := []portfolio.Transaction{deposit(t, "2005-01-03", "5"), buy(t, "2005-01-04", "AAA", "1")}
		g.Go(func() error {
			for range rounds {
				_, booked, err := s.AppendTransactions(t.Context(), "default", p.ID, slices.Clone(batch))
				if err != nil {
					return err
				}
				if booked[1].Seq != booked[0].Seq+1 {
					return errors.New("a batch was torn apart")
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.EqualValues(t, 2*writers*rounds, verifyChain(t, s, "default", p.ID).LedgerSeq)
}

// What two sellers check must not change before they book.
func TestTheSameHoldingIsSoldOnce(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	p := open(t, s, "default", "Mine")
	_, _, err := s.AppendTransactions(t.Context(), "default", p.ID, []portfolio.Transaction{buy(t, "2005-01-04", "AAA", "10")})
	require.NoError(t, err)

	sale := sell(t, "2005-01-05", "AAA", "6")
	errs := make([]error, 4)
	var g errgroup.Group
	for i := range errs {
		g.Go(func() error {
			_, _, errs[i] = s.AppendTransactions(t.Context(), "default", p.ID, []portfolio.Transaction{sale})
			return nil
		})
	}
	require.NoError(t, g.Wait())
	sold := 0
	for _, err := range errs {
		if err == nil {
			sold++
			continue
		}
		requireField(t, err, "/0/quantity")
		require.ErrorContains(t, err, "only 4 is held on 2005-01-05")
	}
	require.Equal(t, 1, sold)
	verifyChain(t, s, "default", p.ID)
}

func TestNumbersKeepTheirDigits(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	p := open(t, s, "default", "Mine")
	for _, amount := range []string{"123456789012345678.123456789012", "0.000000000001", "0.1", "1e17"} {
		_, booked, err := s.AppendTransactions(t.Context(), "default", p.ID, []portfolio.Transaction{deposit(t, "2005-01-03", amount)})
		require.NoError(t, err)
		txs, _, err := s.TransactionsPage(t.Context(), "default", p.ID, booked[0].Seq-1, 1)
		require.NoError(t, err)
		require.True(t, decimal.RequireFromString(amount).Equal(txs[0].Amount), "%s is kept as %s", amount, txs[0].Amount)
	}
	verifyChain(t, s, "default", p.ID)
}
