package analyst_test

import (
	"encoding/json"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/agenttest"
	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/schema"
)

var declarations = analyst.New(nil, nil, analyst.Options{}).Capabilities()

func TestArgumentsThatDoNotFit(t *testing.T) {
	t.Parallel()
	lists := map[string]any{"positions": []any{}, "cash": []any{}, "pack_id": packID}
	for name, tt := range map[string]struct {
		capability string
		good       map[string]any
		change     map[string]any
		pointer    string
	}{
		"no UUID":            {"ledger.positions", map[string]any{"portfolio_id": portfolioID}, map[string]any{"portfolio_id": "mine"}, "/portfolio_id"},
		"no portfolio":       {"ledger.positions", map[string]any{"portfolio_id": portfolioID}, map[string]any{"portfolio_id": nil}, "/portfolio_id"},
		"no date":            {"ledger.positions", map[string]any{"portfolio_id": portfolioID}, map[string]any{"asof": "yesterday"}, "/asof"},
		"unknown":            {"ledger.positions", map[string]any{"portfolio_id": portfolioID}, map[string]any{"as_of": "2007-05-08"}, "/as_of"},
		"no list":            {"pricing.apply_pack", lists, map[string]any{"positions": map[string]any{}}, "/positions"},
		"no cash":            {"pricing.apply_pack", lists, map[string]any{"cash": nil}, "/cash"},
		"no lots":            {"pricing.apply_pack", lists, map[string]any{"positions": []any{map[string]any{"symbol": "AA", "currency": "USD", "quantity": "1"}}}, "/positions/0/lots"},
		"no days":            {"metrics.compute_twr", over(252), map[string]any{"lookback_days": 0}, "/lookback_days"},
		"half a day":         {"metrics.compute_twr", over(252), map[string]any{"lookback_days": 1.5}, "/lookback_days"},
		"percent":            {"metrics.compute_twr", over(252), map[string]any{"risk_free_annual": 2}, "/risk_free_annual"},
		"too many days":      {"attribution.currency", over(252), map[string]any{"lookback_days": 10001}, "/lookback_days"},
		"no pack":            {"attribution.currency", over(252), map[string]any{"pack_id": nil}, "/pack_id"},
		"rate where none is": {"attribution.currency", over(252), map[string]any{"risk_free_annual": 0.02}, "/risk_free_annual"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Empty(t, agenttest.Violations(t, declarations, tt.capability, tt.good))
			args := maps.Clone(tt.good)
			maps.Copy(args, tt.change)
			violations := agenttest.Violations(t, declarations, tt.capability, args)
			require.Len(t, violations, 1)
			require.Equal(t, "/args"+tt.pointer, violations[0].Pointer)
		})
	}
}

// The pattern that everyone starts with asks for what is declared, with its optional inputs given
// and left out.
func TestOverviewFitsTheArguments(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(agenttest.Configs("patterns/portfolio_overview.json"))
	require.NoError(t, err)
	var definition struct {
		Steps []struct {
			Capability string            `json:"capability"`
			Args       map[string]string `json:"args"`
			As         string            `json:"as"`
		} `json:"steps"`
	}
	require.NoError(t, json.Unmarshal(raw, &definition))
	ours := definition.Steps[:0]
	for _, step := range definition.Steps {
		if !strings.HasPrefix(step.Capability, "charts.") { // another agent's
			ours = append(ours, step)
		}
	}
	require.Len(t, ours, 5)

	desk := newDesk(t, demo)
	run := desk.at(day(t, "2007-05-08"))
	for name, optional := range map[string]map[string]any{
		"given":    {"{{inputs.lookback_days}}": 60, "{{inputs.risk_free_annual}}": 0.02, "{{inputs.from}}": "2007-01-03"},
		"left out": {"{{inputs.lookback_days}}": 252, "{{inputs.risk_free_annual}}": nil, "{{inputs.from}}": nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			values := map[string]any{"{{inputs.portfolio_id}}": portfolioID, "{{ctx.pricing_pack_id}}": packID}
			maps.Copy(values, optional)
			for _, step := range ours {
				args := map[string]any{}
				for name, template := range step.Args {
					require.Contains(t, values, template)
					args[name] = values[template]
				}
				answer, _ := desk.ask(t, run, step.Capability, args) // which checks both against the schemas
				for field, value := range answer {
					values["{{"+step.As+"."+field+"}}"] = value
				}
			}
		})
	}
}

func TestResultsAreClosed(t *testing.T) {
	t.Parallel()
	desk := newDesk(t, demo)
	run := desk.at(day(t, "2007-05-08"))
	measured, _ := desk.ask(t, run, "metrics.compute_twr", over(252))
	result, err := schema.Compile(agenttest.Capability(t, declarations, "metrics.compute_twr").Result)
	require.NoError(t, err)

	measured["benchmark"].(map[string]any)["gamma"] = 1
	violations := schema.Violations(result, "", agenttest.JSON(t, measured))
	require.Len(t, violations, 1)
	require.Equal(t, "/benchmark/gamma", violations[0].Pointer)

	delete(measured["benchmark"].(map[string]any), "gamma")
	delete(measured, "twr")
	violations = schema.Violations(result, "", agenttest.JSON(t, measured))
	require.Len(t, violations, 1)
	require.Equal(t, "/twr", violations[0].Pointer)
}
