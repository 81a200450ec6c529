// Package analyst is the agent financial_analyst: it reads a portfolio's ledger and a pricing
// pack and answers what is held, what it is worth and what it has earned.
//
// Arithmetic is in package portfolio; this package checks arguments, reads, and shapes answers.
// Each capability makes a fixed number of reads, whatever the portfolio holds.
package analyst

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Name is the agent's name in traces, metrics and breaker settings.
const Name = "financial_analyst"

// Options sets what the analyst measures with.
type Options struct {
	// RiskFreeSeries names the macro series of daily simple returns of bills, the risk-free rate
	// of a day unless the caller fixes one. "" means there is none.
	RiskFreeSeries string
}

// Analyst answers for one ledger and one market database.
type Analyst struct {
	ledger Ledger
	market Market
	opts   Options
}

var _ agent.Agent = (*Analyst)(nil)

// New returns an analyst that reads from ledger and market.
func New(ledger Ledger, market Market, opts Options) *Analyst {
	return &Analyst{ledger: ledger, market: market, opts: opts}
}

// Name implements agent.Agent.
func (*Analyst) Name() string { return Name }

// Capabilities implements agent.Agent. All are pure: what they read beyond their arguments can't
// change under the same tenant, as-of date, pack, portfolio and ledger version.
//
//   - Bookings are read up to the version's number; the ledger is append-only.
//   - Base currency, benchmark and calendar of a portfolio are part of its ledger version
//     (portfolio.Genesis).
//   - Prices, rates and macro values are read through the pack's date and revision; those tables are
//     append-only too.
//   - Securities have no revision. Their rows are never updated, and one that is added changes no
//     answer: bookings, benchmarks and calendars name only securities that are there already. Should
//     an import ever change a row, the three that read securities have to be agent.Reading until it
//     gives them a revision; a test watches over that.
//   - The risk-free series is an option of the process, which no cache outlives.
func (a *Analyst) Capabilities() []agent.Capability {
	return []agent.Capability{
		{
			Name: "ledger.positions",
			Description: "Open lots by security (FIFO) with quantity and cost, and cash by currency, " +
				"as of a date; decimal strings.",
			Args: json.RawMessage(positionsArgs), Result: json.RawMessage(positionsResult),
			Purity: agent.Pure, Cost: agent.Low,
			Run: a.positions,
		},
		{
			Name: "pricing.apply_pack",
			Description: "Values positions and cash at a pricing pack: base-currency amounts as decimal strings, " +
				"weights of the net asset value as fractions, unrealised profit at historical FX.",
			Args: json.RawMessage(applyPackArgs), Result: json.RawMessage(applyPackResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: a.applyPack,
		},
		{
			Name: "metrics.compute_twr",
			Description: "Time- and money-weighted return, volatility, Sharpe, Sortino, drawdown, VaR and benchmark " +
				"statistics over the last daily returns; fractions, annualised with 252 days.",
			Args: json.RawMessage(computeTWRArgs), Result: json.RawMessage(computeTWRResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: a.computeTWR,
		},
		{
			Name: "attribution.currency",
			Description: "Splits the return into local, currency, interaction and cost parts, by line; fractions. " +
				"Days are linked after Carino, or one period over the start holdings when a start date is given.",
			Args: json.RawMessage(currencyArgs), Result: json.RawMessage(currencyResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: a.attributeCurrency,
		},
	}
}

// subject returns the portfolio that the run is about. An argument that names another one is
// refused: access was decided, and the ledger version taken, for the run's.
func subject(req agent.Request, id string) (agent.Portfolio, error) {
	p := req.Context.Portfolio
	if p == nil {
		return agent.Portfolio{}, fault.InvalidField("/args/portfolio_id", "%s needs a portfolio, the run names none", req.Capability)
	}
	if !strings.EqualFold(id, p.ID) {
		return agent.Portfolio{}, fault.InvalidField("/args/portfolio_id",
			"%s was asked about portfolio %q within a run about %s", req.Capability, id, p.ID)
	}
	return *p, nil
}

// samePack refuses a pack other than the run's.
func samePack(req agent.Request, id string) error {
	if pack := req.Context.PricingPack.ID; !strings.EqualFold(id, pack) {
		return fault.New(fault.Invalid, "pack_id: %s was asked for pricing pack %q within a run that reads %s", req.Capability, id, pack)
	}
	return nil
}

// decode reads arguments into dst. What does not fit is the definition's or the caller's
// mistake, not a failure of the agent.
func decode(req agent.Request, dst any) error {
	err := agent.DecodeArgs(req, dst)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
		return fault.Wrap(err, fault.Invalid, "%s: argument %s can't be a JSON %s", req.Capability, e.Field, e.Value)
	}
	return fault.Wrap(err, fault.Invalid, "%s can't read its arguments", req.Capability)
}

// day reads an optional date argument that may not lie after the run's as-of date. It is the
// zero time when absent.
func day(req agent.Request, name string, value *string) (time.Time, error) {
	if value == nil {
		return time.Time{}, nil
	}
	d, err := time.Parse(time.DateOnly, *value)
	if err != nil {
		return time.Time{}, fault.InvalidField("/args/"+name, "%q is not a date such as 2007-05-08", *value)
	}
	if d.After(req.Context.Asof) {
		return time.Time{}, fault.InvalidField("/args/"+name, "%s is after the as-of date %s", *value, req.Context.Asof.Format(time.DateOnly))
	}
	return d, nil
}

// cut returns the market data that the run may read: its pack's, and nothing after its as-of
// date.
func cut(c agent.Context) portfolio.Cut {
	date := c.PricingPack.Date
	if c.Asof.Before(date) {
		date = c.Asof
	}
	return portfolio.Cut{TenantID: c.TenantID, Date: date, Revision: c.PricingPack.Revision}
}

// dossier is a portfolio's past and what it was read from.
type dossier struct {
	portfolio portfolio.Portfolio
	benchmark portfolio.Security // Symbol is "" when the portfolio has none or it is not listed
	history   *portfolio.History
	ledger    agent.Source
}

// open reads a portfolio's ledger and market data, and values it on every valuation day: four
// reads.
func (a *Analyst) open(ctx context.Context, req agent.Request, id string, macro ...string) (dossier, error) {
	run, err := subject(req, id)
	if err != nil {
		return dossier{}, err
	}
	c := req.Context
	p, err := a.ledger.Portfolio(ctx, c.TenantID, run.ID)
	if err != nil {
		return dossier{}, err
	}
	ledger, err := a.ledger.Transactions(ctx, c.TenantID, run.ID, run.LedgerSeq, c.Asof)
	if err != nil {
		return dossier{}, err
	}
	symbols := append(traded(ledger), p.Calendar)
	if p.Benchmark != "" {
		symbols = append(symbols, p.Benchmark)
	}
	slices.Sort(symbols)
	symbols = slices.Compact(symbols)
	securities, err := a.market.Securities(ctx, c.TenantID, symbols)
	if err != nil {
		return dossier{}, err
	}

	from := c.Asof
	if len(ledger) > 0 {
		from = ledger[0].Date
	}
	series, err := a.market.Series(ctx, cut(c), portfolio.SeriesQuery{
		From: from, Symbols: symbols, Currencies: currencies(p.BaseCurrency, ledger, securities), Macro: macro,
	})
	if err != nil {
		return dossier{}, err
	}
	h, err := portfolio.NewHistory(p, ledger, securities, series, c.Asof)
	if err != nil {
		return dossier{}, fault.Wrap(err, fault.Internal, "the ledger of portfolio %s can't be booked", run.ID)
	}
	return dossier{
		portfolio: p, benchmark: securities[p.Benchmark], history: h,
		ledger: ledgerSource(run.ID),
	}, nil
}

// sources lists what the dossier's figures were computed from so far.
func (d dossier) sources() []agent.Source {
	sources := []agent.Source{d.ledger}
	for _, o := range d.history.Used() {
		sources = append(sources, agent.Source{Name: o.Name, Asof: o.Date})
	}
	return sources
}

// ledgerSource names a ledger. It has no date: a ledger without recent bookings is not out of date.
func ledgerSource(id string) agent.Source { return agent.Source{Name: "ledger:" + id} }

// traded returns the symbols of the securities that a ledger mentions, sorted.
func traded(ledger []portfolio.Transaction) []string {
	symbols := map[string]bool{}
	for _, t := range ledger {
		if t.Type == portfolio.Buy || t.Type == portfolio.Sell {
			symbols[t.Symbol] = true
		}
	}
	return slices.Sorted(maps.Keys(symbols))
}

// currencies returns every currency that a valuation in base may have to convert, sorted.
func currencies(base string, ledger []portfolio.Transaction, securities map[string]portfolio.Security) []string {
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

const (
	defaultLookback = portfolio.YearDays
	maxLookback     = 10_000
)

// lookback returns the number of daily returns asked for.
func lookback(days *int) (int, error) {
	if days == nil {
		return defaultLookback, nil
	}
	if *days < 1 || *days > maxLookback {
		return 0, fault.InvalidField("/args/lookback_days", "%d is outside 1 to %d", *days, maxLookback)
	}
	return *days, nil
}

// cashSymbol names a cash line among securities.
func cashSymbol(currency string) string { return "CASH:" + currency }

func bySource(a, b agent.Source) int { return cmp.Compare(a.Name, b.Name) }
