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
	"github.com/dawsos/dawsos/internal/factor"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/research"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Name is the agent's name in traces, metrics and breaker settings.
const Name = "financial_analyst"

// Options sets what the analyst measures with.
type Options struct {
	// RiskFreeSeries names the macro series of daily simple returns of bills, the risk-free rate
	// of a day unless the caller fixes one. "" means there is none.
	RiskFreeSeries string
	// Factors is what the returns are regressed on. The zero model has none: the capabilities that need
	// them say so.
	Factors factor.Model
}

// Market reads what a pricing pack holds, of securities that the portfolio has and of others.
type Market interface {
	capability.Market
	// SecurityByID returns fault.NotFound when the cut knows none with this id.
	SecurityByID(ctx context.Context, cut portfolio.Cut, id string) (portfolio.Security, error)
	// SecuritiesOfSector returns the security and up to limit others of a sector, "" being its own: first
	// those with the preferred symbols, then by symbol.
	SecuritiesOfSector(ctx context.Context, cut portfolio.Cut, id, sector string, preferred []string, limit int) (own portfolio.Security, others []portfolio.Security, err error)
	// Fundamentals returns the newest figure of every metric of every provider, in their order; "" means
	// all providers.
	Fundamentals(ctx context.Context, cut portfolio.Cut, securityID, provider string) ([]research.Fundamental, error)
}

// Analyst answers for one ledger and one market database.
type Analyst struct {
	ledger capability.Ledger
	market Market
	opts   Options
}

var _ agent.Agent = (*Analyst)(nil)

// New returns an analyst that reads from ledger and market.
func New(ledger capability.Ledger, market Market, opts Options) *Analyst {
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
//   - The risk-free series and the factors are options of the process, which no cache outlives.
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
			Description: "Splits the return into local, currency, interaction and cost parts, by line, days linked after Carino or as one " +
				"period over the holdings of a start date; fractions.",
			Args: json.RawMessage(currencyArgs), Result: json.RawMessage(currencyResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: a.attributeCurrency,
		},
		{
			Name:        "metrics.compute",
			Description: "One figure of a portfolio by its name, as alert rules watch it; a fraction, or base currency for nav.",
			Args:        json.RawMessage(computeArgs()), Result: json.RawMessage(computeResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: a.compute,
		},
		{
			Name:        "metrics.compute_sharpe",
			Description: "The Sharpe ratio over the last daily returns and the rate that it is measured against; annualised with 252 days.",
			Args:        json.RawMessage(computeTWRArgs), Result: json.RawMessage(computeSharpeResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: a.computeSharpe,
		},
		{
			Name: "metrics.history",
			Description: "Net asset value, daily return, compounded value, drawdown and the benchmark's compounded value " +
				"by valuation day; base currency and fractions.",
			Args: json.RawMessage(windowArgs), Result: json.RawMessage(historyResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: a.history,
		},
		{
			Name: "get_position_details",
			Description: "What is held of a security: quantity, average cost, price, value, weight and unrealised profit; " +
				"decimal strings, weight as a fraction.",
			Args: json.RawMessage(positionArgs), Result: json.RawMessage(positionDetailsResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: a.positionDetails,
		},
		{
			Name: "compute_position_return",
			Description: "Total return in base currency of holding a security over the last valuation days, with volatility, " +
				"Sharpe ratio, drawdown and recovery; fractions.",
			Args: json.RawMessage(positionReturnArgs), Result: json.RawMessage(positionReturnResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: a.positionReturn,
		},
		{
			Name: "compute_portfolio_contribution",
			Description: "What a security, every other line and costs contributed to the portfolio's time-weighted return; " +
				"fractions that sum to it (Carino).",
			Args: json.RawMessage(positionWindowArgs), Result: json.RawMessage(contributionResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: a.contribution,
		},
		{
			Name: "compute_position_currency_attribution",
			Description: "Splits a security's return in base currency into local, currency and interaction, and its " +
				"contribution to the portfolio's return likewise; fractions.",
			Args: json.RawMessage(positionWindowArgs), Result: json.RawMessage(positionCurrencyResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: a.positionCurrency,
		},
		{
			Name: "compute_position_risk",
			Description: "A security's beta and correlation to the portfolio and its one-day value at risk, and what each line " +
				"adds to the value at risk of the current holdings; fractions, losses positive.",
			Args: json.RawMessage(positionWindowArgs), Result: json.RawMessage(positionRiskResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: a.positionRisk,
		},
		{
			Name:        "get_transaction_history",
			Description: "What was booked of a security, newest first; decimal strings.",
			Args:        json.RawMessage(transactionsArgs), Result: json.RawMessage(transactionsResult),
			Purity: agent.Pure, Cost: agent.Low,
			Run: a.transactions,
		},
		{
			Name:        "get_security_fundamentals",
			Description: "The newest stored figures of a company's accounts by provider and metric, in the units of docs/analytics/ratings.md, with the security's sector.",
			Args:        json.RawMessage(fundamentalsArgs), Result: json.RawMessage(fundamentalsResult),
			Purity: agent.Pure, Cost: agent.Low,
			Run: a.fundamentals,
		},
		{
			Name: "get_comparable_positions",
			Description: "Other securities of a sector, held ones first, with their weight in the portfolio and their return " +
				"over a year in base currency; fractions.",
			Args: json.RawMessage(comparablesArgs), Result: json.RawMessage(comparablesResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: a.comparables,
		},
		{
			Name: "risk.compute_factor_exposures",
			Description: "Betas of the portfolio's daily returns to the configured factors by ordinary least squares, with " +
				"standard errors and each factor's share of the variance; alpha is daily, residual volatility a year's.",
			Args: json.RawMessage(exposuresArgs), Result: json.RawMessage(exposuresResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: a.factorExposures,
		},
		{
			Name:        "risk.get_factor_exposure_history",
			Description: "The regression on the configured factors as of the end of each of the last weeks: betas with standard errors, of daily returns.",
			Args:        json.RawMessage(exposureHistoryArgs), Result: json.RawMessage(exposureHistoryResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: a.factorExposureHistory,
		},
		{
			Name: "risk.overlay_cycle_phases",
			Description: "How much more or less than usual each factor varied in the present phase of the cycles, ranked; " +
				"ratios of yearly volatilities.",
			Args: json.RawMessage(overlayArgs), Result: json.RawMessage(overlayResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: a.overlayCyclePhases,
		},
	}
}

// open reads the run's portfolio with its past.
func (a *Analyst) open(ctx context.Context, req agent.Request, id string, macro ...string) (capability.Dossier, error) {
	return capability.Open(ctx, a.ledger, a.market, req, id, capability.Wanted{Macro: macro})
}

func bySource(a, b agent.Source) int { return cmp.Compare(a.Name, b.Name) }
