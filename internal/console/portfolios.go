package console

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/imports"
	"github.com/dawsos/dawsos/internal/packs"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/portfolio"
)

// Portfolios keeps ledgers.
type Portfolios interface {
	Portfolio(ctx context.Context, tenantID, id string) (portfolio.Portfolio, error)
	Portfolios(ctx context.Context, tenantID string, after portfolio.Cursor, limit int) ([]portfolio.Portfolio, *portfolio.Cursor, error)
	TransactionsPage(ctx context.Context, tenantID, portfolioID string, after int64, limit int) ([]portfolio.Transaction, int64, error)
	BookTransactions(ctx context.Context, tenantID, portfolioID string, txs []portfolio.Transaction, once *portfolio.Once) (portfolio.Receipt, error)
}

const portfoliosPath = "/console/portfolios"

func (c *Console) portfolioRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: portfoliosPath, Handler: c.portfolios},
		{Method: http.MethodGet, Path: portfoliosPath + "/{id}", Handler: c.portfolio},
		{Method: http.MethodGet, Path: portfoliosPath + "/{id}/transactions", Handler: c.transactions},
		{Method: http.MethodPost, Path: portfoliosPath + "/{id}/transactions", Handler: c.bookFile},
	}
}

func (c *Console) portfolios(w http.ResponseWriter, r *http.Request) error {
	var after portfolio.Cursor
	if err := cursor(r, &after); err != nil {
		return err
	}
	list, behind, err := c.Portfolios.Portfolios(r.Context(), auth.Tenant(r.Context()), after, pageSize)
	if err != nil {
		return err
	}
	var next any
	if behind != nil {
		next = behind
	}
	pages, err := newPager(r, next)
	if err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "portfolios", portfoliosPath, "Portfolios", map[string]any{"Portfolios": list, "Pager": pages})
}

// overviewPattern is whose answer the page of a portfolio shows: what it says and what the API says can't
// differ.
const overviewPattern = "portfolio_overview"

// dataGap says why a figure is not there, as agents do.
type dataGap struct {
	Field   string `json:"field"`
	Missing string `json:"missing"`
	Reason  string `json:"reason"`
}

type dataGaps []dataGap

// why says why a field, or what it is a part of, is not there.
func (g dataGaps) why(field string) string {
	var reasons []string
	for _, one := range g {
		if field == one.Field || strings.HasPrefix(field, one.Field+".") {
			reasons = append(reasons, one.Missing+": "+one.Reason)
		}
	}
	slices.Sort(reasons)
	return strings.Join(slices.Compact(reasons), "; ")
}

// holdings is what is shown of pricing.apply_pack.
type holdings struct {
	TotalValue   decimal.NullDecimal `json:"total_value"`
	Currency     string              `json:"currency"`
	Positions    []holding           `json:"positions"`
	Cash         []holding           `json:"cash"`
	Insufficient dataGaps            `json:"insufficient_data"`
}

type holding struct {
	Symbol        string              `json:"symbol"`
	Name          string              `json:"name"`
	AssetClass    string              `json:"asset_class"`
	Sector        string              `json:"sector"`
	Currency      string              `json:"currency"`
	Quantity      decimal.Decimal     `json:"quantity"`
	Amount        decimal.Decimal     `json:"amount"` // of cash
	Price         decimal.NullDecimal `json:"price"`
	PriceDate     string              `json:"price_date"`
	MarketValue   decimal.NullDecimal `json:"market_value"`
	Weight        *float64            `json:"weight"`
	CostBasis     decimal.NullDecimal `json:"cost_basis"`
	UnrealizedPnL decimal.NullDecimal `json:"unrealized_pnl"`

	NoValue, NoWeight, NoCost string // why they are not there
}

// explain gives each line the reasons for what it lacks.
func (h *holdings) explain() {
	for i := range h.Positions {
		p := &h.Positions[i]
		p.NoValue = h.Insufficient.why("positions." + p.Symbol + ".market_value")
		p.NoCost = h.Insufficient.why("positions." + p.Symbol + ".cost_basis")
		p.NoWeight = h.Insufficient.why("positions.weight")
	}
	for i := range h.Cash {
		p := &h.Cash[i]
		p.NoValue, p.NoWeight = h.Insufficient.why("cash."+p.Currency+".market_value"), h.Insufficient.why("cash.weight")
	}
}

// share is a part of a portfolio.
type share struct {
	Name   string
	Weight float64
	Width  string // of a bar, in percent of the largest
}

type allocation struct {
	ID, Title string
	Shares    []share
}

// allocations sums weights by what lines have in common; nil when there are none.
func (h *holdings) allocations() []allocation {
	by := []struct {
		id, title string
		of        func(holding) string
		cash      string // what cash counts as, "" for its own currency
	}{
		{"currency", "By currency", func(p holding) string { return p.Currency }, ""},
		{"asset-class", "By asset class", func(p holding) string { return words(cmp.Or(p.AssetClass, "not classified")) }, "cash"},
		{"sector", "By sector", func(p holding) string { return cmp.Or(p.Sector, "not classified") }, "Cash"},
	}
	var all []allocation
	for _, b := range by {
		sums := map[string]float64{}
		for _, p := range h.Positions {
			if p.Weight == nil {
				return nil
			}
			sums[b.of(p)] += *p.Weight
		}
		for _, p := range h.Cash {
			if p.Weight == nil {
				return nil
			}
			sums[cmp.Or(b.cash, p.Currency)] += *p.Weight
		}
		a := allocation{ID: b.id, Title: b.title}
		largest := 0.0
		for name, weight := range sums {
			a.Shares = append(a.Shares, share{Name: name, Weight: weight})
			largest = max(largest, weight)
		}
		slices.SortFunc(a.Shares, func(x, y share) int {
			return cmp.Or(cmp.Compare(y.Weight, x.Weight), strings.Compare(x.Name, y.Name))
		})
		for i := range a.Shares {
			a.Shares[i].Width = strconv.FormatFloat(100*max(a.Shares[i].Weight, 0)/max(largest, 1e-9), 'f', 1, 64)
		}
		if len(a.Shares) > 0 {
			all = append(all, a)
		}
	}
	return all
}

// keyFigure is a figure of metrics.compute_twr or of attribution.currency.
type keyFigure struct {
	Name, Text string // Text is "" when it is not there
	Missing    string // and why
	Hint       string
}

// figureSource is how a figure is called, found and written.
type figureSource struct {
	name, field, hint string
	form              func(float64) string
}

// finePercent shows a fraction that may be small.
func finePercent(x float64) string { return strconv.FormatFloat(100*x, 'f', 2, 64) + "\u202f%" }

func twoPlaces(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) }

// performanceFigures are the figures of metrics.compute_twr that are shown. The first ones stand on cards.
var performanceFigures = []figureSource{
	{"Return", "twr", "over the window, time-weighted", percent},
	{"Volatility", "volatility", "a year", percent},
	{"Sharpe ratio", "sharpe_ratio", "return above the risk-free rate per volatility", twoPlaces},
	{"Maximum drawdown", "max_drawdown", "within the window", percent},
	{"Return a year", "twr_annualized", "over the window, time-weighted", percent},
	{"Return since the first booking", "twr_since_inception", "time-weighted", percent},
	{"Money-weighted return", "mwr_window", "a year, over the window", percent},
	{"Money-weighted return since the first booking", "mwr_since_inception", "a year", percent},
	{"Sortino ratio", "sortino_ratio", "return above the risk-free rate per downside deviation", twoPlaces},
	{"Value at risk", "var_95", "one day, 95 %, historical", percent},
	{"Expected shortfall", "es_95", "one day, 95 %, historical", percent},
	{"Risk-free rate", "risk_free.annual", "a year", percent},
	{"Return of the benchmark", "benchmark.return", "over the window", percent},
	{"Beta", "benchmark.beta", "to the benchmark", twoPlaces},
	{"Alpha", "benchmark.alpha", "a year", percent},
	{"Correlation", "benchmark.correlation", "with the benchmark", twoPlaces},
	{"Tracking error", "benchmark.tracking_error", "a year", percent},
	{"Information ratio", "benchmark.information_ratio", "", twoPlaces},
}

// onCards is how many of them do.
const onCards = 4

var attributionFigures = []figureSource{
	{"Total return", "total_return", "over the window", finePercent},
	{"From local prices", "local_return", "", finePercent},
	{"From currencies", "fx_return", "", finePercent},
	{"Interaction of the two", "interaction", "", finePercent},
	{"Costs", "costs", "", finePercent},
}

// keyFigures reads measures from a capability's answer.
func keyFigures(raw json.RawMessage, list []figureSource) ([]keyFigure, error) {
	var answer map[string]any
	var lacks struct {
		Insufficient dataGaps `json:"insufficient_data"`
	}
	if err := errors.Join(json.Unmarshal(raw, &answer), json.Unmarshal(raw, &lacks)); err != nil {
		return nil, err
	}
	out := make([]keyFigure, len(list))
	for i, m := range list {
		out[i] = keyFigure{Name: m.name, Hint: m.hint}
		var at any = answer
		for name := range strings.SplitSeq(m.field, ".") {
			within, _ := at.(map[string]any)
			at = within[name]
		}
		if x, ok := at.(float64); ok {
			out[i].Text = m.form(x)
			continue
		}
		out[i].Missing = cmp.Or(lacks.Insufficient.why(m.field), "the answer does not say why")
	}
	return out, nil
}

// portfolioView is what the page of a portfolio shows of the pattern's answer.
type portfolioView struct {
	Holdings    holdings
	Allocations []allocation
	Cards       []keyFigure
	Figures     []keyFigure
	Attribution []keyFigure
	Charts      []json.RawMessage // net asset value and its like
	Parts       []json.RawMessage // the return's parts
	Warnings    []string
	Trace       patterns.Trace
	DataHash    string
	Window      *struct {
		Start, End string
		Returns    int
	}
}

func readPortfolioView(a *patterns.Answer) (*portfolioView, error) {
	var data struct {
		Metrics     json.RawMessage `json:"perf_metrics"`
		Attribution json.RawMessage `json:"currency_attr"`
		Holdings    holdings        `json:"valued_positions"`
	}
	if err := json.Unmarshal(a.Data, &data); err != nil {
		return nil, err
	}
	o := &portfolioView{Holdings: data.Holdings, Trace: a.Trace, DataHash: a.DataHash}
	for _, w := range a.Warnings { // several steps say the same
		if !slices.Contains(o.Warnings, w) {
			o.Warnings = append(o.Warnings, w)
		}
	}
	o.Holdings.explain()
	o.Allocations = o.Holdings.allocations()
	measured, err := keyFigures(data.Metrics, performanceFigures)
	if err != nil {
		return nil, err
	}
	o.Cards, o.Figures = measured[:onCards], measured[onCards:]
	if o.Attribution, err = keyFigures(data.Attribution, attributionFigures); err != nil {
		return nil, err
	}
	var window struct {
		Window *struct {
			Start, End string
			Returns    int
		}
	}
	if err := json.Unmarshal(data.Metrics, &window); err != nil {
		return nil, err
	}
	o.Window = window.Window
	for _, raw := range a.Charts {
		var chart struct{ Name string }
		if err := json.Unmarshal(raw, &chart); err != nil {
			return nil, err
		}
		switch chart.Name {
		case "attribution_waterfall":
			o.Parts = append(o.Parts, raw)
		case "allocation": // the table of holdings says it, and in what groups
		default:
			o.Charts = append(o.Charts, raw)
		}
	}
	return o, nil
}

// portfolioWindows are the spans that can be chosen, in daily returns.
var portfolioWindows = []struct {
	Days string
	Name string
}{{"21", "1 month"}, {"63", "3 months"}, {"252", "1 year"}, {"756", "3 years"}, {"10000", "all"}}

const defaultPortfolioWindow = "252"

// notReady says in words why an overview can't be given at the moment, or for this day.
type notReady struct {
	Detail string
	Pack   *packs.Pack
	Ready  *time.Time // when the pack is about fresh
	Anyway string     // address of the same page over the pack as it is
}

func (c *Console) portfolio(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	p, err := c.Portfolios.Portfolio(r.Context(), auth.Tenant(r.Context()), id.String())
	if err != nil {
		return err
	}
	q := r.URL.Query()
	window := cmp.Or(q.Get("window"), defaultPortfolioWindow)
	data := map[string]any{
		"Portfolio": p, "Asof": q.Get("asof"), "Window": window, "Windows": portfolioWindows,
		"Runnable": c.runnable(p.ID, q.Get("asof"), q.Get("fresh") == "no"), "AnyState": q.Get("fresh") == "no",
	}
	status := http.StatusOK
	request := patterns.Request{
		TenantID: auth.Tenant(r.Context()), PatternID: overviewPattern, RequireFresh: q.Get("fresh") != "no", Unrecorded: true,
		Inputs: map[string]any{"portfolio_id": p.ID, "lookback_days": json.Number(window)},
	}
	if asof := q.Get("asof"); asof != "" {
		day, err := time.Parse(time.DateOnly, asof)
		if err != nil {
			data["WrongAsof"] = "This is not a date such as 2007-05-08."
			return c.render(w, r, http.StatusUnprocessableEntity, "portfolio", portfoliosPath, p.Name, data)
		}
		request.Asof = &day
	}
	if !slices.ContainsFunc(portfolioWindows, func(known struct{ Days, Name string }) bool { return known.Days == window }) {
		return fault.InvalidField("/query/window", "must be one of those that the page offers")
	}
	answer, err := c.Patterns.Execute(r.Context(), request)
	switch code := fault.CodeOf(err); {
	case err == nil:
		o, err := readPortfolioView(answer)
		if err != nil {
			return err
		}
		data["Overview"] = o
	case code == fault.PackNotFresh:
		status = http.StatusServiceUnavailable
		data["NotReady"] = packNotReady(err, r.URL)
		if e, ok := errors.AsType[*fault.Error](err); ok && e.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(e.RetryAfter.Seconds()+1)))
		}
	case code == fault.InsufficientData:
		status = http.StatusUnprocessableEntity
		data["NotReady"] = notReady{Detail: capitalized(fault.Detail(err))}
	default:
		return err
	}
	return c.render(w, r, status, "portfolio", portfoliosPath, p.Name, data)
}

func packNotReady(err error, here *url.URL) notReady {
	n := notReady{Detail: fault.Detail(err), Anyway: address(here.Path, with(here.Query(), "fresh", "no"))}
	if e, ok := errors.AsType[*packs.NotFreshError](err); ok {
		n.Pack, n.Ready = &e.Pack, e.EstimatedReady
	}
	return n
}

// runnablePattern is a pattern about portfolios, with the address of its form filled in.
type runnablePattern struct{ Name, Description, Path string }

// runnable are the patterns about a portfolio. Their forms hold the day and the packs that the page is
// about: figures for another day would pass for those of this one.
func (c *Console) runnable(portfolioID, asof string, stale bool) []runnablePattern {
	var list []runnablePattern
	for _, d := range c.Catalog.Definitions() {
		if _, ok := d.Inputs["portfolio_id"]; !ok {
			continue
		}
		q := url.Values{"portfolio_id": {portfolioID}}
		if asof != "" {
			q.Set(asofField, asof)
		}
		if stale {
			q.Set(staleField, "yes")
		}
		list = append(list, runnablePattern{d.Name, d.Description, address("/console/patterns/"+d.ID, q)})
	}
	return list
}

// bookings describes files of transactions.
var bookings = fileKind{
	Means: map[string]string{
		"type":     "DEPOSIT, WITHDRAWAL, BUY, SELL, FX, FEE, DIVIDEND or SPLIT",
		"symbol":   "of a security, or a pair such as USD/CHF for FX",
		"quantity": "of BUY, SELL, FX; of SPLIT the number of new shares for one old share",
		"price":    "of one share, or one unit of the first currency",
		"currency": "of cash; by default the security's",
		"amount":   "signed change of cash; by default quantity times price",
	},
	Example: []string{"2007-05-08", "BUY", "SBI", "10", "96.74", "CHF", ""},
}

// ledgerPage is what the page of a portfolio's transactions shows.
type ledgerPage struct {
	Portfolio    portfolio.Portfolio
	Transactions []portfolio.Transaction // newest first
	Pager        pager
	Columns      []fileColumn
	Example      string
	Most         int
	Key          string // keeps the form from booking twice
	Done         string
	WrongFile    string
	Refusal      *refusal
}

func (c *Console) transactions(w http.ResponseWriter, r *http.Request) error {
	return c.showLedger(w, r, http.StatusOK, ledgerPage{Done: r.URL.Query().Get("done"), Key: uuid.NewString()})
}

func (c *Console) showLedger(w http.ResponseWriter, r *http.Request, status int, page ledgerPage) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	p, err := c.Portfolios.Portfolio(r.Context(), auth.Tenant(r.Context()), id.String())
	if err != nil {
		return err
	}
	// Transactions are numbered without dataGaps, from 1: the ones before a number are a part of the list that
	// the store reads forwards.
	before := p.LedgerSeq + 1
	if err := cursor(r, &before); err != nil {
		return err
	}
	before = min(max(before, 1), p.LedgerSeq+1)
	after := max(0, before-1-pageSize)
	if n := int(before - 1 - after); n > 0 {
		if page.Transactions, _, err = c.Portfolios.TransactionsPage(r.Context(), auth.Tenant(r.Context()), p.ID, after, n); err != nil {
			return err
		}
	}
	slices.Reverse(page.Transactions)
	var next any
	if after > 0 {
		next = after + 1
	}
	if page.Pager, err = newPager(r, next); err != nil {
		return err
	}
	page.Portfolio, page.Most = p, imports.MostBookings
	page.Columns = fileColumns(imports.BookingFields(), bookings)
	page.Example = fileExample(page.Columns)
	return c.render(w, r, status, "portfolio_transactions", portfoliosPath, "Transactions of "+p.Name, page)
}

// bookFile books a CSV file of transactions, all or none.
func (c *Console) bookFile(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	u, err := readUpload(r)
	if err != nil {
		return err
	}
	page := ledgerPage{Key: cmp.Or(u.fields["key"], uuid.NewString())}
	if _, err := uuid.Parse(page.Key); err != nil {
		return fault.InvalidField("/key", "must be the key that the page gave")
	}
	if u.name == "" {
		page.WrongFile = "Choose a CSV file."
		return c.showLedger(w, r, http.StatusUnprocessableEntity, page)
	}
	file, err := io.ReadAll(u.body)
	if err != nil {
		return uploadBroke(err)
	}
	receipt, err := c.book(r.Context(), id.String(), page.Key, file)
	if refusal, ok := refused(err); ok {
		if usedKey(err) {
			refusal.Detail = "This form has booked another file already; nothing of this one was booked. Send it again to book it, too"
		}
		// Nothing is kept of what was refused; the key may be that of a file booked before, and refuse for ever.
		page.Refusal, page.Key = &refusal, uuid.NewString()
		return c.showLedger(w, r, http.StatusUnprocessableEntity, page)
	}
	if err != nil {
		return err
	}
	to := portfoliosPath + "/" + id.String() + "/transactions"
	if receipt.Repeated {
		return done(w, r, to, "The file had been booked already, with %s; nothing was booked twice.", howMany(len(receipt.Transactions), "transaction", "transactions"))
	}
	return done(w, r, to, "Booked %s.", howMany(len(receipt.Transactions), "transaction", "transactions"))
}

// usedKey reports whether a booking was refused since its form's key is that of another one, as it is on a page
// that one has gone back to.
func usedKey(err error) bool {
	e, ok := errors.AsType[*fault.Error](err)
	return ok && slices.ContainsFunc(e.Fields, func(f fault.Field) bool { return f.Pointer == "/header/Idempotency-Key" })
}

func (c *Console) book(ctx context.Context, portfolioID, key string, file []byte) (portfolio.Receipt, error) {
	read, err := imports.ReadBookings(bytes.NewReader(file))
	if err != nil {
		return portfolio.Receipt{}, err
	}
	request := sha256.Sum256(append([]byte("console "+portfolioID+"\n"), file...))
	receipt, err := c.Portfolios.BookTransactions(ctx, auth.Tenant(ctx), portfolioID, read.Transactions, &portfolio.Once{Key: key, Request: request[:]})
	return receipt, read.Refused(err)
}

// money shows an amount with its thousands apart and two decimals.
func money(d decimal.Decimal) string { return grouped(d.StringFixed(2)) }

// exactly shows a number with all of its decimals.
func exactly(d decimal.Decimal) string { return grouped(d.String()) }

func grouped(s string) string {
	whole, fraction, ok := strings.Cut(s, ".")
	if ok {
		return count(whole) + "." + fraction
	}
	return count(whole)
}
