package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/imports"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/api"
)

func (h *handlers) ListPortfolios(ctx context.Context, r api.ListPortfoliosRequestObject) (api.ListPortfoliosResponseObject, error) {
	var after portfolio.Cursor
	if err := decodeCursor(r.Params.Cursor, &after); err != nil {
		return nil, err
	}
	list, next, err := h.Portfolios.Portfolios(ctx, auth.Tenant(ctx), after, limitOf(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	page := api.ListPortfolios200JSONResponse{Items: make([]api.Portfolio, len(list))}
	for i, p := range list {
		page.Items[i] = toPortfolio(p)
	}
	if next != nil {
		page.NextCursor = encodeCursor(next)
	}
	return page, nil
}

func (h *handlers) CreatePortfolio(ctx context.Context, r api.CreatePortfolioRequestObject) (api.CreatePortfolioResponseObject, error) {
	p := portfolio.Portfolio{
		Name: r.Body.Name, BaseCurrency: r.Body.BaseCurrency,
		Benchmark: value(r.Body.Benchmark), Calendar: value(r.Body.Calendar),
		CostMethod: portfolio.CostMethod(value(r.Body.CostMethod)),
	}
	p, err := h.Portfolios.CreatePortfolio(ctx, auth.Tenant(ctx), p)
	if err != nil {
		return nil, err
	}
	location := "/v1/portfolios/" + p.ID
	return api.CreatePortfolio201JSONResponse{
		Body: toPortfolio(p), Headers: api.CreatePortfolio201ResponseHeaders{Location: &location},
	}, nil
}

func (h *handlers) GetPortfolio(ctx context.Context, r api.GetPortfolioRequestObject) (api.GetPortfolioResponseObject, error) {
	p, err := h.Portfolios.Portfolio(ctx, auth.Tenant(ctx), r.Id.String())
	if err != nil {
		return nil, err
	}
	return api.GetPortfolio200JSONResponse(toPortfolio(p)), nil
}

func (h *handlers) ListTransactions(ctx context.Context, r api.ListTransactionsRequestObject) (api.ListTransactionsResponseObject, error) {
	var after int64
	if err := decodeCursor(r.Params.Cursor, &after); err != nil {
		return nil, err
	}
	txs, next, err := h.Portfolios.TransactionsPage(ctx, auth.Tenant(ctx), r.Id.String(), after, limitOf(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	page := api.ListTransactions200JSONResponse{Items: toTransactions(txs)}
	if next > 0 {
		page.NextCursor = encodeCursor(next)
	}
	return page, nil
}

func (h *handlers) BookTransactions(ctx context.Context, r api.BookTransactionsRequestObject) (api.BookTransactionsResponseObject, error) {
	book := h.bookJSON
	if r.Body != nil {
		book = h.bookCSV
	}
	receipt, err := book(ctx, r)
	if err != nil {
		return nil, err
	}
	return api.BookTransactions201JSONResponse{
		Body: toBooked(receipt), Headers: api.BookTransactions201ResponseHeaders{IdempotencyReplayed: replayed(receipt)},
	}, nil
}

func (h *handlers) bookJSON(ctx context.Context, r api.BookTransactionsRequestObject) (portfolio.Receipt, error) {
	list, err := r.JSONBody.AsNewTransactions1()
	single := err != nil // not a list: one object, as the document allows
	if single {
		one, err := r.JSONBody.AsNewTransaction()
		if err != nil {
			return portfolio.Receipt{}, fault.Wrap(err, fault.Malformed, "the body is neither a transaction nor a list of them")
		}
		list = []api.NewTransaction{one}
	}
	receipt, err := h.bookList(ctx, r, list)
	if single {
		err = withoutIndex(err)
	}
	return receipt, err
}

func (h *handlers) bookList(ctx context.Context, r api.BookTransactionsRequestObject, list []api.NewTransaction) (portfolio.Receipt, error) {
	txs := make([]portfolio.Transaction, len(list))
	for i, t := range list {
		var err error
		if txs[i], err = fromTransaction(t, i); err != nil {
			return portfolio.Receipt{}, err
		}
	}
	return h.book(ctx, r, txs, list)
}

// bookCSV books a file. Two files with the same key are the same request when they are the same to the byte.
func (h *handlers) bookCSV(ctx context.Context, r api.BookTransactionsRequestObject) (portfolio.Receipt, error) {
	file, err := io.ReadAll(r.Body)
	if err != nil {
		return portfolio.Receipt{}, fault.Wrap(err, fault.Malformed, "the body broke off")
	}
	bookings, err := imports.ReadBookings(bytes.NewReader(file))
	if err != nil {
		return portfolio.Receipt{}, err
	}
	receipt, err := h.book(ctx, r, bookings.Transactions, string(file))
	return receipt, bookings.Refused(err)
}

// book books transactions; body is what they were read from.
func (h *handlers) book(ctx context.Context, r api.BookTransactionsRequestObject, txs []portfolio.Transaction, body any) (portfolio.Receipt, error) {
	once, err := onceOf(asked{
		operation: "bookTransactions " + r.Id.String(), body: body, key: r.Params.IdempotencyKey,
	})
	if err != nil {
		return portfolio.Receipt{}, err
	}
	return h.Portfolios.BookTransactions(ctx, auth.Tenant(ctx), r.Id.String(), txs, once)
}

func (h *handlers) ReverseTransaction(ctx context.Context, r api.ReverseTransactionRequestObject) (api.ReverseTransactionResponseObject, error) {
	once, err := onceOf(asked{
		operation: "reverseTransaction " + r.Id.String() + " " + r.TransactionId.String(), key: r.Params.IdempotencyKey,
	})
	if err != nil {
		return nil, err
	}
	receipt, err := h.Portfolios.ReverseTransaction(ctx, auth.Tenant(ctx), r.Id.String(), r.TransactionId.String(), once)
	if err != nil {
		return nil, err
	}
	return api.ReverseTransaction201JSONResponse{
		Body: toBooked(receipt), Headers: api.ReverseTransaction201ResponseHeaders{IdempotencyReplayed: replayed(receipt)},
	}, nil
}

// onceOf returns the key of a request to book, nil when it has none.
func onceOf(by asked) (*portfolio.Once, error) {
	if by.key == nil {
		return nil, nil
	}
	request, err := by.hash()
	if err != nil {
		return nil, err
	}
	return &portfolio.Once{Key: *by.key, Request: request}, nil
}

func toBooked(r portfolio.Receipt) api.Booked {
	return api.Booked{Items: toTransactions(r.Transactions), LedgerVersion: r.LedgerVersion}
}

// replayed is the header that tells a repetition, nil for a first answer.
func replayed(r portfolio.Receipt) *string {
	if !r.Repeated {
		return nil
	}
	return new("true")
}

// withoutIndex rewrites an error about the only element of a list for a caller who sent no list.
func withoutIndex(err error) error {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || e.Code != fault.Invalid || len(e.Fields) == 0 {
		return err
	}
	fields := make([]fault.Field, len(e.Fields))
	for i, f := range e.Fields {
		fields[i] = fault.Field{Pointer: strings.TrimPrefix(f.Pointer, "/0"), Detail: f.Detail}
	}
	return invalid(fields)
}

// fromTransaction reads the ith transaction of a request. The document has checked the forms.
func fromTransaction(t api.NewTransaction, i int) (portfolio.Transaction, error) {
	date, err := time.Parse(time.DateOnly, t.Date)
	if err != nil {
		return portfolio.Transaction{}, fault.InvalidField(fmt.Sprintf("/%d/date", i), "must be a day, YYYY-MM-DD")
	}
	tx := portfolio.Transaction{
		Date: date, Type: portfolio.Type(t.Type), Symbol: value(t.Symbol), Currency: value(t.Currency),
	}
	for _, n := range []struct {
		name string
		text *string
		to   *decimal.Decimal
	}{{"quantity", t.Quantity, &tx.Quantity}, {"price", t.Price, &tx.Price}, {"amount", t.Amount, &tx.Amount}} {
		if n.text == nil {
			continue
		}
		if *n.to, err = decimal.NewFromString(*n.text); err != nil {
			return portfolio.Transaction{}, fault.InvalidField(fmt.Sprintf("/%d/%s", i, n.name), "must be a decimal number")
		}
	}
	return tx, nil
}

func toPortfolio(p portfolio.Portfolio) api.Portfolio {
	return api.Portfolio{
		Id: uuid.MustParse(p.ID), Name: p.Name, BaseCurrency: p.BaseCurrency, Benchmark: orNull(p.Benchmark),
		Calendar: p.Calendar, CostMethod: api.CostMethod(p.CostMethod), LedgerVersion: p.LedgerVersion, Transactions: p.LedgerSeq, CreatedAt: p.CreatedAt.UTC(),
	}
}

func toTransactions(txs []portfolio.Transaction) []api.Transaction {
	list := make([]api.Transaction, len(txs))
	for i, t := range txs {
		list[i] = api.Transaction{
			Id: uuid.MustParse(t.ID), Seq: t.Seq, Date: t.Date.Format(time.DateOnly), Type: string(t.Type),
			Symbol: orNull(t.Symbol), Currency: t.Currency, Amount: t.Amount.String(),
		}
		if !t.Quantity.IsZero() {
			list[i].Quantity = orNull(t.Quantity.String())
		}
		if !t.Price.IsZero() {
			list[i].Price = orNull(t.Price.String())
		}
		if t.Reverses != "" {
			list[i].Reverses = orNull(uuid.MustParse(t.Reverses))
		}
	}
	return list
}

// value and orNull cross between optional fields and zero values.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
