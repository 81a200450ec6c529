package pattern

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const overview = `{
  "id": "portfolio_overview",
  "name": "Portfolio overview",
  "description": "What a portfolio <holds> & earns",
  "category": "portfolio",
  "version": "1.0.0",
  "inputs": {
    "portfolio_id": {"type": "uuid", "required": true, "description": "whose"},
    "lookback_days": {"type": "integer", "default": 252, "minimum": 1, "maximum": 10000},
    "risk_free_annual": {"type": "number", "minimum": -0.5},
    "from": {"type": "date", "default": null}
  },
  "steps": [
    {"capability": "ledger.positions", "args": {"portfolio_id": "{{inputs.portfolio_id}}"}, "as": "positions"},
    {"capability": "metrics.compute_twr", "args": {"nested": [{"n": 9007199254740993}, null, true]}, "as": "perf"}
  ],
  "outputs": ["perf", "positions"],
  "display": {"z": 1, "panels": [ {"kind": "table"} ]}
}`

func TestParse(t *testing.T) {
	t.Parallel()
	def, err := Parse([]byte(overview))
	require.NoError(t, err)

	require.Equal(t, "portfolio_overview", def.ID)
	require.Equal(t, "What a portfolio <holds> & earns", def.Description)
	require.Equal(t, map[string]Input{
		"portfolio_id":     {Type: UUID, Required: true, Description: "whose"},
		"lookback_days":    {Type: Integer, Default: json.Number("252"), Minimum: "1", Maximum: "10000"},
		"risk_free_annual": {Type: Number, Minimum: "-0.5"},
		"from":             {Type: Date},
	}, def.Inputs)
	require.Equal(t, []Step{
		{Capability: "ledger.positions", Args: map[string]any{"portfolio_id": "{{inputs.portfolio_id}}"}, As: "positions"},
		{Capability: "metrics.compute_twr", Args: map[string]any{
			"nested": []any{map[string]any{"n": json.Number("9007199254740993")}, nil, true},
		}, As: "perf"},
	}, def.Steps)
	require.Equal(t, Outputs{{Name: "perf"}, {Name: "positions"}}, def.Outputs)
	require.Equal(t, `{"z":1,"panels":[{"kind":"table"}]}`, string(def.Display))
}

func TestPosition(t *testing.T) {
	t.Parallel()
	def, err := Parse([]byte(overview))
	require.NoError(t, err)

	for pointer, want := range map[string]Position{
		"":                                 {Line: 1, Column: 1},
		"/id":                              {Line: 2, Column: 9},
		"/steps/1/capability":              {Line: 15, Column: 20},
		"/steps/1/args/nested/0/n":         {Line: 15, Column: 69},
		"/steps/1/args/absent/deeper":      {Line: 15, Column: 51}, // the innermost that is there
		"/inputs/lookback_days/absent":     {Line: 9, Column: 22},
		"no pointer, so the whole file is": {},
	} {
		require.Equal(t, want, def.Position(pointer), pointer)
	}
	require.Equal(t, Position{}, (&Definition{}).Position("/id"))
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	// minimal is a definition whose parts the cases replace.
	const minimal = `{"id":"p","name":"P","inputs":{"i":{"type":"integer"}},` + "\n" +
		`"steps":[{"capability":"a.b","args":{},"as":"x"}],"outputs":["x"]}`
	_, err := Parse([]byte(minimal))
	require.NoError(t, err)

	input := `{"i":{"type":"integer"}}`
	for name, tc := range map[string]struct {
		old, new string // what is replaced in minimal
		want     []string
	}{
		"no object":            {minimal, `[]`, []string{`line 1, column 1: an object is expected, not an array`}},
		"empty file":           {minimal, ``, []string{`line 1, column 1: the file ends too early`}},
		"cut off":              {`"outputs":["x"]}`, `"outputs":["x"`, []string{`line 2, column 65: /outputs: the file ends too early`}},
		"not JSON":             {`"args":{}`, `"args":{]`, []string{`line 2, column 38: /steps/0/args: not JSON: invalid character ']'`}},
		"comma too many":       {`"args":{}`, `"args":{},,`, []string{`line 2, column 40: /steps/0: not JSON: invalid character ','`}},
		"comma at the end":     {`["x"]`, `["x",]`, []string{`not JSON`}},
		"trailing data":        {`["x"]}`, "[\"x\"]}\n {}", []string{`line 3, column 2: only one value is expected`}},
		"trailing rubbish":     {`["x"]}`, "[\"x\"]} }", []string{`only one value is expected`}},
		"not UTF-8":            {`"P"`, "\"\xff\"", []string{`line 1, column 19: the file is not UTF-8`}},
		"column in characters": {`"name":"P",`, `"name":"Pé","nome":1,`, []string{`line 1, column 23: /nome: unknown key "nome"; allowed are id, name,`}},
		"duplicate key":        {`"name":"P"`, `"name":"P","name":"Q"`, []string{`line 1, column 22: /name: the key "name" is repeated`}},
		"duplicate arg":        {`"args":{}`, `"args":{"q":{"r~/":1,"r~/":1}}`, []string{`/steps/0/args/q/r~0~1: the key "r~/" is repeated`}},
		"unknown key in step":  {`"args"`, `"arg"`, []string{`line 2, column 30: /steps/0/arg: unknown key "arg"; allowed are capability, as, args`}},
		"missing id":           {`"id":"p",`, ``, []string{`line 1, column 1: "id" is missing`}},
		"bad id":               {`"id":"p"`, `"id":"Portfolio-1"`, []string{`/id: "Portfolio-1" is not allowed; use ^[a-z]`}},
		"id no string":         {`"id":"p"`, `"id":1`, []string{`/id: a string is expected, not a number`}},
		"blank name":           {`"name":"P"`, `"name":" "`, []string{`/name: must not be empty`}},
		"null name":            {`"name":"P"`, `"name":null`, []string{`/name: a string is expected, not null`}},
		"inputs no object":     {input, `[]`, []string{`/inputs: an object is expected, not an array`}},
		"bad input name":       {`"i":`, `"I":`, []string{`line 1, column 32: /inputs/I: "I" is not allowed as a name`}},
		"input no object":      {input, `{"i":1}`, []string{`/inputs/i: an object is expected, not a number`}},
		"no type":              {input, `{"i":{}}`, []string{`/inputs/i: "type" is missing`}},
		"unknown type":         {input, `{"i":{"type":"int"}}`, []string{`/inputs/i/type: unknown type "int"; allowed are string, integer,`}},
		"required no bool":     {input, `{"i":{"type":"integer","required":1}}`, []string{`/inputs/i/required: a boolean is expected, not a number`}},
		"default's type":       {input, `{"i":{"type":"integer","default":"5"}}`, []string{`/inputs/i/default: a whole number is expected, not a string`}},
		"default a fraction":   {input, `{"i":{"type":"integer","default":252.5}}`, []string{`/inputs/i/default: 252.5 is not a whole number`}},
		"default out of bound": {input, `{"i":{"type":"integer","default":0,"minimum":1}}`, []string{`0 is below the minimum of 1`}},
		"default required":     {input, `{"i":{"type":"integer","default":0,"required":true}}`, []string{`a required input has no use for a default`}},
		"bounds of a string":   {input, `{"i":{"type":"string","minimum":1}}`, []string{`only integers and numbers have bounds`}},
		"bound no number":      {input, `{"i":{"type":"number","maximum":"1"}}`, []string{`/inputs/i/maximum: a number is expected, not a string`}},
		"bounds crossed":       {input, `{"i":{"type":"number","minimum":1,"maximum":0.5}}`, []string{`the minimum 1 is above the maximum 0.5`}},
		"no steps":             {`[{"capability":"a.b","args":{},"as":"x"}]`, `[]`, []string{`/steps: must not be empty`, `/outputs/0: no step has the result "x"`}},
		"steps no array":       {`[{"capability":"a.b","args":{},"as":"x"}]`, `{}`, []string{`/steps: an array is expected, not an object`}},
		"bad capability":       {`"a.b"`, `"a..b"`, []string{`/steps/0/capability: "a..b" is not allowed as a capability`}},
		"args no object":       {`"args":{}`, `"args":[]`, []string{`/steps/0/args: an object is expected, not an array`}},
		"missing as":           {`,"as":"x"`, ``, []string{`/steps/0: "as" is missing`}},
		"as reserved":          {`"as":"x"`, `"as":"state"`, []string{`/steps/0/as: "state" is reserved`}},
		"as repeated":          {`"as":"x"}`, `"as":"x"},{"capability":"c","as":"x"}`, []string{`/steps/1/as: "x" is already the result of step 0`}},
		"missing output":       {`["x"]`, `["y"]`, []string{`/outputs/0: no step has the result "y"`}},
		"output repeated":      {`["x"]`, `["x","x"]`, []string{`/outputs/1: "x" is repeated`}},
		"output no string":     {`["x"]`, `[1]`, []string{`/outputs/0: a string is expected, not a number`}},
		"display no object":    {`["x"]`, `["x"],"display":[]`, []string{`/display: an object is expected, not an array`}},
		"too deep": {
			`"args":{}`, `"args":{"a":` + strings.Repeat("[", 29) + strings.Repeat("]", 29) + `}`,
			[]string{`objects and arrays are nested deeper than 32`},
		},
		"too many steps": {
			`"as":"x"}`, `"as":"x"}` + strings.Repeat(`,{"capability":"c","as":"y"}`, MaxSteps),
			[]string{`/steps: has 1001 items, 1000 are allowed`},
		},
		"too big": {`["x"]`, `["x"]` + strings.Repeat(" ", MaxSize), []string{`1048576 are allowed`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, minimal, tc.old)
			_, err := Parse([]byte(strings.Replace(minimal, tc.old, tc.new, 1)))
			require.Error(t, err)
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestParseAllowsTheDeepestNesting(t *testing.T) {
	t.Parallel()
	// The definition, steps, step and args are the first four levels.
	deep := strings.Repeat("[", MaxNesting-4) + strings.Repeat("]", MaxNesting-4)
	_, err := Parse([]byte(`{"id":"p","name":"P","steps":[{"capability":"c","args":{"a":` + deep + `},"as":"x"}],"outputs":["x"]}`))
	require.NoError(t, err)
}

func TestParseReportsAllProblemsInOrder(t *testing.T) {
	t.Parallel()
	_, err := Parse([]byte("{\"outputs\": [\"nope\"],\n\"id\": \"A\",\n\"steps\": [{\"capability\": \"c\"}],\n\"x\": 1}"))
	var all Errors
	require.ErrorAs(t, err, &all)
	require.Equal(t, Errors{
		{Line: 1, Column: 1, Msg: `"name" is missing`},
		{Line: 1, Column: 14, Path: "/outputs/0", Msg: `no step has the result "nope"`},
		{Line: 2, Column: 7, Path: "/id", Msg: `"A" is not allowed; use ^[a-z][a-z0-9_]{0,63}$`},
		{Line: 3, Column: 11, Path: "/steps/0", Msg: `"as" is missing`},
		{Line: 4, Column: 1, Path: "/x", Msg: `unknown key "x"; allowed are id, name, steps, outputs, $schema, description, category, version, inputs, output_schemas, charts, display`},
	}, all)

	first, ok := errors.AsType[*Error](err)
	require.True(t, ok)
	require.Same(t, all[0], first)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(overview))
	f.Add([]byte(`{"id":"p","name":"P","inputs":{},"steps":[{"capability":"c","args":{},"as":"x"}],"outputs":["x"],"display":{"a":"<\u2028>"}}`))
	f.Add([]byte(`{"id":"p","inputs":{"i":{"type":"number","default":1e2,"minimum":-0}},"steps":[{]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := Parse(data)
		if err != nil {
			all, ok := errors.AsType[Errors](err)
			if !ok || len(all) == 0 {
				t.Fatalf("an error without problems: %v", err)
			}
			for _, e := range all {
				if e.Line < 1 || e.Column < 1 || e.Line > 1+strings.Count(string(data), "\n") {
					t.Fatalf("%v is outside the file", e)
				}
			}
			return
		}

		written, err := json.Marshal(first)
		require.NoError(t, err)
		second, err := Parse(written)
		if len(written) > MaxSize {
			return // escapes have made it longer than a file may be
		}
		require.NoError(t, err, "parsed from %q, written as %q", data, written)
		first.root, second.root = nil, nil
		require.Equal(t, first, second)
	})
}

func TestInputValue(t *testing.T) {
	t.Parallel()
	id := "0B36FA50-66F0-4BF9-A7E2-43E2BE4F5A7C"
	for _, tc := range []struct {
		in      Input
		v, want any
		err     string
	}{
		{in: Input{Type: Integer}, v: json.Number("252"), want: json.Number("252")},
		{in: Input{Type: Integer}, v: json.Number("252.0"), want: json.Number("252")},
		{in: Input{Type: Integer}, v: json.Number("2.52e2"), want: json.Number("252")},
		{in: Input{Type: Integer}, v: json.Number("25200E-2"), want: json.Number("252")},
		{in: Input{Type: Integer}, v: json.Number("-0"), want: json.Number("0")},
		{in: Input{Type: Integer}, v: json.Number("0.000e5"), want: json.Number("0")},
		{in: Input{Type: Integer}, v: json.Number("9007199254740993.0"), want: json.Number("9007199254740993")},
		{in: Input{Type: Integer}, v: json.Number("-9223372036854775808"), want: json.Number("-9223372036854775808")},
		{in: Input{Type: Integer}, v: 252, want: json.Number("252")},
		{in: Input{Type: Integer}, v: 252.0, want: json.Number("252")},
		{in: Input{Type: Integer}, v: json.Number("252.5"), err: "252.5 is not a whole number"},
		{in: Input{Type: Integer}, v: json.Number("252.0000000000000000001"), err: "is not a whole number"},
		{in: Input{Type: Integer}, v: json.Number("5e-1"), err: "is not a whole number"},
		{in: Input{Type: Integer}, v: json.Number("10e-2"), err: "is not a whole number"},
		{in: Input{Type: Integer}, v: json.Number("1e19"), err: "1e19 is out of range"},
		{in: Input{Type: Integer}, v: json.Number("1e999999999"), err: "is out of range"},
		{in: Input{Type: Integer}, v: json.Number("9223372036854775808"), err: "is out of range"},
		{in: Input{Type: Integer}, v: "252", err: "a whole number is expected, not a string"},
		{in: Input{Type: Integer}, v: true, err: "a whole number is expected, not a boolean"},
		{in: Input{Type: Integer, Minimum: "9007199254740993"}, v: json.Number("9007199254740992"), err: "below the minimum"},
		{in: Input{Type: Integer, Maximum: "10"}, v: json.Number("11"), err: "11 is above the maximum of 10"},
		{in: Input{Type: Integer, Minimum: "1", Maximum: "10"}, v: json.Number("10"), want: json.Number("10")},
		{in: Input{Type: Number}, v: json.Number("0.950"), want: json.Number("0.950")},
		{in: Input{Type: Number}, v: 0.95, want: json.Number("0.95")},
		{in: Input{Type: Number}, v: json.Number("1e400"), err: "1e400 is out of range"},
		{in: Input{Type: Number, Minimum: "0", Maximum: "1"}, v: json.Number("1.5"), err: "1.5 is above the maximum of 1"},
		{in: Input{Type: Number}, v: nil, err: "a number is expected, not null"},
		{in: Input{Type: Boolean}, v: false, want: false},
		{in: Input{Type: Boolean}, v: "false", err: "true or false is expected, not a string"},
		{in: Input{Type: String}, v: "", want: ""},
		{in: Input{Type: String}, v: json.Number("1"), err: "a string is expected, not a number"},
		{in: Input{Type: String}, v: []any{}, err: "a string is expected, not an array"},
		{in: Input{Type: String}, v: map[string]any{}, err: "a string is expected, not an object"},
		{in: Input{Type: UUID}, v: id, want: strings.ToLower(id)},
		{in: Input{Type: UUID}, v: "{" + id + "}", err: "is not a UUID"},
		{in: Input{Type: UUID}, v: strings.ReplaceAll(id, "-", "a"), err: "is not a UUID"},
		{in: Input{Type: UUID}, v: strings.Replace(id, "0", "g", 1), err: "is not a UUID"},
		{in: Input{Type: UUID}, v: json.Number("1"), err: "a UUID is expected, not a number"},
		{in: Input{Type: Date}, v: "2007-05-08", want: "2007-05-08"},
		{in: Input{Type: Date}, v: "2007-02-29", err: `"2007-02-29" is not a date; write it as YYYY-MM-DD`},
		{in: Input{Type: Date}, v: "2007-05-08T00:00:00Z", err: "is not a date"},
		{in: Input{Type: Date}, v: strings.Repeat("é", 1000), err: "é…\" is not a date"},
	} {
		t.Run(fmt.Sprint(tc.in.Type, tc.v), func(t *testing.T) {
			t.Parallel()
			got, err := tc.in.Value(tc.v)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}
