// Package agenttest is the sample's market data in memory, for the tests of agents: a portfolio over
// it, with what a test wants hidden, changed or counted. It stands in for the database; the readers over
// PostgreSQL are tested where they are written.
package agenttest

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
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

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/research"
	"github.com/dawsos/dawsos/internal/schema"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Ids of the portfolio and the pack of a desk's runs.
const (
	PortfolioID = "0b9a7e52-4f9b-4c5e-8f5a-6f9b3e0c1d2a"
	PackID      = "7d1f0d1e-3c7b-4f0a-9a53-2f1f2c6c9b11"
	riskFree    = "FF_RF"
)

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

// sample is the market data of configs/sample, in memory. It stands in for the database here;
// the readers over PostgreSQL are tested where they are written.
type sample struct {
	securities map[string]portfolio.Security
	prices     map[string][]portfolio.Quote
	fx         map[string][]portfolio.Quote
	macro      map[string]portfolio.Series
}

var loadSample = sync.OnceValues(func() (*sample, error) {
	s := &sample{
		securities: map[string]portfolio.Security{},
		prices:     map[string][]portfolio.Quote{},
		fx:         map[string][]portfolio.Quote{},
		macro:      map[string]portfolio.Series{},
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
			s.securities[c["symbol"]] = portfolio.Security{
				ID: "id-" + c["symbol"], Symbol: c["symbol"], Name: c["name"], AssetClass: c["asset_class"],
				Sector: c["sector"], Currency: c["currency"], Role: c["role"],
			}
			return nil
		},
		"prices.csv": func(c map[string]string) error {
			q, err := quote(c["date"], c["close"])
			s.prices[c["symbol"]] = append(s.prices[c["symbol"]], q)
			return err
		},
		"fx.csv": func(c map[string]string) error {
			q, err := quote(c["date"], c["rate"])
			pair := c["base"] + "/" + c["quote"]
			s.fx[pair] = append(s.fx[pair], q)
			return err
		},
		"factors.csv": func(c map[string]string) error {
			q, err := quote(c["date"], c["rf"])
			s.macro[riskFree] = append(s.macro[riskFree], portfolio.Point{Date: q.Date, Value: q.Value.InexactFloat64()})
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
	*sample

	Subject portfolio.Portfolio
	Ledger  []portfolio.Transaction
	Hidden  map[string]bool               // "prices:AA", "fx:USD/CHF", "macro:FF_RF", "securities:AA"
	Changed map[string]portfolio.Security // attributes in place of the sample's, by symbol
	Agents  []agent.Capability            // what Ask can ask
	mu      sync.Mutex
	Reads   int
	Cuts    []portfolio.Cut
}

// New returns a desk over the sample's portfolio, or over an empty one.
func New(t testing.TB, empty bool) *Desk {
	t.Helper()
	s, err := loadSample()
	require.NoError(t, err)
	d := &Desk{
		sample: s, Hidden: map[string]bool{}, Changed: map[string]portfolio.Security{},
		Subject: portfolio.Portfolio{ID: PortfolioID, Name: "Test", BaseCurrency: "CHF", Benchmark: "LP40", Calendar: "SBI"},
	}
	if !empty {
		d.Ledger = readLedger(t, Configs("sample/demo_transactions.csv"), s)
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

func readLedger(t testing.TB, path string, s *sample) []portfolio.Transaction {
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
			Symbol: c["symbol"], SecurityID: s.securities[c["symbol"]].ID,
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

// Securities implements capability.Market.
func (d *Desk) Securities(_ context.Context, _ portfolio.Cut, symbols []string) (map[string]portfolio.Security, error) {
	d.read(nil)
	found := map[string]portfolio.Security{}
	for _, s := range symbols {
		security, ok := d.securities[s]
		if changed, is := d.Changed[s]; is {
			security, ok = changed, true
		}
		if ok && !d.Hidden["securities:"+s] {
			found[s] = security
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
			last(d.prices[s], q.Prices, s)
		}
	}
	for pair, quotes := range d.fx {
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
			add(floats(d.prices[s]), set.Prices, s)
		}
	}
	for pair, quotes := range d.fx {
		if !d.Hidden["fx:"+pair] && touches(pair, q.Currencies) {
			add(floats(quotes), set.FX, pair)
		}
	}
	for _, m := range q.Macro {
		if !d.Hidden["macro:"+m] {
			add(d.macro[m], set.Macro, m)
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
	own := *d.sample // which other tests share
	own.prices = maps.Clone(own.prices)
	quotes := slices.Clone(own.prices[symbol])
	for i, q := range quotes {
		if !q.Date.Before(day) {
			quotes[i].Value = q.Value.Div(decimal.NewFromInt(ratio))
		}
	}
	own.prices[symbol] = quotes
	d.sample = &own
	d.Book(portfolio.Transaction{
		Date: day, Type: portfolio.Split, Symbol: symbol, SecurityID: d.securities[symbol].ID,
		Quantity: decimal.NewFromInt(ratio), Currency: d.securities[symbol].Currency,
	})
	slices.SortStableFunc(d.Ledger, func(a, b portfolio.Transaction) int { return a.Date.Compare(b.Date) })
}

// Security returns a security of the sample.
func (d *Desk) Security(symbol string) portfolio.Security { return d.securities[symbol] }

// Closes returns the sample's closes of a security up to a day, by date.
func (d *Desk) Closes(symbol string, asof time.Time) map[time.Time]float64 {
	return byDate(d.prices[symbol], asof)
}

// Rates returns the sample's rates of a pair up to a day, by date.
func (d *Desk) Rates(pair string, asof time.Time) map[time.Time]float64 {
	return byDate(d.fx[pair], asof)
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

// Run asks one capability.
func (d *Desk) Run(c agent.Context, capability string, args map[string]any) (agent.Result, error) {
	i := slices.IndexFunc(d.Agents, func(k agent.Capability) bool { return k.Name == capability })
	if i < 0 {
		return agent.Result{}, fault.New(fault.NotFound, "no capability %s", capability)
	}
	return d.Agents[i].Run(context.Background(), agent.Request{Capability: capability, Args: args, Context: c})
}

// Ask is Run for an answer that must come, as its JSON. Arguments and answer must fit what the
// capability declares.
func (d *Desk) Ask(t testing.TB, c agent.Context, capability string, args map[string]any) (map[string]any, agent.Result) {
	t.Helper()
	i := slices.IndexFunc(d.Agents, func(k agent.Capability) bool { return k.Name == capability })
	require.GreaterOrEqual(t, i, 0, capability)
	declared, err := schema.Compile(d.Agents[i].Args)
	require.NoError(t, err)
	given, ok := jsonOf(t, args).(map[string]any)
	require.True(t, ok)
	maps.DeleteFunc(given, func(_ string, v any) bool { return v == nil })
	require.Empty(t, schema.Violations(declared, "", given), "arguments of %s", capability)
	result, err := d.Run(c, capability, given)
	require.NoError(t, err)
	declared, err = schema.Compile(d.Agents[i].Result)
	require.NoError(t, err)
	value := jsonOf(t, result.Value)
	require.Empty(t, schema.Violations(declared, "", value), "result of %s", capability)
	answer, ok := value.(map[string]any)
	require.True(t, ok)
	return answer, result
}

// Violations returns what a capability's schema says of arguments, by pointer.
func (d *Desk) Violations(t testing.TB, capability string, args map[string]any) []string {
	t.Helper()
	i := slices.IndexFunc(d.Agents, func(k agent.Capability) bool { return k.Name == capability })
	require.GreaterOrEqual(t, i, 0, capability)
	declared, err := schema.Compile(d.Agents[i].Args)
	require.NoError(t, err)
	var pointers []string
	for _, f := range schema.Violations(declared, "", jsonOf(t, args)) {
		pointers = append(pointers, f.Pointer)
	}
	return pointers
}

func jsonOf(t testing.TB, v any) any {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var value any
	require.NoError(t, dec.Decode(&value))
	return value
}

// Float reads a JSON number or decimal string.
func Float(t testing.TB, v any) float64 {
	t.Helper()
	var s string
	switch v := v.(type) {
	case json.Number:
		s = v.String()
	case string:
		s = v
	default:
		require.Failf(t, "not a number", "%v (%T)", v, v)
	}
	f, err := strconv.ParseFloat(s, 64)
	require.NoError(t, err)
	return f
}

// Rows returns a list of objects.
func Rows(t testing.TB, v any) []map[string]any {
	t.Helper()
	list, ok := v.([]any)
	require.True(t, ok, "%v is no list", v)
	rows := make([]map[string]any, len(list))
	for i, x := range list {
		rows[i], ok = x.(map[string]any)
		require.True(t, ok)
	}
	return rows
}

// Lacking lists an answer's insufficient data as "field: missing".
func Lacking(t testing.TB, answer map[string]any) []string {
	t.Helper()
	all := []string{}
	for _, i := range Rows(t, answer["insufficient_data"]) {
		all = append(all, i["field"].(string)+": "+i["missing"].(string))
	}
	return all
}

// SecurityByID implements analyst.Market.
func (d *Desk) SecurityByID(_ context.Context, _ portfolio.Cut, id string) (portfolio.Security, error) {
	for _, s := range d.securities {
		if s.ID == id {
			return s, nil
		}
	}
	return portfolio.Security{}, fault.New(fault.NotFound, "there is no security %q", id)
}

// SecuritiesOfSector implements analyst.Market, without others.
func (d *Desk) SecuritiesOfSector(ctx context.Context, cut portfolio.Cut, id, _ string, _ []string, _ int) (portfolio.Security, []portfolio.Security, error) {
	own, err := d.SecurityByID(ctx, cut, id)
	return own, nil, err
}

// Fundamentals implements analyst.Market: the sample data has none.
func (*Desk) Fundamentals(context.Context, portfolio.Cut, string, string) ([]research.Fundamental, error) {
	return nil, nil
}
