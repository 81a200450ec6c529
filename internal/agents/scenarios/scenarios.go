// Package scenarios is what the agent macro_hound knows about losses: what a portfolio would lose under
// assumed shocks, and how deep it has been below its highs.
//
// Arithmetic is in package scenario; this package checks arguments, reads, and shapes answers. Each
// capability makes four reads, whatever the portfolio holds.
package scenarios

import (
	"encoding/json"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/scenario"
	"github.com/dawsos/dawsos/pkg/agent"
)

type desk struct {
	ledger  capability.Ledger
	market  capability.Market
	library *scenario.Library
}

// Capabilities returns macro.compute_dar, macro.run_scenario and scenarios.deleveraging_<id> for each of
// scenario.DeleveragingIDs. They are pure for the reasons that the financial analyst's are; the library
// is an option of the process, which no cache outlives.
func Capabilities(ledger capability.Ledger, market capability.Market, library *scenario.Library) []agent.Capability {
	d := &desk{ledger: ledger, market: market, library: library}
	all := []agent.Capability{
		{
			Name: "macro.compute_dar",
			Description: "Drawdown at risk: the quantile of the drawdowns of the last daily returns, and the mean of " +
				"those at or beyond it; positive fractions.",
			Args: json.RawMessage(darArgs), Result: json.RawMessage(darResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: d.computeDaR,
		},
		{
			Name: "macro.run_scenario",
			Description: "What the portfolio would gain or lose under a scenario of the library or shocks of one's own, by " +
				"position and shock, with the exposures that can't be mapped; base-currency amounts as decimal strings.",
			Args: runArgs(library), Result: json.RawMessage(runResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: d.runScenario,
		},
	}
	for _, id := range scenario.DeleveragingIDs {
		all = append(all, agent.Capability{
			Name: "scenarios.deleveraging_" + id,
			Description: "What the portfolio would gain or lose when a long-term debt cycle ends this way, as macro.run_scenario " +
				"answers; base-currency amounts as decimal strings.",
			Args: json.RawMessage(deleverageArgs), Result: json.RawMessage(runResult),
			Purity: agent.Pure, Cost: agent.Medium,
			Run: d.deleverage(id),
		})
	}
	return all
}
