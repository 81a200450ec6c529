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

	"github.com/dawsos/dawsos/internal/agents/capability"

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
	ledger capability.Ledger
	market capability.Market
	opts   Options
}

var _ agent.Agent = (*Analyst)(nil)

// New returns an analyst that reads from ledger and market.
func New(ledger capability.Ledger, market capability.Market, opts Options) *Analyst {
	return &Analyst{ledger: ledger, market: market, opts: opts}
}

// Name implements agent.Agent.
func (*Analyst) Name() string { return Name }

// Capabilities implements agent.Agent. All are pure: what they read beyond their arguments can't
// change under the same tenant, as-of date, pack, portfolio and ledger version.
//
//   - Bookings are read up to the version's number; the ledger is append-only.
//   - Base currency, benchmark, calendar and cost method of a portfolio are part of its ledger version
//     (portfolio.Genesis).
//   - Prices, rates and macro values are read through the pack's date and revision; those tables are
//     append-only too.
//   - Securities are read through the cut too: their attributes have revisions.
//   - The risk-free series is an option of the process, which no cache outlives.
func (a *Analyst) Capabilities() []agent.Capability {
	return []agent.Capability{
		{
			Name: "ledger.positions",
			Description: "Open lots by security, FIFO or at average cost, with quantity and cost, and cash by currency, " +
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

// open reads the run's portfolio with its past.
func (a *Analyst) open(ctx context.Context, req agent.Request, id string, macro ...string) (capability.Dossier, error) {
	return capability.Open(ctx, a.ledger, a.market, req, id, capability.Wanted{Macro: macro})
}

func bySource(a, b agent.Source) int { return cmp.Compare(a.Name, b.Name) }
