package analyst_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/schema"
	"github.com/dawsos/dawsos/pkg/agent"
)

// declared is what a capability says of itself, compiled.
type declared struct {
	agent.Capability

	args, result *schema.Schema
}

var declarations = sync.OnceValues(func() (map[string]declared, error) {
	all := map[string]declared{}
	for _, c := range analyst.New(nil, nil, analyst.Options{}).Capabilities() {
		args, err := schema.Compile(c.Args)
		if err != nil {
			return nil, err
		}
		result, err := schema.Compile(c.Result)
		if err != nil {
			return nil, err
		}
		all[c.Name] = declared{c, args, result}
	}
	return all, nil
})

func declaration(t testing.TB, capability string) declared {
	t.Helper()
	all, err := declarations()
	require.NoError(t, err)
	require.Contains(t, all, capability)
	return all[capability]
}

// jsonOf returns v as what its JSON reads back as.
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

// given returns arguments as JSON without those that are null, which count as left out.
func given(t testing.TB, args map[string]any) any {
	t.Helper()
	value, _ := jsonOf(t, args).(map[string]any)
	maps.DeleteFunc(value, func(_ string, v any) bool { return v == nil })
	return value
}

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
			d := declaration(t, tt.capability)
			require.Empty(t, schema.Violations(d.args, "", given(t, tt.good)))
			args := maps.Clone(tt.good)
			maps.Copy(args, tt.change)
			violations := schema.Violations(d.args, "", given(t, args))
			require.Len(t, violations, 1)
			require.Equal(t, tt.pointer, violations[0].Pointer)
		})
	}
}

// The pattern that everyone starts with asks for what is declared, with its optional inputs given
// and left out.
func TestOverviewFitsTheArguments(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../../configs/patterns/portfolio_overview.json")
	require.NoError(t, err)
	var definition struct {
		Steps []struct {
			Capability string            `json:"capability"`
			Args       map[string]string `json:"args"`
			As         string            `json:"as"`
		} `json:"steps"`
	}
	require.NoError(t, json.Unmarshal(raw, &definition))
	require.Len(t, definition.Steps, 4)

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
			for _, step := range definition.Steps {
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
	result := declaration(t, "metrics.compute_twr").result

	measured["benchmark"].(map[string]any)["gamma"] = 1
	violations := schema.Violations(result, "", jsonOf(t, measured))
	require.Len(t, violations, 1)
	require.Equal(t, "/benchmark/gamma", violations[0].Pointer)

	delete(measured["benchmark"].(map[string]any), "gamma")
	delete(measured, "twr")
	violations = schema.Violations(result, "", jsonOf(t, measured))
	require.Len(t, violations, 1)
	require.Equal(t, "/twr", violations[0].Pointer)
}
