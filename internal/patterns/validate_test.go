package patterns

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/pkg/agent"
)

// typed are capabilities with declared arguments and results.
func typed() *runner {
	return &runner{
		funcs: map[string]capabilityFunc{"ledger.positions": nil, "metrics.twr": nil, "alerts.create": nil, RunCapability: nil},
		declared: map[string]agent.Capability{
			"ledger.positions": {
				Purity: agent.Pure,
				Args: json.RawMessage(`{"type": "object", "required": ["portfolio_id"], "additionalProperties": false, "properties": {
					"portfolio_id": {"type": "string", "format": "uuid"}, "limit": {"type": "integer", "minimum": 1}, "symbols": {"type": "array", "items": {"type": "string"}},
					"window": {"type": "object", "required": ["days"], "additionalProperties": false, "properties": {"days": {"type": "integer"}}}}}`),
				Result: json.RawMessage(`{"type": "object", "additionalProperties": false, "required": ["total", "rows"], "properties": {
					"total": {"type": ["number", "null"]}, "asset_class": {"type": "string"},
					"rows": {"type": "array", "items": {"$ref": "#/$defs/row"}}}, "$defs": {"row": {"type": "object", "additionalProperties": false, "properties": {"symbol": {"type": "string"}}}}}`),
			},
			"metrics.twr":   {Args: json.RawMessage(`{"type": "object"}`)},
			"alerts.create": {Purity: agent.Effectful},
			RunCapability:   NewNesting().Capabilities()[0],
		},
	}
}

const validHead = `{"id": "p", "name": "P",
"inputs": {"portfolio_id": {"type": "uuid", "required": true}, "days": {"type": "integer", "default": 5}, "note": {"type": "string"}, "on": {"type": "boolean", "default": true},
  "opts": {"type": "object", "properties": {"x": {"type": "number"}}}},
"steps": [
{"capability": "ledger.positions", "as": "positions", "args": {"portfolio_id": "{{inputs.portfolio_id}}"}},
`

func TestWhatValidationFinds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		step, rest string // the second step, and what stands behind the steps
		want       []string
	}{
		"nothing":               {`{"capability": "metrics.twr", "as": "x", "args": {"a": "{{positions.rows[0].symbol}}", "b": "{{inputs.opts.x}}"}}`, ``, nil},
		"unknown capability":    {`{"capability": "metrics.tvr", "as": "x", "args": {"a": "{{positions}}"}}`, ``, []string{`:6:16: step x: no agent has the capability "metrics.tvr"; did you mean "metrics.twr"?`}},
		"unknown argument":      {`{"capability": "ledger.positions", "as": "x", "args": {"portfolio_id": "{{inputs.portfolio_id}}", "symbol": ["SPI"]}}`, ``, []string{`:6:109: step x: the argument "symbol" is unknown to ledger.positions; it takes limit, portfolio_id, symbols, window; did you mean "symbols"?`}},
		"a slip is told once":   {`{"capability": "ledger.positions", "as": "x", "args": {"portfolio_id": "{{inputs.portfolo_id}}", "symbl": ["{{nope}}"]}}`, ``, []string{`the pattern declares no input "portfolo_id"; did you mean "portfolio_id"?`, `the argument "symbl" is unknown to ledger.positions`, `no step has the result "nope"`}},
		"missing argument":      {`{"capability": "ledger.positions", "as": "x", "args": {"limit": 3}}`, ``, []string{`:6:55: step x: the argument "portfolio_id" of ledger.positions is missing`}},
		"null is missing":       {`{"capability": "ledger.positions", "as": "x", "args": {"portfolio_id": null}}`, ``, []string{`:6:55: step x: the argument "portfolio_id" of ledger.positions is missing`}},
		"no arguments at all":   {`{"capability": "ledger.positions", "as": "x"}`, ``, []string{`:6:1: step x: the argument "portfolio_id" of ledger.positions is missing`}},
		"wrong constant":        {`{"capability": "ledger.positions", "as": "x", "args": {"portfolio_id": "{{inputs.portfolio_id}}", "limit": 0}}`, ``, []string{`:6:108: step x: the argument limit of ledger.positions must be at least 1`}},
		"wrong constant within": {`{"capability": "ledger.positions", "as": "x", "args": {"portfolio_id": "{{inputs.portfolio_id}}", "symbols": ["SPI", 3]}}`, ``, []string{`step x: the argument symbols/1 of ledger.positions must be of type string, not number`}},
		"wrong input":           {`{"capability": "ledger.positions", "as": "x", "args": {"portfolio_id": "{{inputs.portfolio_id}}", "limit": "{{inputs.note}}"}}`, ``, []string{`step x: the argument limit of ledger.positions must be an integer, not a string, which {{inputs.note}} is`}},
		"wrong result":          {`{"capability": "ledger.positions", "as": "x", "args": {"portfolio_id": "{{positions.rows}}"}}`, ``, []string{`step x: the argument portfolio_id of ledger.positions must be a string, not an array, which {{positions.rows}} is`}},
		"text for a number":     {`{"capability": "ledger.positions", "as": "x", "args": {"portfolio_id": "{{inputs.portfolio_id}}", "limit": "n {{inputs.days}}"}}`, ``, []string{`must be an integer, not text`}},
		"within an object":      {`{"capability": "ledger.positions", "as": "x", "args": {"portfolio_id": "{{inputs.portfolio_id}}", "window": {"day": "{{inputs.days}}"}}}`, ``, []string{`the argument window "days" of ledger.positions is missing`, `the argument window "day" is unknown to ledger.positions; it takes days; did you mean "days"?`}},
		"within an array":       {`{"capability": "ledger.positions", "as": "x", "args": {"portfolio_id": "{{inputs.portfolio_id}}", "symbols": ["{{inputs.days}}"]}}`, ``, []string{`the argument symbols/0 of ledger.positions must be a string, not an integer, which {{inputs.days}} is`}},
		"field that can't be":   {`{"capability": "metrics.twr", "as": "x", "args": {"a": "{{positions.rows[0].symbl}}"}}`, ``, []string{`step x: template {{positions.rows[0].symbl}}, character 3: positions.rows[0] has no field "symbl"; it has symbol; did you mean "symbol"?`}},
		"field of an array":     {`{"capability": "metrics.twr", "as": "x", "args": {"a": "{{positions.rows.symbol}}"}}`, ``, []string{`positions.rows is an array, which has no field "symbol"`}},
		"field of an input":     {`{"capability": "metrics.twr", "as": "x", "args": {"a": "{{inputs.opts.y}} {{positions.total}}"}}`, ``, []string{`inputs.opts has no field "y"; it has x`}},
		"object in text":        {`{"capability": "metrics.twr", "as": "x", "args": {"a": "x {{positions.rows}}"}}`, ``, []string{`template {{positions.rows}} is an array, which has no place within text`}},
		"later result":          {`{"capability": "metrics.twr", "as": "x", "args": {"a": "{{y}}", "b": "{{positions.total}}"}}, {"capability": "metrics.twr", "as": "y"}`, `"outputs": ["x", "y"]`, []string{`"y" is the result of the later step 2; move that one before this`}},
		"cycle":                 {`{"capability": "metrics.twr", "as": "x", "args": {"a": "{{y}}", "b": "{{positions.total}}"}}, {"capability": "metrics.twr", "as": "y", "args": {"a": "{{x}}"}}`, `"outputs": ["x", "y"]`, []string{`step x: steps wait for each other: x needs y needs x`}},
		"unused":                {`{"capability": "metrics.twr", "as": "y"}, {"capability": "metrics.twr", "as": "x"}`, ``, []string{`:5:42: warning: step positions: the result "positions" is not used: no other step, output or chart looks at it`, `:6:37: warning: step y: the result "y" is not used`}},
		"effects are used":      {`{"capability": "metrics.twr", "as": "x", "args": {"p": "{{positions.total}}"}}, {"capability": "alerts.create", "as": "y"}`, ``, nil},
		"never reached":         {`{"capability": "metrics.twr", "as": "x", "args": {"p": "{{positions}}"}, "condition": "1 > 2"}`, ``, []string{`step x: the step is never reached: its condition "1 > 2" is always false`}},
		"condition's form":      {`{"capability": "metrics.twr", "as": "x", "condition": "positions.total >"}`, ``, []string{`:6:55: step x: condition "positions.total >", character 1`}},
		"condition's name":      {`{"capability": "metrics.twr", "as": "x", "condition": "postions.total == 1"}`, ``, []string{`step x: condition "postions.total == 1", character 1: there is no earlier result "postions"; did you mean "positions"?`}},
		"condition's field":     {`{"capability": "metrics.twr", "as": "x", "condition": "positions.totl == 1"}`, ``, []string{`unknown field totl`}},
		"condition's input":     {`{"capability": "metrics.twr", "as": "x", "condition": "positions != null and inputs.day > 1"}`, ``, []string{`the pattern declares no input "day"; did you mean "days"?`}},
		"condition's ctx":       {`{"capability": "metrics.twr", "as": "x", "condition": "positions != null and ctx.asoff > ''"}`, ``, []string{`ctx has no "asoff"; did you mean "asof"?`}},
		"condition's types":     {`{"capability": "metrics.twr", "as": "x", "condition": "inputs.days == 'x' and positions != null"}`, ``, []string{`invalid operation: == (mismatched types int and string)`}},
		"condition's outcome":   {`{"capability": "metrics.twr", "as": "x", "condition": "inputs.days"}`, ``, []string{`expected bool, but got int`}},
		"later condition":       {`{"capability": "metrics.twr", "as": "x", "condition": "x == 1 and positions != null"}`, ``, []string{`there is no earlier result "x"`}},
		"functions":             {`{"capability": "metrics.twr", "as": "x", "condition": "repeat('x', 1000000) == inputs.note"}`, ``, []string{`there is no function "repeat"; there are abs, all,`}},
		"clock":                 {`{"capability": "metrics.twr", "as": "x", "condition": "now() > date('2020-01-01')"}`, ``, []string{`there is no function "now"`}},
		"nested predicates":     {`{"capability": "metrics.twr", "as": "x", "condition": "any(positions.rows, all(.x, .y))"}`, ``, []string{`a predicate can't hold another one`}},
		"results in predicates": {`{"capability": "metrics.twr", "as": "x", "condition": "any(positions.rows, # in positions.rows)"}`, ``, []string{`a predicate sees its element, ctx and inputs that are no array or object, not the result "positions"`}},
		"lists in predicates":   {`{"capability": "metrics.twr", "as": "x", "condition": "any(positions.rows, .symbol in inputs.opts)"}`, ``, []string{`a predicate sees its element, ctx and inputs that are no array or object`}},
		"ranges":                {`{"capability": "metrics.twr", "as": "x", "condition": "len(1..1000000) > 1"}`, ``, []string{`ranges are not known here`}},
		"variables":             {`{"capability": "metrics.twr", "as": "x", "condition": "let a = 1; a == 1"}`, ``, []string{`this is not known in conditions`}},
		"too long":              {`{"capability": "metrics.twr", "as": "x", "condition": "` + strings.Repeat("!", 300) + `inputs.on"}`, ``, []string{`the condition is too long: it has more than 200 parts`}},
		"item outside":          {`{"capability": "metrics.twr", "as": "x", "args": {"a": "{{item}}", "p": "{{positions}}"}}`, ``, []string{`"item" is known only in the arguments and the fallback of a step with for_each`}},
		"for_each text":         {`{"capability": "metrics.twr", "as": "x", "for_each": "x {{positions.total}}"}`, ``, []string{`for_each needs an array or a template that yields one, and nothing else`}},
		"for_each number":       {`{"capability": "metrics.twr", "as": "x", "for_each": "{{positions.asset_class}}"}`, ``, []string{`for_each needs an array; {{positions.asset_class}} is a string`}},
		"result of for_each":    {`{"capability": "ledger.positions", "as": "y", "for_each": "{{positions.rows}}", "args": {"portfolio_id": "{{item.symbol}}"}}, {"capability": "metrics.twr", "as": "x", "args": {"a": "{{y.total}}"}}`, ``, []string{`y is an array, which has no field "total"`}},
		"output of no step":     {`{"capability": "metrics.twr", "as": "x", "args": {"a": "{{positions}}"}}`, `"outputs": ["z"]`, []string{`no step has the result "z"`}},
		"output's template":     {`{"capability": "metrics.twr", "as": "x", "args": {"a": "{{positions}}"}}`, `"outputs": {"z": "{{w}}", "x": "{{x}}"}`, []string{`no step has the result "w"`}},
		"output's schema":       {`{"capability": "metrics.twr", "as": "x", "args": {"a": "{{positions}}"}}`, `"outputs": ["x"], "output_schemas": {"x": {"type": "objekt"}}`, []string{`the schema can't be used`}},
		"schema elsewhere":      {`{"capability": "metrics.twr", "as": "x", "args": {"a": "{{positions}}"}}`, `"outputs": ["x"], "output_schemas": {"x": {"$ref": "http://example.com/x.json"}}`, []string{`lies outside of the schema`}},
		"chart":                 {`{"capability": "metrics.twr", "as": "x", "args": {"a": "{{positions}}"}}`, `"outputs": ["x"], "charts": [{"title": "t"}]`, []string{`a Vega-Lite specification has one of mark, layer,`}},
		"chart's data":          {`{"capability": "metrics.twr", "as": "x", "args": {"a": "{{positions}}"}}`, `"outputs": ["x"], "charts": [{"layer": [{"mark": "bar", "data": {"url": "http://example.com/"}}]}]`, []string{`a chart holds its data; put them under values`}},
		"chart's text":          {`{"capability": "metrics.twr", "as": "x", "args": {"a": "{{positions}}"}}`, `"outputs": ["x"], "charts": ["spec {{x}}"]`, []string{`a chart is a Vega-Lite specification, or one template that yields one`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rest := tc.rest
			if rest == "" {
				rest = `"outputs": ["x"]`
			}
			problems := newLibrary(typed()).validate("p.json", []byte(validHead+tc.step+`],`+rest+`}`), nil)
			require.Len(t, problems, len(tc.want), problems)
			for i, want := range tc.want {
				require.ErrorContains(t, problems[i], want)
				require.Positive(t, problems[i].Line)
			}
		})
	}
}

func TestValidateKnowsTheOtherPatterns(t *testing.T) {
	t.Parallel()
	r, nested := nesting(innerFuncs())
	o, _ := setupWith(t, r, nested, innerPattern)
	outer := `{"id": "outer", "name": "P", "steps": [{"capability": "pattern.run", "as": "x", "args": {"pattern": "inner"}}], "outputs": ["x"]}`
	require.Empty(t, o.Validate([]byte(outer)))
	problems := o.Validate([]byte(strings.Replace(outer, `"inner"`, `"iner"`, 1)))
	require.Len(t, problems, 1)
	require.Equal(t, Problem{
		Severity: Error, Line: 1, Column: 101, Pointer: "/steps/0/args/pattern", Pattern: "outer", Step: "x",
		Msg: `there is no pattern "iner" that can be run`, Suggestion: "inner",
	}, problems[0])
	require.Equal(t, `1:101: step x: there is no pattern "iner" that can be run; did you mean "inner"?`, strings.TrimPrefix(problems[0].Error(), ":"))
	require.Len(t, o.Validate([]byte("{")), 1)
	require.Len(t, o.Validate(nil), 1)
}
