package capability

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Dossier is a portfolio's past and what it was read from. Like its History it is not safe for
// concurrent use.
type Dossier struct {
	Portfolio  portfolio.Portfolio
	Securities map[string]portfolio.Security // traded ones, benchmark, calendar and what Wanted named, by symbol
	History    *portfolio.History
	Series     portfolio.SeriesSet     // all that was read
	Ledger     []portfolio.Transaction // the bookings that count: see portfolio.Effective
}

// Wanted is what a dossier holds beyond the portfolio's own series.
type Wanted struct {
	Macro   []string // macro series, by name
	Symbols []string // securities, whether held or not
	// Currencies are those of further FX pairs: every pair with one of them on either side.
	Currencies []string
	// Returns is how many daily returns market data must reach back before the as-of date, however
	// young the portfolio is; see Dossier.Market.
	Returns int
}

// Open reads the run's portfolio, its ledger and market data, and values it on every valuation day:
// four reads, whatever it holds.
func Open(ctx context.Context, ledger Ledger, market Market, req agent.Request, id string, wanted Wanted) (Dossier, error) {
	run, err := Subject(req, id)
	if err != nil {
		return Dossier{}, err
	}
	c := req.Context
	p, err := ledger.Portfolio(ctx, c.TenantID, run.ID)
	if err != nil {
		return Dossier{}, err
	}
	txs, err := ledger.Transactions(ctx, c.TenantID, run.ID, run.LedgerSeq, c.Asof)
	if err != nil {
		return Dossier{}, err
	}
	if txs, err = portfolio.Effective(txs); err != nil {
		return Dossier{}, fault.Wrap(err, fault.Internal, "the ledger of portfolio %s can't be booked", run.ID)
	}
	symbols := append(Traded(txs), p.Calendar)
	symbols = append(symbols, wanted.Symbols...)
	if p.Benchmark != "" {
		symbols = append(symbols, p.Benchmark)
	}
	slices.Sort(symbols)
	symbols = slices.Compact(symbols)
	securities, err := market.Securities(ctx, Cut(c), symbols)
	if err != nil {
		return Dossier{}, err
	}

	from := c.Asof
	if len(txs) > 0 {
		from = txs[0].Date
	}
	if wanted.Returns > 0 {
		if since := c.Asof.AddDate(0, 0, -daysFor(wanted.Returns)); since.Before(from) {
			from = since
		}
	}
	series, err := market.Series(ctx, Cut(c), portfolio.SeriesQuery{
		From: from, Symbols: symbols, Macro: wanted.Macro,
		Currencies: append(Currencies(p.BaseCurrency, txs, securities), wanted.Currencies...),
	})
	if err != nil {
		return Dossier{}, err
	}
	h, err := portfolio.NewHistory(p, txs, securities, series, c.Asof)
	if err != nil {
		return Dossier{}, fault.Wrap(err, fault.Internal, "the ledger of portfolio %s can't be booked", run.ID)
	}
	return Dossier{Portfolio: p, Securities: securities, History: h, Series: series, Ledger: txs}, nil
}

// Sources lists what the dossier's figures were computed from so far.
func (d Dossier) Sources() []agent.Source {
	sources := []agent.Source{LedgerSource(d.Portfolio.ID)}
	for _, o := range d.History.Used() {
		sources = append(sources, agent.Source{Name: o.Name, Asof: o.Date})
	}
	return sources
}

var errNoBenchmark = portfolio.Short("benchmark", "the portfolio has no benchmark")

// NoBenchmark is why a portfolio without a benchmark can't be measured against it.
func NoBenchmark() error { return errNoBenchmark }

// Benchmark returns the portfolio's benchmark.
func (d Dossier) Benchmark() (portfolio.Security, error) {
	symbol := d.Portfolio.Benchmark
	if symbol == "" {
		return portfolio.Security{}, errNoBenchmark
	}
	benchmark, listed := d.Securities[symbol]
	if !listed {
		return portfolio.Security{}, portfolio.Short("securities:"+symbol, "the benchmark is not a listed security")
	}
	return benchmark, nil
}

// BenchmarkReturns returns the benchmark's daily returns in the portfolio's base currency.
func (d Dossier) BenchmarkReturns(w portfolio.Window) ([]float64, error) {
	benchmark, err := d.Benchmark()
	if err != nil {
		return nil, err
	}
	return d.History.SecurityReturns(benchmark, w)
}

// Window is a span of daily returns as answers describe it.
type Window struct {
	Start   string `json:"start"` // day of the first valuation
	End     string `json:"end"`
	Returns int    `json:"returns"` // number of daily returns
}

// Describe says which days a window spans.
func Describe(h *portfolio.History, w portfolio.Window) *Window {
	return &Window{
		Start:   h.Days[w.Start].Format(time.DateOnly),
		End:     h.Days[w.End].Format(time.DateOnly),
		Returns: w.Len(),
	}
}

// Shorter warns when there are fewer returns than asked for.
func Shorter(h *portfolio.History, w portfolio.Window, days int) []string {
	if w.Len() >= days {
		return nil
	}
	return []string{fmt.Sprintf("The window holds %d daily returns instead of %d: the portfolio is first valued on %s.",
		w.Len(), days, h.Days[w.Start].Format(time.DateOnly))}
}

// Traded returns the symbols of the securities that a ledger mentions, sorted.
func Traded(ledger []portfolio.Transaction) []string {
	symbols := map[string]bool{}
	for _, t := range ledger {
		if t.Type.OfSecurity() {
			symbols[t.Symbol] = true
		}
	}
	return slices.Sorted(maps.Keys(symbols))
}

// Currencies returns every currency that a valuation in base may have to convert, sorted.
func Currencies(base string, ledger []portfolio.Transaction, securities map[string]portfolio.Security) []string {
	set := map[string]bool{base: true}
	for _, t := range ledger {
		set[t.Currency] = true
		if t.Type == portfolio.FX {
			received, _, _ := strings.Cut(t.Symbol, "/")
			set[received] = true
		}
	}
	for _, s := range securities {
		set[s.Currency] = true
	}
	return slices.Sorted(maps.Keys(set))
}
