package patterns

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/expr-lang/expr/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// Whatever condition compiles ends soon, with an outcome or an error in words, and gives the same
// outcome each time.
func FuzzCondition(f *testing.F) {
	for _, seed := range []string{
		"true", "inputs.n > 1", "first.rows[0].s == 'x'", "any(first.rows, .w > inputs.f)", "first == null", "state.first.a?.b ?? 3 > 2",
		"len(filter(first.rows, true)) > 0", "not (inputs.on and first.n in [1, 2])", "first.text matches '^(a+)+$'", "inputs.s contains 'x'",
		"sum(first.rows, .w) > 1 ? inputs.on : false", "max(first.n, 2) ** 100 > 1", "first.rows == first.rows", "-9223372036854775808 % -1 == 0", "1 / 0 > 1", "1 % 0 == 1",
	} {
		f.Add(seed)
	}
	env := conditionEnv{
		inputs: map[string]pattern.Input{
			"n": {Type: pattern.Integer, Required: true}, "f": {Type: pattern.Number, Required: true}, "on": {Type: pattern.Boolean, Required: true},
			"s": {Type: pattern.String}, "list": {Type: pattern.Array},
		},
		results: typesOfAny("first", "second"),
		hint:    func(string, func() []string) string { return "" },
	}
	at := &scope{
		inputs: map[string]any{"n": json.Number("3"), "f": json.Number("0.5"), "on": true, "s": nil, "list": []any{json.Number("1"), "x"}},
		ctx:    agent.Context{}.Values(),
		results: []*result{
			rawResult(json.RawMessage(`{"rows": [{"s": "x", "w": 0.5}, {"s": null, "w": 2}], "n": 1, "none": null, "text": "` + strings.Repeat("a", 1000) + `b", "deep": {"a": {"b": [[1], [2]]}}}`)),
			nothing,
		},
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > pattern.MaxCondition {
			return
		}
		c, err := compileCondition(text, env)
		if err != nil {
			_, ok := err.(*conditionError)
			require.True(t, ok, "%T", err)
			require.NotContains(t, err.Error(), "\n")
			return
		}
		once, err := c.holds(at, map[string]int{"first": 0, "second": 1})
		twice, errTwice := c.holds(at, map[string]int{"first": 0, "second": 1})
		require.Equal(t, once, twice)
		if err != nil {
			require.EqualError(t, errTwice, err.Error())
			require.NotContains(t, err.Error(), "\n")
		}
	})
}

// typesOfAny are results of which nothing is known.
func typesOfAny(names ...string) map[string]types.Type {
	m := make(map[string]types.Type)
	for _, name := range names {
		m[name] = types.Any
	}
	return m
}

// fuzzRunner answers with what its capabilities declare.
func fuzzRunner() *runner {
	row := map[string]any{"symbol": "SPI", "weight": 0.5}
	r := typed()
	r.funcs = map[string]capabilityFunc{
		"ledger.positions": value(map[string]any{"total": 1.5, "asset_class": "equity", "rows": []any{row, row}}),
		"metrics.twr": func(_ context.Context, req agent.Request) (agent.Result, error) {
			return agent.Result{Value: req.Args, Warnings: []string{"w"}}, nil
		},
		"alerts.create": failing(fault.New(fault.InsufficientData, "nothing to tell")),
	}
	n := NewNesting()
	r.funcs[RunCapability] = n.Capabilities()[0].Run
	r.declared["ledger.positions"] = agent.Capability{Purity: agent.Pure, Args: r.declared["ledger.positions"].Args}
	r.nesting = n
	return r
}

// Any definition that validates runs without an internal error: it answers, or says in its own words, or
// a capability's, why not. And it does so in the same way each time.
func FuzzDefinition(f *testing.F) {
	files, err := filepath.Glob("../../configs/patterns/*.json")
	require.NoError(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(data))
	}
	for _, step := range []string{
		`{"capability": "metrics.twr", "as": "x", "args": {"a": "{{positions.rows[0].symbol}}", "b": "{{inputs.opts.x}}"}, "condition": "positions.total > inputs.days"}`,
		`{"capability": "metrics.twr", "as": "x", "for_each": "{{positions.rows}}", "args": {"s": "{{item.symbol}} {{index}}"}, "parallel": 2, "on_error": "continue"}`,
		`{"capability": "alerts.create", "as": "x", "on_error": {"fallback": ["{{positions}}"]}, "timeout": "1s", "cache": false}`,
		`{"capability": "pattern.run", "as": "x", "args": {"pattern": "{{inputs.note}}", "inputs": {"a": "{{positions}}"}}}`,
		`{"capability": "pattern.run", "as": "x", "args": {"pattern": "p"}}`,
	} {
		f.Add(validHead + step + `], "outputs": {"o": "{{x}}", "p": ["{{positions.total}}"]}, "charts": [{"mark": "bar", "data": {"values": "{{positions.rows}}"}}], "output_schemas": {"o": {"type": ["object", "array", "null"]}}}`)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := fuzzRunner()
		problems := newLibrary(r).validate("p.json", []byte(text), nil)
		for _, p := range problems {
			require.NotEmpty(t, p.Msg)
			require.Positive(t, p.Line, p.Msg)
		}
		if hasErrors(problems) {
			return
		}
		def, err := pattern.Parse([]byte(text))
		require.NoError(t, err)
		if len(def.Steps) > 100 { // its calls would take the fuzzer's time
			return
		}
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "p.json"), []byte(text), 0o600))
		o, err := New(dir, r, &contexts{}, Options{Registerer: prometheus.NewRegistry(), CacheBytes: 1 << 20, Nesting: r.nesting})
		require.NoError(t, err)
		inputs := make(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(def.Inputs)) {
			if def.Inputs[name].Required {
				inputs[name] = sample(def.Inputs[name])
			}
		}
		var outcomes []string
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			answer, err := o.Execute(ctx, Request{PatternID: def.ID, Inputs: inputs})
			cancel()
			if err != nil {
				require.NotEqual(t, fault.Internal, fault.CodeOf(err), "%v", err)
				require.NotEqual(t, fault.Timeout, fault.CodeOf(err), "%v", err)
				outcomes = append(outcomes, fmt.Sprint(err))
				continue
			}
			require.True(t, json.Valid(answer.Data))
			for _, c := range answer.Charts {
				require.True(t, json.Valid(c))
			}
			outcomes = append(outcomes, answer.DataHash)
		}
		require.Equal(t, outcomes[0], outcomes[1])
	})
}

// sample returns some value of an input's type, which its bounds may refuse.
func sample(in pattern.Input) any {
	switch in.Type {
	case pattern.Integer, pattern.Number:
		if in.Minimum != "" {
			return in.Minimum
		}
		return json.Number("3")
	case pattern.Boolean:
		return true
	case pattern.UUID:
		return portfolioID
	case pattern.Date:
		return "2007-05-08"
	case pattern.Enum:
		return in.Values[0]
	case pattern.Array:
		return []any{}
	case pattern.Object:
		return map[string]any{}
	}
	return "text"
}
