// Package agenttest is what the tests of agents share: asking a capability what it declares, and the
// sample's market data in memory, with a portfolio over it and what a test wants hidden, changed or
// counted. The data stands in for the database; the readers over PostgreSQL are tested where they are
// written.
package agenttest

import (
	"cmp"
	"context"
	"encoding/csv"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/research"
	"github.com/dawsos/dawsos/pkg/agent"
)

// What a desk's runs are about.
const (
	PortfolioID = "0b9a7e52-4f9b-4c5e-8f5a-6f9b3e0c1d2a"
	PackID      = "7d1f0d1e-3c7b-4f0a-9a53-2f1f2c6c9b11"
	RiskFree    = "FF_RF" // the series of daily bill returns
)

// SecurityID is the id of a security of the sample.
func SecurityID(symbol string) string { return idOf(symbol) }

func idOf(name string) string { return uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)).String() }

// Configs returns the path of a file or folder of the project's configs.
func Configs(name string) string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "../../../configs", name)
}

// Day reads a date.
func Day(t testing.TB, s string) time.Time {
	t.Helper()
	d, err := time.Parse(time.DateOnly, s)
	require.NoError(t, err)
	return d
}

// readCSV calls row for every record after the header, with the columns by name.
func readCSV(path string, row func(map[string]string) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := csv.NewReader(f)
	header, err := r.Read()
	if err != nil {
		return err
	}
	for {
		record, err := r.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		columns := make(map[string]string, len(header))
		for i, name := range header {
			columns[name] = record[i]
		}
		if err := row(columns); err != nil {
			return err
		}
	}
}

// Sample is the market data of configs/sample.
type Sample struct {
	Securities map[string]portfolio.Security
	Prices     map[string][]portfolio.Quote
	FX         map[string][]portfolio.Quote
	Macro      map[string]portfolio.Series
}

var loadSample = sync.OnceValues(func() (*Sample, error) {
	s := &Sample{
		Securities: map[string]portfolio.Security{},
		Prices:     map[string][]portfolio.Quote{},
		FX:         map[string][]portfolio.Quote{},
		Macro:      map[string]portfolio.Series{},
	}
	quote := func(date, value string) (portfolio.Quote, error) {
		d, err := time.Parse(time.DateOnly, date)
		if err != nil {
			return portfolio.Quote{}, err
		}
		v, err := decimal.NewFromString(value)
		return portfolio.Quote{Date: d, Value: v}, err
	}
	files := map[string]func(map[string]string) error{
		"securities.csv": func(c map[string]string) error {
			s.Securities[c["symbol"]] = portfolio.Security{
				ID: SecurityID(c["symbol"]), Symbol: c["symbol"], Name: c["name"], AssetClass: c["asset_class"],
				Sector: c["sector"], Currency: c["currency"], Role: c["role"],
			}
			return nil
		},
		"prices.csv": func(c map[string]string) error {
			q, err := quote(c["date"], c["close"])
			s.Prices[c["symbol"]] = append(s.Prices[c["symbol"]], q)
			return err
		},
		"fx.csv": func(c map[string]string) error {
			q, err := quote(c["date"], c["rate"])
			pair := c["base"] + "/" + c["quote"]
			s.FX[pair] = append(s.FX[pair], q)
			return err
		},
		"factors.csv": func(c map[string]string) error {
			q, err := quote(c["date"], c["rf"])
			s.Macro[RiskFree] = append(s.Macro[RiskFree], portfolio.Point{Date: q.Date, Value: q.Value.InexactFloat64()})
			return err
		},
	}
	for name, row := range files {
		if err := readCSV(Configs(filepath.Join("sample", name)), row); err != nil {
			return nil, err
		}
	}
	return s, nil
})

// Desk is one portfolio over the sample's market data.
type Desk struct {
	Sample   *Sample // which other tests share
	Subject  portfolio.Portfolio
	Ledger   []portfolio.Transaction
	Accounts []research.Fundamental        // the sample has none
	Hidden   map[string]bool               // "prices:AA", "fx:USD/CHF", "macro:FF_RF", "securities:AA"
	Changed  map[string]portfolio.Security // attributes in place of the sample's, by symbol
	Agents   []agent.Capability            // what Ask can ask

	mu    sync.Mutex
	Reads int // how often something was read
	Cuts  []portfolio.Cut
}

// New returns a desk over the sample's portfolio, or over an empty one.
func New(t testing.TB, empty bool) *Desk {
	t.Helper()
	if empty {
		return Over(t, "")
	}
	return Over(t, Configs("sample/demo_transactions.csv"))
}

// Over returns a desk over the portfolio of a CSV file of transactions; "" means an empty one.
func Over(t testing.TB, ledger string) *Desk {
	t.Helper()
	s, err := loadSample()
	require.NoError(t, err)
	d := &Desk{
		Sample: s, Hidden: map[string]bool{}, Changed: map[string]portfolio.Security{},
		Subject: portfolio.Portfolio{ID: PortfolioID, Name: "Test", BaseCurrency: "CHF", Benchmark: "LP40", Calendar: "SBI"},
	}
	if ledger != "" {
		d.Ledger = readLedger(t, ledger, s)
	}
	return d
}

// Book appends transactions, numbered on.
func (d *Desk) Book(txs ...portfolio.Transaction) {
	for _, t := range txs {
		t.Seq = int64(len(d.Ledger) + 1)
		d.Ledger = append(d.Ledger, t)
	}
}

func readLedger(t testing.TB, path string, s *Sample) []portfolio.Transaction {
	t.Helper()
	var ledger []portfolio.Transaction
	number := func(v string) decimal.Decimal {
		if v == "" {
			return decimal.Zero
		}
		d, err := decimal.NewFromString(v)
		require.NoError(t, err)
		return d
	}
	require.NoError(t, readCSV(path, func(c map[string]string) error {
		ledger = append(ledger, portfolio.Transaction{
			Seq: int64(len(ledger) + 1), Date: Day(t, c["date"]), Type: portfolio.Type(c["type"]),
			ID:     idOf(strconv.Itoa(len(ledger) + 1)),
			Symbol: c["symbol"], SecurityID: s.Securities[c["symbol"]].ID,
			Quantity: number(c["quantity"]), Price: number(c["price"]),
			Currency: c["currency"], Amount: number(c["amount"]),
		})
		return nil
	}))
	return ledger
}

func (d *Desk) read(cut *portfolio.Cut) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Reads++
	if cut != nil {
		d.Cuts = append(d.Cuts, *cut)
	}
}

// Portfolio implements capability.Ledger.
func (d *Desk) Portfolio(_ context.Context, _, id string) (portfolio.Portfolio, error) {
	d.read(nil)
	if id != d.Subject.ID {
		return portfolio.Portfolio{}, fault.New(fault.NotFound, "portfolio %s not found", id)
	}
	return d.Subject, nil
}

// Transactions implements capability.Ledger.
func (d *Desk) Transactions(_ context.Context, _, _ string, seq int64, asof time.Time) ([]portfolio.Transaction, error) {
	d.read(nil)
	var found []portfolio.Transaction
	for _, t := range d.Ledger {
		if t.Seq <= seq && !t.Date.After(asof) {
			found = append(found, t)
		}
	}
	return found, nil
}

// security returns a security unless it is hidden.
func (d *Desk) security(symbol string) (portfolio.Security, bool) {
	if d.Hidden["securities:"+symbol] {
		return portfolio.Security{}, false
	}
	if changed, is := d.Changed[symbol]; is {
		return changed, true
	}
	s, ok := d.Sample.Securities[symbol]
	return s, ok
}

// Securities implements capability.Market.
func (d *Desk) Securities(_ context.Context, _ portfolio.Cut, symbols []string) (map[string]portfolio.Security, error) {
	d.read(nil)
	found := map[string]portfolio.Security{}
	for _, symbol := range symbols {
		if security, ok := d.security(symbol); ok {
			found[symbol] = security
		}
	}
	return found, nil
}

func touches(pair string, currencies []string) bool {
	base, quote, _ := strings.Cut(pair, "/")
	return slices.Contains(currencies, base) || slices.Contains(currencies, quote)
}

// Quotes implements capability.Market.
func (d *Desk) Quotes(_ context.Context, cut portfolio.Cut, symbols, currencies []string) (portfolio.Quotes, error) {
	d.read(&cut)
	q := portfolio.Quotes{Prices: map[string]portfolio.Quote{}, FX: map[string]portfolio.Quote{}}
	last := func(quotes []portfolio.Quote, into map[string]portfolio.Quote, name string) {
		for _, x := range quotes {
			if !x.Date.After(cut.Date) {
				into[name] = x
			}
		}
	}
	for _, s := range symbols {
		if !d.Hidden["prices:"+s] {
			last(d.Sample.Prices[s], q.Prices, s)
		}
	}
	for pair, quotes := range d.Sample.FX {
		if !d.Hidden["fx:"+pair] && touches(pair, currencies) {
			last(quotes, q.FX, pair)
		}
	}
	return q, nil
}

// Series implements capability.Market.
func (d *Desk) Series(_ context.Context, cut portfolio.Cut, q portfolio.SeriesQuery) (portfolio.SeriesSet, error) {
	d.read(&cut)
	set := portfolio.SeriesSet{
		Prices: map[string]portfolio.Series{}, FX: map[string]portfolio.Series{}, Macro: map[string]portfolio.Series{},
	}
	add := func(s portfolio.Series, into map[string]portfolio.Series, name string) {
		var kept portfolio.Series
		for _, p := range s {
			if p.Date.After(cut.Date) {
				break
			}
			if !p.Date.After(q.From) {
				kept = kept[:0]
			}
			kept = append(kept, p)
		}
		if len(kept) > 0 {
			into[name] = kept
		}
	}
	floats := func(quotes []portfolio.Quote) portfolio.Series {
		s := make(portfolio.Series, len(quotes))
		for i, x := range quotes {
			s[i] = portfolio.Point{Date: x.Date, Value: x.Value.InexactFloat64()}
		}
		return s
	}
	for _, s := range q.Symbols {
		if !d.Hidden["prices:"+s] {
			add(floats(d.Sample.Prices[s]), set.Prices, s)
		}
	}
	for pair, quotes := range d.Sample.FX {
		if !d.Hidden["fx:"+pair] && touches(pair, q.Currencies) {
			add(floats(quotes), set.FX, pair)
		}
	}
	for _, m := range q.Macro {
		if !d.Hidden["macro:"+m] {
			add(d.Sample.Macro[m], set.Macro, m)
		}
	}
	return set, nil
}

// At returns the circumstances of a run over the desk's portfolio.
func (d *Desk) At(asof time.Time) agent.Context {
	return agent.Context{
		TenantID: "default", Asof: asof,
		PricingPack: agent.Pack{ID: PackID, Date: asof, Revision: 3},
		Portfolio: &agent.Portfolio{
			ID: PortfolioID, BaseCurrency: d.Subject.BaseCurrency, LedgerVersion: "v", LedgerSeq: int64(len(d.Ledger)),
		},
	}
}

// Split books a split of a security, and divides its closes from that day on.
func (d *Desk) Split(symbol string, day time.Time, ratio int64) {
	own := *d.Sample
	own.Prices = maps.Clone(own.Prices)
	quotes := slices.Clone(own.Prices[symbol])
	for i, q := range quotes {
		if !q.Date.Before(day) {
			quotes[i].Value = q.Value.Div(decimal.NewFromInt(ratio))
		}
	}
	own.Prices[symbol] = quotes
	d.Sample = &own
	d.Book(portfolio.Transaction{
		ID: idOf("split of " + symbol), Date: day, Type: portfolio.Split, Symbol: symbol, SecurityID: d.Sample.Securities[symbol].ID,
		Quantity: decimal.NewFromInt(ratio), Currency: d.Sample.Securities[symbol].Currency,
	})
	slices.SortStableFunc(d.Ledger, func(a, b portfolio.Transaction) int { return a.Date.Compare(b.Date) })
}

// Security returns a security of the sample.
func (d *Desk) Security(symbol string) portfolio.Security { return d.Sample.Securities[symbol] }

// Closes returns the sample's closes of a security up to a day, by date.
func (d *Desk) Closes(symbol string, asof time.Time) map[time.Time]float64 {
	return byDate(d.Sample.Prices[symbol], asof)
}

// Rates returns the sample's rates of a pair up to a day, by date.
func (d *Desk) Rates(pair string, asof time.Time) map[time.Time]float64 {
	return byDate(d.Sample.FX[pair], asof)
}

func byDate(quotes []portfolio.Quote, asof time.Time) map[time.Time]float64 {
	values := map[time.Time]float64{}
	for _, q := range quotes {
		if !q.Date.After(asof) {
			values[q.Date] = q.Value.InexactFloat64()
		}
	}
	return values
}

// Run asks one capability without checking what it is asked.
func (d *Desk) Run(c agent.Context, capability string, args map[string]any) (agent.Result, error) {
	i := slices.IndexFunc(d.Agents, func(k agent.Capability) bool { return k.Name == capability })
	if i < 0 {
		return agent.Result{}, fault.New(fault.NotFound, "no capability %s", capability)
	}
	return d.Agents[i].Run(context.Background(), agent.Request{Capability: capability, Args: args, Context: c})
}

// Ask is [Call] for an answer that must come, as its JSON.
func (d *Desk) Ask(t testing.TB, c agent.Context, capability string, args any) (map[string]any, agent.Result) {
	t.Helper()
	result, err := Call(t, d.Agents, c, capability, args)
	require.NoError(t, err)
	return Answer(t, result), result
}

// SecurityByID implements analyst.Market.
func (d *Desk) SecurityByID(_ context.Context, _ portfolio.Cut, id string) (portfolio.Security, error) {
	d.read(nil)
	for symbol, s := range d.Sample.Securities {
		if s.ID == id {
			if s, ok := d.security(symbol); ok {
				return s, nil
			}
		}
	}
	return portfolio.Security{}, fault.New(fault.NotFound, "there is no security %q", id)
}

// SecuritiesOfSector implements analyst.Market.
func (d *Desk) SecuritiesOfSector(ctx context.Context, cut portfolio.Cut, id, sector string, preferred []string, limit int) (own portfolio.Security, others []portfolio.Security, err error) {
	own, err = d.SecurityByID(ctx, cut, id)
	if err != nil {
		return own, nil, err
	}
	sector = cmp.Or(sector, own.Sector)
	for symbol := range d.Sample.Securities {
		if s, ok := d.security(symbol); ok && s.ID != id && sector != "" && s.Sector == sector {
			others = append(others, s)
		}
	}
	rank := func(s portfolio.Security) int {
		if slices.Contains(preferred, s.Symbol) {
			return 0
		}
		return 1
	}
	slices.SortFunc(others, func(a, b portfolio.Security) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Symbol, b.Symbol))
	})
	return own, others[:min(limit, len(others))], nil
}

// Fundamentals implements analyst.Market.
func (d *Desk) Fundamentals(_ context.Context, cut portfolio.Cut, securityID, _ string) ([]research.Fundamental, error) {
	d.read(&cut)
	var found []research.Fundamental
	for _, f := range d.Accounts {
		if f.SecurityID == securityID && !f.Date.After(cut.Date) {
			found = append(found, f)
		}
	}
	return found, nil
}
