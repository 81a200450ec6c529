package store

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store/db"
)

// CreatePortfolio stores a portfolio with an empty ledger and returns it complete. A portfolio
// without an ID gets a new one, without CreatedAt the present time, without a calendar the
// tenant's. What [portfolio.Open] refuses is [fault.Invalid].
func (s *Store) CreatePortfolio(ctx context.Context, tenantID string, p portfolio.Portfolio) (portfolio.Portfolio, error) {
	id := s.newID()
	if p.ID != "" {
		var err error
		if id, err = uuid.Parse(p.ID); err != nil {
			return portfolio.Portfolio{}, fault.InvalidField("/id", "%q is no UUID", p.ID)
		}
	}
	p.ID = id.String()
	if p.CreatedAt.IsZero() {
		p.CreatedAt = s.now()
	}
	// PostgreSQL keeps microseconds; cursors compare what it kept.
	p.CreatedAt = p.CreatedAt.UTC().Truncate(time.Microsecond)

	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		st := s.in(tx)
		calendar, err := st.q.TenantCalendar(ctx, tenantID)
		if err != nil {
			return orNotFound(err, "there is no tenant %q", tenantID)
		}
		securities, err := st.Securities(ctx, newest(tenantID), []string{p.Benchmark, p.Calendar, deref(calendar)})
		if err != nil {
			return err
		}
		if p, err = portfolio.Open(p, deref(calendar), securities); err != nil {
			return err
		}
		return st.q.InsertPortfolio(ctx, db.InsertPortfolioParams{
			ID: id, TenantID: tenantID, Name: p.Name, BaseCurrency: p.BaseCurrency,
			Benchmark: orNull(p.Benchmark), Calendar: p.Calendar, CostMethod: string(p.CostMethod),
			LedgerSeq: p.LedgerSeq, LedgerVersion: p.LedgerVersion, CreatedAt: p.CreatedAt,
		})
	})
	if err != nil {
		return portfolio.Portfolio{}, fmt.Errorf("create portfolio %q: %w", p.Name, err)
	}
	return p, nil
}

// Portfolio returns one portfolio. An id that is none of the tenant's, or no UUID at all, is
// [fault.NotFound].
func (s *Store) Portfolio(ctx context.Context, tenantID, id string) (portfolio.Portfolio, error) {
	return findPortfolio(ctx, tenantID, id, s.q.Portfolio)
}

// findPortfolio reads a portfolio by a query for one row, locking or not.
func findPortfolio(
	ctx context.Context, tenantID, id string,
	query func(ctx context.Context, tenantID string, id uuid.UUID) (db.Portfolio, error),
) (portfolio.Portfolio, error) {
	key, err := uuid.Parse(id)
	if err != nil {
		return portfolio.Portfolio{}, fault.Wrap(err, fault.NotFound, "there is no portfolio %q", id)
	}
	row, err := query(ctx, tenantID, key)
	if err != nil {
		return portfolio.Portfolio{}, fmt.Errorf("portfolio %s: %w",
			id, orNotFound(err, "there is no portfolio %q", id))
	}
	return toPortfolio(row), nil
}

// Portfolios lists up to limit portfolios behind a cursor, the earliest created first, and the
// cursor that leads on; it is nil at the list's end.
func (s *Store) Portfolios(
	ctx context.Context, tenantID string, after portfolio.Cursor, limit int,
) ([]portfolio.Portfolio, *portfolio.Cursor, error) {
	var id uuid.UUID
	if after.ID != "" {
		var err error
		if id, err = uuid.Parse(after.ID); err != nil {
			return nil, nil, fault.InvalidField("/query/cursor", "is not a cursor of this list")
		}
	}
	rows, err := s.q.PortfoliosAfter(ctx, db.PortfoliosAfterParams{
		TenantID: tenantID, CreatedAt: after.CreatedAt, ID: id,
		MaxRows: int64(limit) + 1, // one more tells whether the list goes on
	})
	if err != nil {
		return nil, nil, fmt.Errorf("portfolios of tenant %s: %w", tenantID, err)
	}
	var next *portfolio.Cursor
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1]
		next = &portfolio.Cursor{CreatedAt: last.CreatedAt, ID: last.ID.String()}
	}
	list := make([]portfolio.Portfolio, len(rows))
	for i, row := range rows {
		list[i] = toPortfolio(row)
	}
	return list, next, nil
}

// AppendTransactions books txs at the end of a portfolio's ledger, all or none, and returns the
// portfolio at its new version and the transactions as booked: numbered, completed, and with an ID
// where they had none. An unknown portfolio is [fault.NotFound], what [portfolio.Book] refuses
// [fault.Invalid]. Appends to one portfolio wait for each other; others are not held up.
func (s *Store) AppendTransactions(
	ctx context.Context, tenantID, portfolioID string, txs []portfolio.Transaction,
) (portfolio.Portfolio, []portfolio.Transaction, error) {
	var p portfolio.Portfolio
	var booked []portfolio.Transaction
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		st := s.in(tx)
		var err error
		if p, err = findPortfolio(ctx, tenantID, portfolioID, st.q.LockPortfolio); err != nil {
			return err
		}
		if booked, err = st.book(ctx, tenantID, p.ID, txs); err != nil {
			return err
		}
		return st.append(ctx, tenantID, &p, booked)
	})
	if err != nil {
		return portfolio.Portfolio{}, nil, fmt.Errorf("book %d transactions in portfolio %s: %w",
			len(txs), portfolioID, err)
	}
	return p, booked, nil
}

// BookTransactions is AppendTransactions with a key: a request that was made before is answered with
// what it booked then. With another request's key it is [fault.Invalid]; once may be nil.
func (s *Store) BookTransactions(
	ctx context.Context, tenantID, portfolioID string, txs []portfolio.Transaction, once *portfolio.Once,
) (portfolio.Receipt, error) {
	txs = slices.Clone(txs)
	ids := make([]uuid.UUID, len(txs))
	for i := range txs {
		ids[i] = s.newID()
		txs[i].ID = ids[i].String()
	}
	return s.once(ctx, tenantID, portfolioID, once, ids, func(st *Store) (portfolio.Receipt, error) {
		p, booked, err := st.AppendTransactions(ctx, tenantID, portfolioID, txs)
		return portfolio.Receipt{Transactions: booked, LedgerVersion: p.LedgerVersion}, err
	})
}

// ReverseTransaction undoes one booking by another, see [portfolio.Reverse], and returns that. An
// unknown portfolio or transaction is [fault.NotFound], one that has been reversed [fault.Conflict],
// what may not be undone [fault.Invalid]. once is as for BookTransactions.
func (s *Store) ReverseTransaction(
	ctx context.Context, tenantID, portfolioID, transactionID string, once *portfolio.Once,
) (portfolio.Receipt, error) {
	id := s.newID()
	return s.once(ctx, tenantID, portfolioID, once, []uuid.UUID{id}, func(st *Store) (portfolio.Receipt, error) {
		p, reversal, err := st.reverse(ctx, tenantID, portfolioID, transactionID, id)
		if err != nil {
			return portfolio.Receipt{}, fmt.Errorf("reverse transaction %s of portfolio %s: %w", transactionID, portfolioID, err)
		}
		return portfolio.Receipt{Transactions: []portfolio.Transaction{reversal}, LedgerVersion: p.LedgerVersion}, nil
	})
}

func (s *Store) reverse(
	ctx context.Context, tenantID, portfolioID, transactionID string, id uuid.UUID,
) (portfolio.Portfolio, portfolio.Transaction, error) {
	var none portfolio.Transaction
	p, err := findPortfolio(ctx, tenantID, portfolioID, s.q.LockPortfolio)
	if err != nil {
		return p, none, err
	}
	key, err := uuid.Parse(transactionID)
	if err != nil {
		return p, none, fault.Wrap(err, fault.NotFound, "there is no transaction %q", transactionID)
	}
	row, err := s.q.BookedTransaction(ctx, tenantID, uuid.MustParse(p.ID), key)
	if err != nil {
		return p, none, orNotFound(err, "there is no transaction %q", transactionID)
	}
	if row.ReversedBy != nil {
		return p, none, fault.New(fault.Conflict, "transaction %d has been reversed already, by transaction %d",
			row.Transaction.Seq, *row.ReversedBy)
	}
	original := toTransaction(row.Transaction, row.SecurityID)
	trades, err := s.tradesOf(ctx, tenantID, p.ID, []string{original.Symbol})
	if err != nil {
		return p, none, err
	}
	reversal, err := portfolio.Reverse(original, trades)
	if err != nil {
		return p, none, err
	}
	reversal.ID = id.String()
	undo := []portfolio.Transaction{reversal}
	err = s.append(ctx, tenantID, &p, undo)
	return p, undo[0], err
}

// keyKept is for how long a key gives the first answer again.
const keyKept = 24 * time.Hour

// once lets do book, with the given ids, in a transaction that takes the key with it. If the key has
// been used for the same request before, it returns what that has booked.
func (s *Store) once(
	ctx context.Context, tenantID, portfolioID string, once *portfolio.Once, ids []uuid.UUID,
	do func(*Store) (portfolio.Receipt, error),
) (portfolio.Receipt, error) {
	var receipt portfolio.Receipt
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) (err error) {
		st := s.in(tx)
		if once != nil {
			now := s.now().UTC()
			earlier, err := claimKey(ctx, st.q, db.ClaimIdempotencyKeyParams{
				TenantID: tenantID, Key: once.Key, Request: once.Request, EventIds: ids, Now: now, ExpiresAt: now.Add(keyKept),
			})
			if err != nil {
				return err
			}
			if earlier != nil {
				receipt, err = st.booked(ctx, tenantID, portfolioID, earlier.EventIds)
				return err
			}
		}
		receipt, err = do(st)
		return err
	})
	return receipt, err
}

// booked returns what an earlier request has booked.
func (s *Store) booked(ctx context.Context, tenantID, portfolioID string, ids []uuid.UUID) (portfolio.Receipt, error) {
	p, err := s.Portfolio(ctx, tenantID, portfolioID)
	if err != nil {
		return portfolio.Receipt{}, err
	}
	rows, err := s.q.TransactionsByID(ctx, tenantID, uuid.MustParse(p.ID), ids)
	if err != nil {
		return portfolio.Receipt{}, fmt.Errorf("what a request has booked in portfolio %s: %w", portfolioID, err)
	}
	receipt := portfolio.Receipt{Transactions: make([]portfolio.Transaction, len(rows)), Repeated: true}
	for i, r := range rows {
		receipt.Transactions[i] = toTransaction(r.Transaction, r.SecurityID)
		receipt.LedgerVersion = r.Transaction.LedgerVersion
	}
	return receipt, nil
}

// append numbers checked transactions, puts them at the end of the ledger of p, whose row is locked,
// and moves p to its new version.
func (s *Store) append(ctx context.Context, tenantID string, p *portfolio.Portfolio, booked []portfolio.Transaction) error {
	rows := make([]db.InsertTransactionsParams, len(booked))
	for i := range booked {
		t := &booked[i]
		id, err := s.transactionID(t.ID)
		if err != nil {
			return fault.InvalidField(fmt.Sprintf("/%d/id", i), "%q is no UUID", t.ID)
		}
		t.ID, t.Seq = id.String(), p.LedgerSeq+1
		p.LedgerSeq, p.LedgerVersion = t.Seq, portfolio.Chain(p.LedgerVersion, *t)
		rows[i] = db.InsertTransactionsParams{
			ID: id, TenantID: tenantID, PortfolioID: uuid.MustParse(p.ID), Seq: t.Seq, Date: t.Date,
			Type: string(t.Type), Symbol: orNull(t.Symbol), Quantity: orNullNumber(t.Quantity),
			Price: orNullNumber(t.Price), Currency: t.Currency, Amount: t.Amount,
			LedgerVersion: p.LedgerVersion,
		}
		if t.Reverses != "" {
			original := uuid.MustParse(t.Reverses)
			rows[i].Reverses = &original
		}
	}
	var failed error
	s.q.InsertTransactions(ctx, rows).Exec(func(_ int, err error) {
		if failed == nil { // what follows the first failure fails for that reason
			failed = err
		}
	})
	if failed != nil {
		return failed
	}
	return s.q.MoveLedger(ctx, db.MoveLedgerParams{
		TenantID: tenantID, ID: uuid.MustParse(p.ID),
		LedgerSeq: p.LedgerSeq, LedgerVersion: p.LedgerVersion,
	})
}

// book runs the domain's checks on txs with what they need from the database.
func (s *Store) book(
	ctx context.Context, tenantID, portfolioID string, txs []portfolio.Transaction,
) ([]portfolio.Transaction, error) {
	var named []string
	for _, t := range txs {
		if t.Type.OfSecurity() {
			named = append(named, t.Symbol)
		}
	}
	securities, err := s.Securities(ctx, newest(tenantID), distinct(named))
	if err != nil {
		return nil, err
	}
	var reduced []string // by sales, and by splits that leave less
	for _, t := range txs {
		if _, known := securities[t.Symbol]; known && (t.Type == portfolio.Sell || t.Type == portfolio.Split) {
			reduced = append(reduced, t.Symbol)
		}
	}
	trades, err := s.tradesOf(ctx, tenantID, portfolioID, distinct(reduced))
	if err != nil {
		return nil, err
	}
	return portfolio.Book(txs, trades, securities)
}

// tradesOf returns every booking that counts and moves shares of the symbols.
func (s *Store) tradesOf(ctx context.Context, tenantID, portfolioID string, symbols []string) ([]portfolio.Transaction, error) {
	rows, err := s.q.TradesOf(ctx, tenantID, uuid.MustParse(portfolioID), symbols)
	if err != nil {
		return nil, err
	}
	trades := make([]portfolio.Transaction, len(rows))
	for i, r := range rows {
		trades[i] = toTransaction(r.Transaction, r.SecurityID)
	}
	return trades, nil
}

// Transactions returns the bookings numbered up to seq and dated up to asof, in order of date,
// then number: what the ledger version with that number says about that day. An unknown portfolio
// has none, an id that is no UUID is [fault.NotFound].
func (s *Store) Transactions(
	ctx context.Context, tenantID, portfolioID string, seq int64, asof time.Time,
) ([]portfolio.Transaction, error) {
	key, err := uuid.Parse(portfolioID)
	if err != nil {
		return nil, fault.Wrap(err, fault.NotFound, "there is no portfolio %q", portfolioID)
	}
	rows, err := s.q.TransactionsUntil(ctx, db.TransactionsUntilParams{
		TenantID: tenantID, PortfolioID: key, Seq: seq, Asof: asof,
	})
	if err != nil {
		return nil, fmt.Errorf("transactions of portfolio %s: %w", portfolioID, err)
	}
	txs := make([]portfolio.Transaction, len(rows))
	for i, r := range rows {
		txs[i] = toTransaction(r.Transaction, r.SecurityID)
	}
	return txs, nil
}

// TransactionsPage lists up to limit bookings with numbers above after, in order of number, and
// the number to go on after; it is 0 at the list's end. An unknown portfolio is [fault.NotFound].
func (s *Store) TransactionsPage(
	ctx context.Context, tenantID, portfolioID string, after int64, limit int,
) (txs []portfolio.Transaction, next int64, err error) {
	p, err := s.Portfolio(ctx, tenantID, portfolioID)
	if err != nil {
		return nil, 0, err
	}
	rows, err := s.q.TransactionsAfter(ctx, db.TransactionsAfterParams{
		TenantID: tenantID, PortfolioID: uuid.MustParse(p.ID), After: after, MaxRows: int64(limit) + 1,
	})
	if err != nil {
		return nil, 0, fmt.Errorf("transactions of portfolio %s: %w", portfolioID, err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		next = rows[limit-1].Transaction.Seq
	}
	txs = make([]portfolio.Transaction, len(rows))
	for i, r := range rows {
		txs[i] = toTransaction(r.Transaction, r.SecurityID)
	}
	return txs, next, nil
}

// newest is the cut through all that is known: what bookings are checked against.
func newest(tenantID string) portfolio.Cut {
	return portfolio.Cut{TenantID: tenantID, Date: endOfTime, Revision: math.MaxInt64}
}

func (s *Store) transactionID(given string) (uuid.UUID, error) {
	if given == "" {
		return s.newID(), nil
	}
	return uuid.Parse(given)
}

func toPortfolio(r db.Portfolio) portfolio.Portfolio {
	return portfolio.Portfolio{
		ID: r.ID.String(), Name: r.Name, BaseCurrency: r.BaseCurrency, Benchmark: deref(r.Benchmark),
		Calendar: r.Calendar, CostMethod: portfolio.CostMethod(r.CostMethod), LedgerSeq: r.LedgerSeq, LedgerVersion: r.LedgerVersion,
		CreatedAt: r.CreatedAt.UTC(),
	}
}

func toTransaction(r db.Transaction, securityID *uuid.UUID) portfolio.Transaction {
	t := portfolio.Transaction{
		ID: r.ID.String(), Seq: r.Seq, Date: r.Date, Type: portfolio.Type(r.Type),
		Symbol: deref(r.Symbol), Quantity: deref(r.Quantity), Price: deref(r.Price),
		Currency: r.Currency, Amount: r.Amount,
	}
	if securityID != nil {
		t.SecurityID = securityID.String()
	}
	if r.Reverses != nil {
		t.Reverses = r.Reverses.String()
	}
	return t
}

// deref returns what p points to; null is the domain's zero value.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orNullNumber(d decimal.Decimal) *decimal.Decimal {
	if d.IsZero() {
		return nil
	}
	return &d
}

func distinct(symbols []string) []string {
	slices.Sort(symbols)
	return slices.Compact(symbols)
}
