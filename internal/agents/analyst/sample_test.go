package analyst_test

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/factor"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/research"
	"github.com/dawsos/dawsos/internal/schema"
	"github.com/dawsos/dawsos/pkg/agent"
)

const (
	sampleDir    = "../../../configs/sample"
	testdataDir  = "../../portfolio/testdata"
	portfolioID  = "0b9a7e52-4f9b-4c5e-8f5a-6f9b3e0c1d2a"
	packID       = "7d1f0d1e-3c7b-4f0a-9a53-2f1f2c6c9b11"
	riskFreeName = "FF_RF"
)

func day(t testing.TB, s string) time.Time {
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

// idOf is a security's id in these tests.
func idOf(symbol string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(symbol)).String()
}

var loadFactors = sync.OnceValues(func() (factor.Model, error) { return factor.Load("../../../configs/analytics") })

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
				ID: idOf(c["symbol"]), Symbol: c["symbol"], Name: c["name"], AssetClass: c["asset_class"],
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
			s.macro[riskFreeName] = append(s.macro[riskFreeName], portfolio.Point{Date: q.Date, Value: q.Value.InexactFloat64()})
			return err
		},
	}
	for name, row := range files {
		if err := readCSV(filepath.Join(sampleDir, name), row); err != nil {
			return nil, err
		}
	}
	return s, nil
})

// desk is one portfolio over the sample's market data, with what a test wants hidden from it.
type desk struct {
	*sample

	portfolio portfolio.Portfolio
	ledger    []portfolio.Transaction
	riskFree  string // the analyst's series
	factors   factor.Model
	accounts  []research.Fundamental
	hidden    map[string]bool // "prices:AA", "fx:USD/CHF", "macro:FF_RF", "securities:AA"

	mu    sync.Mutex
	reads int
	cuts  []portfolio.Cut
}

func newDesk(t testing.TB, ledger string) *desk {
	t.Helper()
	s, err := loadSample()
	require.NoError(t, err)
	factors, err := loadFactors()
	require.NoError(t, err)
	d := &desk{
		sample: s, factors: factors, riskFree: riskFreeName, hidden: map[string]bool{},
		portfolio: portfolio.Portfolio{ID: portfolioID, Name: "Test", BaseCurrency: "CHF", Benchmark: "LP40", Calendar: "SBI"},
	}
	if ledger != "" {
		d.ledger = readLedger(t, ledger, s)
	}
	return d
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
			Seq: int64(len(ledger) + 1), Date: day(t, c["date"]), Type: portfolio.Type(c["type"]),
			ID:     uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, len(ledger)+1)).String(),
			Symbol: c["symbol"], SecurityID: s.securities[c["symbol"]].ID,
			Quantity: number(c["quantity"]), Price: number(c["price"]),
			Currency: c["currency"], Amount: number(c["amount"]),
		})
		return nil
	}))
	return ledger
}

func (d *desk) read(cut *portfolio.Cut) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reads++
	if cut != nil {
		d.cuts = append(d.cuts, *cut)
	}
}

func (d *desk) Portfolio(_ context.Context, _, id string) (portfolio.Portfolio, error) {
	d.read(nil)
	if id != d.portfolio.ID {
		return portfolio.Portfolio{}, fault.New(fault.NotFound, "portfolio %s not found", id)
	}
	return d.portfolio, nil
}

func (d *desk) Transactions(_ context.Context, _, _ string, seq int64, asof time.Time) ([]portfolio.Transaction, error) {
	d.read(nil)
	var found []portfolio.Transaction
	for _, t := range d.ledger {
		if t.Seq <= seq && !t.Date.After(asof) {
			found = append(found, t)
		}
	}
	return found, nil
}

func (d *desk) Securities(_ context.Context, _ portfolio.Cut, symbols []string) (map[string]portfolio.Security, error) {
	d.read(nil)
	found := map[string]portfolio.Security{}
	for _, s := range symbols {
		if security, ok := d.securities[s]; ok && !d.hidden["securities:"+s] {
			found[s] = security
		}
	}
	return found, nil
}

func (d *desk) SecurityByID(_ context.Context, _ portfolio.Cut, id string) (portfolio.Security, error) {
	d.read(nil)
	for _, s := range d.securities {
		if s.ID == id && !d.hidden["securities:"+s.Symbol] {
			return s, nil
		}
	}
	return portfolio.Security{}, fault.New(fault.NotFound, "there is no security %q", id)
}

func (d *desk) SecuritiesOfSector(_ context.Context, _ portfolio.Cut, id, sector string, preferred []string, limit int) (own portfolio.Security, others []portfolio.Security, err error) {
	d.read(nil)
	for _, s := range d.securities {
		if s.ID == id {
			own = s
		}
	}
	if own.ID == "" {
		return own, nil, fault.New(fault.NotFound, "there is no security %q", id)
	}
	sector = cmp.Or(sector, own.Sector)
	for _, s := range d.securities {
		if s.ID != id && sector != "" && s.Sector == sector {
			others = append(others, s)
		}
	}
	held := func(s portfolio.Security) int {
		if slices.Contains(preferred, s.Symbol) {
			return 0
		}
		return 1
	}
	slices.SortFunc(others, func(a, b portfolio.Security) int {
		return cmp.Or(cmp.Compare(held(a), held(b)), cmp.Compare(a.Symbol, b.Symbol))
	})
	return own, others[:min(limit, len(others))], nil
}

func (d *desk) Fundamentals(_ context.Context, cut portfolio.Cut, securityID, _ string) ([]research.Fundamental, error) {
	d.read(&cut)
	var found []research.Fundamental
	for _, f := range d.accounts {
		if f.SecurityID == securityID && !f.Date.After(cut.Date) {
			found = append(found, f)
		}
	}
	return found, nil
}

func touches(pair string, currencies []string) bool {
	base, quote, _ := strings.Cut(pair, "/")
	return slices.Contains(currencies, base) || slices.Contains(currencies, quote)
}

func (d *desk) Quotes(_ context.Context, cut portfolio.Cut, symbols, currencies []string) (portfolio.Quotes, error) {
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
		if !d.hidden["prices:"+s] {
			last(d.prices[s], q.Prices, s)
		}
	}
	for pair, quotes := range d.fx {
		if !d.hidden["fx:"+pair] && touches(pair, currencies) {
			last(quotes, q.FX, pair)
		}
	}
	return q, nil
}

func (d *desk) Series(_ context.Context, cut portfolio.Cut, q portfolio.SeriesQuery) (portfolio.SeriesSet, error) {
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
		if !d.hidden["prices:"+s] {
			add(floats(d.prices[s]), set.Prices, s)
		}
	}
	for pair, quotes := range d.fx {
		if !d.hidden["fx:"+pair] && touches(pair, q.Currencies) {
			add(floats(quotes), set.FX, pair)
		}
	}
	for _, m := range q.Macro {
		if !d.hidden["macro:"+m] {
			add(d.macro[m], set.Macro, m)
		}
	}
	return set, nil
}

// at returns the circumstances of a run over the desk's portfolio.
func (d *desk) at(asof time.Time) agent.Context {
	return agent.Context{
		TenantID: "default", Asof: asof,
		PricingPack: agent.Pack{ID: packID, Date: asof, Revision: 3},
		Portfolio: &agent.Portfolio{
			ID: portfolioID, BaseCurrency: d.portfolio.BaseCurrency, LedgerVersion: "v", LedgerSeq: int64(len(d.ledger)),
		},
	}
}

// run asks one capability.
func (d *desk) run(c agent.Context, capability string, args map[string]any) (agent.Result, error) {
	a := analyst.New(d, d, analyst.Options{RiskFreeSeries: d.riskFree, Factors: d.factors})
	for _, k := range a.Capabilities() {
		if k.Name == capability {
			return k.Run(context.Background(), agent.Request{Capability: capability, Args: args, Context: c})
		}
	}
	return agent.Result{}, fault.New(fault.NotFound, "no capability %s", capability)
}

// ask is run for an answer that must come, as its JSON. Arguments and answer must fit what the
// capability declares.
func (d *desk) ask(t testing.TB, c agent.Context, capability string, args map[string]any) (map[string]any, agent.Result) {
	t.Helper()
	declared := declaration(t, capability)
	require.Empty(t, schema.Violations(declared.args, "", given(t, args)), "arguments of %s", capability)
	result, err := d.run(c, capability, args)
	require.NoError(t, err)
	require.Empty(t, schema.Violations(declared.result, "", jsonOf(t, result.Value)), "result of %s", capability)
	raw, err := json.Marshal(result.Value)
	require.NoError(t, err)
	var answer map[string]any
	require.NoError(t, json.Unmarshal(raw, &answer))
	return answer, result
}

// value runs ledger.positions and pricing.apply_pack, as the pattern does.
func (d *desk) value(t testing.TB, c agent.Context) (map[string]any, agent.Result) {
	t.Helper()
	held, _ := d.ask(t, c, "ledger.positions", map[string]any{"portfolio_id": portfolioID})
	return d.ask(t, c, "pricing.apply_pack", map[string]any{
		"positions": held["positions"], "cash": held["cash"], "pack_id": packID,
	})
}

func over(days int) map[string]any {
	return map[string]any{"portfolio_id": portfolioID, "pack_id": packID, "lookback_days": days}
}

// float reads a JSON number or decimal string.
func float(t testing.TB, v any) float64 {
	t.Helper()
	switch v := v.(type) {
	case float64:
		return v
	case string:
		f, err := strconv.ParseFloat(v, 64)
		require.NoError(t, err)
		return f
	}
	require.Failf(t, "not a number", "%v (%T)", v, v)
	return 0
}

// Alert rules must see what portfolio_overview shows.
func TestFiguresAgreeWithTheOverview(t *testing.T) {
	t.Parallel()
	d := newDesk(t, demo)
	c := d.at(day(t, "2007-05-08"))
	answer, _ := d.ask(t, c, "metrics.compute_twr", over(portfolio.YearDays))
	figures, err := analyst.New(d, d, analyst.Options{RiskFreeSeries: d.riskFree, Factors: d.factors}).Figures(t.Context(), c)
	require.NoError(t, err)
	benchmark, ok := answer["benchmark"].(map[string]any)
	require.True(t, ok)
	for name, shown := range map[string]any{
		"twr_1y": answer["twr"], "volatility_1y": answer["volatility"], "sharpe_1y": answer["sharpe_ratio"],
		"sortino_1y": answer["sortino_ratio"], "max_drawdown_1y": answer["max_drawdown"], "var_95_1y": answer["var_95"],
		"es_95_1y": answer["es_95"], "mwr_1y": answer["mwr_window"], "mwr_inception_ann": answer["mwr_since_inception"],
		"beta_1y": benchmark["beta"], "alpha_1y": benchmark["alpha"], "correlation_1y": benchmark["correlation"],
		"tracking_error_1y": benchmark["tracking_error"], "information_ratio_1y": benchmark["information_ratio"],
	} {
		require.NoError(t, figures[name].Err, name)
		require.InDelta(t, float(t, shown), figures[name].Value, 1e-15, name)
	}
	require.InDelta(t, 1_444_808.19, figures["nav"].Value, 0.01)
	_, err = analyst.New(d, d, analyst.Options{}).Figures(t.Context(), agent.Context{})
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
}
