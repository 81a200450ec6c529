// Package optimizer is the agent optimizer: trades that bring a portfolio towards a policy within
// limits, what trades would change, and hedges that are measured instead of assumed.
//
// Arithmetic is in package rebalance; this package checks arguments, reads, and shapes answers. Each
// capability makes four reads, whatever the portfolio holds.
package optimizer

import (
	"encoding/json"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/rebalance"
	"github.com/dawsos/dawsos/internal/scenario"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Name is the agent's name in traces, metrics and breaker settings.
const Name = "optimizer"

// Tables are the agent's configuration.
type Tables struct {
	Rules   *rebalance.Rules
	Hedges  *rebalance.Hedges
	Library *scenario.Library // tells whether a hedge would gain in a scenario
}

// Optimizer answers for one ledger and one market database.
type Optimizer struct {
	ledger capability.Ledger
	market capability.Market
	tables Tables
}

var _ agent.Agent = (*Optimizer)(nil)

// New returns an optimizer that reads from ledger and market.
func New(ledger capability.Ledger, market capability.Market, tables Tables) *Optimizer {
	return &Optimizer{ledger: ledger, market: market, tables: tables}
}

// Name implements agent.Agent.
func (*Optimizer) Name() string { return Name }

// Capabilities implements agent.Agent. All are pure for the reasons that the financial analyst's are;
// the tables are options of the process, which no cache outlives.
func (o *Optimizer) Capabilities() []agent.Capability {
	return []agent.Capability{
		{
			Name: "optimizer.propose_trades",
			Description: "Trades that bring positions towards policies (target weights, bands, limits, ratings) within turnover, " +
				"tracking error, lots and cash, with their cost; amounts are decimal strings, shares fractions.",
			Args: json.RawMessage(proposeArgs), Result: json.RawMessage(proposeResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: o.propose,
		},
		{
			Name: "optimizer.analyze_impact",
			Description: "What trades would change: value, cash, weights, concentration, volatility and tracking error before " +
				"and after; amounts are decimal strings, shares fractions.",
			Args: json.RawMessage(impactArgs), Result: json.RawMessage(impactResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: o.impact,
		},
		{
			Name: "optimizer.suggest_hedges",
			Description: "Least-variance hedges among configured securities, with the share of variance they would have taken away " +
				"and their cost, none that would lose in the scenario; amounts are decimal strings, shares fractions.",
			Args: json.RawMessage(hedgesArgs), Result: json.RawMessage(hedgesResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: o.suggestHedges,
		},
		{
			Name:        "optimizer.suggest_deleveraging_hedges",
			Description: "Hedges as optimizer.suggest_hedges suggests them, for each of several deleveraging scenarios.",
			Args:        json.RawMessage(deleveragingHedgesArgs), Result: json.RawMessage(deleveragingHedgesResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: o.suggestDeleveragingHedges,
		},
	}
}
