package patterns

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/pkg/agent"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// parse returns the definition of a pattern with two steps, the second with the given arguments.
func parse(t *testing.T, args string) *pattern.Definition {
	t.Helper()
	def, err := pattern.Parse([]byte(`{
"id": "p", "name": "P",
"inputs": {"days": {"type": "integer"}, "note": {"type": "string"}},
"steps": [
{"capability": "a.first", "as": "first"},
{"capability": "a.second", "as": "second", "args": ` + args + `},
{"capability": "a.third", "as": "third"}
],
"outputs": ["second"]}`))
	require.NoError(t, err)
	return def
}

var capabilities = []string{"a.first", "a.second", "a.third"}

func TestTemplatesYieldValues(t *testing.T) {
	t.Parallel()
	first, err := newResult(agent.Result{Value: map[string]any{
		"lots": []any{map[string]any{"symbol": "SPI", "n": json.Number("9007199254740993")}},
		"none": nil, "yes": true, "empty": map[string]any{},
	}})
	require.NoError(t, err)
	s := &scope{
		inputs:  map[string]any{"days": json.Number("252"), "note": nil},
		ctx:     map[string]any{"asof": "2007-05-08", "portfolio_id": nil},
		results: []*result{first, nil, nil},
	}

	for name, tc := range map[string]struct {
		arg  string // JSON
		want string // JSON
		err  string
	}{
		"constants":               {arg: `[1, "x", null, {"a": true}]`, want: `[1, "x", null, {"a": true}]`},
		"empty string":            {arg: `""`, want: `""`},
		"a value keeps its type":  {arg: `"{{inputs.days}}"`, want: `252`},
		"digits are kept":         {arg: `"{{first.lots[0].n}}"`, want: `9007199254740993`},
		"null is legal":           {arg: `"{{inputs.note}}"`, want: `null`},
		"null in the context":     {arg: `"{{ctx.portfolio_id}}"`, want: `null`},
		"bare and state":          {arg: `["{{first.yes}}", "{{state.first.yes}}"]`, want: `[true, true]`},
		"whole results":           {arg: `"{{first.lots}}"`, want: `[{"symbol": "SPI", "n": 9007199254740993}]`},
		"all inputs":              {arg: `"{{inputs}}"`, want: `{"days": 252, "note": null}`},
		"nested":                  {arg: `{"a": [{"b": "{{first.lots[0].symbol}}"}]}`, want: `{"a": [{"b": "SPI"}]}`},
		"behind null is null":     {arg: `"{{first.none.a[3].b}}"`, want: `null`},
		"text":                    {arg: `"{{first.lots[0].symbol}}: {{inputs.days}} days to {{ctx.asof}}, {{first.yes}}"`, want: `"SPI: 252 days to 2007-05-08, true"`},
		"null in text is nothing": {arg: `"[{{inputs.note}}{{first.none.x}}]"`, want: `"[]"`},
		"space makes it text":     {arg: `"{{inputs.days}} "`, want: `"252 "`},
		"escaped braces":          {arg: `["{{\"{{\"}}inputs.days}}"]`, want: `["{{inputs.days}}"]`},
		"missing field": {
			arg: `"{{first.lots[0].symbl}}"`,
			err: `{{first.lots[0].symbl}}: first.lots[0] has no field "symbl"; did you mean "symbol"?; it has n, symbol`,
		},
		"missing field with state": {arg: `"{{state.first.x}}"`, err: `{{state.first.x}}: state.first has no field "x"; it has empty, lots, none, yes`},
		"nothing there":            {arg: `"{{first.empty.x}}"`, err: `first.empty has no field "x"; it is empty`},
		"behind the end":           {arg: `"{{first.lots[1]}}"`, err: `{{first.lots[1]}}: first.lots has no item 1, since it has 1`},
		"index of an object":       {arg: `"{{first[0]}}"`, err: `{{first[0]}}: first is an object, which has no items`},
		"field of an array":        {arg: `"{{first.lots.symbol}}"`, err: `first.lots is an array, which has no field "symbol"`},
		"object in text":           {arg: `"lots: {{first.lots}}"`, err: `{{first.lots}} is an array, which has no place within text`},
		"error within a list":      {arg: `[1, ["{{first.x}}"]]`, err: `first has no field "x"`},
		"error within an object":   {arg: `{"a": {"b": "{{first.x}}"}}`, err: `first has no field "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, problems := newLibrary(named(capabilities...)).compile("p.json", parse(t, `{"arg": `+tc.arg+`}`))
			require.False(t, hasErrors(problems), problems)
			args, err := p.steps[1].args.fields(s)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			got, err := json.Marshal(args["arg"])
			require.NoError(t, err)
			require.JSONEq(t, tc.want, string(got))
		})
	}
}

func TestManyKeysAreNotAllListed(t *testing.T) {
	t.Parallel()
	object := map[string]any{}
	for i := range 1000 {
		object[fmt.Sprintf("k%03d", i)] = nil
	}
	_, err := part{field: "x"}.of(object)
	require.ErrorContains(t, err, "it has k000, k001,")
	require.ErrorContains(t, err, "k019 and 980 more")
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args, want string
	}{
		"bad template":     {`{"a": ["{{x"]}`, `p.json:6:59: step second: template "{{x": character 4: "}}" is expected, found the end`},
		"unknown root":     {`{"a": "{{frist.x}}"}`, `p.json:6:58: step second: template {{frist.x}}, character 3: no step has the result "frist"; did you mean "first"?`},
		"unknown in state": {`{"a": "{{state.input}}"}`, `no step has the result "input"; did you mean "inputs"?`},
		"only state":       {`{"a": "{{state}}"}`, `a name is expected behind "state"`},
		"item of state":    {`{"a": "{{state[0]}}"}`, `a name is expected behind "state"`},
		"later result":     {`{"a": "{{third}}"}`, `"third" is the result of the later step 2`},
		"own result":       {`{"a": "{{second.x}}"}`, `"second" is this step's own result`},
		"unknown input":    {`{"a": "{{inputs.day}}"}`, `the pattern declares no input "day"; did you mean "days"?`},
		"item of inputs":   {`{"a": "{{inputs[0]}}"}`, `a name is expected behind "inputs"`},
		"item of ctx":      {`{"a": "{{ctx[0]}}"}`, `a name is expected behind "ctx"`},
		"field of number":  {`{"a": "{{inputs.days.x}}"}`, `template {{inputs.days.x}}, character 3: inputs.days is an integer, which has no field "x"`},
		"unknown in ctx":   {`{"a": "{{ctx.pricing_pack}}"}`, `ctx has no "pricing_pack"; it has asof, base_currency,`},
		"within text":      {`{"a/b": {"c": "x {{nope}}"}}`, `p.json:6:66: step second: template {{nope}}, character 5: no step has the result "nope"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, problems := newLibrary(named(capabilities...)).compile("p.json", parse(t, tc.args))
			require.Nil(t, p)
			require.Len(t, problems, 1)
			require.ErrorContains(t, problems[0], tc.want)
			require.Equal(t, "p", problems[0].Pattern)
		})
	}
}

func TestCompileNamesTheCapabilityMeant(t *testing.T) {
	t.Parallel()
	_, problems := newLibrary(named("a.first", "a.secnod", "a.third")).compile("p.json", parse(t, `{}`))
	require.Equal(t, []Problem{{
		Severity: Error, File: "p.json", Line: 6, Column: 16, Pointer: "/steps/1/capability", Pattern: "p", Step: "second",
		Msg: `no agent has the capability "a.second"`, Suggestion: "a.secnod",
	}}, problems)
}
