package pattern

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// many writes a list with the numbers from 0 put into a form.
func many(n int, form string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, form, i)
	}
	return b.String()
}

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

// everything uses all that the language has.
const everything = `{
  "$schema": "https://dawsos.dev/schemas/pattern.json",
  "id": "everything",
  "name": "Everything",
  "inputs": {
    "text": {"type": "string", "min_length": 0, "max_length": 3, "default": "äöü"},
    "window": {"type": "enum", "values": ["daily", "", "weekly"], "default": "daily"},
    "any_list": {"type": "array"},
    "rates": {"type": "array", "items": {"type": "number", "minimum": 0}, "min_items": 1, "max_items": 3.0, "default": [0.50]},
    "any_object": {"type": "object", "default": {"b": [1e2, null], "a": {}}},
    "trade": {
      "type": "object",
      "properties": {
        "Symbol / name": {"type": "string", "required": true},
        "id": {"type": "uuid", "description": "whose"},
        "quantity": {"type": "integer", "default": 1.0},
        "lots": {"type": "array", "items": {"type": "object", "properties": {"open": {"type": "boolean", "default": false}}}}
      },
      "default": {"Symbol / name": "A", "id": null, "lots": [{}, {"open": true}]}
    }
  },
  "steps": [
    {"capability": "a.b", "as": "x", "description": "first", "condition": "inputs.text != nil", "timeout": "1500ms", "on_error": "continue", "cache": false},
    {"capability": "a.b", "as": "y", "for_each": "{{x.items}}", "parallel": 256, "on_error": {"fallback": null}, "cache": true},
    {"capability": "a.b", "as": "z", "for_each": [1, {"a": "{{inputs.text}}"}], "on_error": {"fallback": {"k": [1.50]}}, "timeout": "10m"},
    {"capability": "a.b", "as": "empty", "for_each": [], "on_error": "fail", "args": {}, "timeout": "1ms"}
  ],
  "outputs": {"second": {"v": "{{x.v}}", "n": 9007199254740993}, "first": false, "last": ""},
  "output_schemas": {"second": {"type": "object", "maxProperties": 2}, "first": true},
  "charts": [{"mark": "bar", "width": 100}, "{{x.chart}}"],
  "display": {}
}`

func TestParseEverything(t *testing.T) {
	t.Parallel()
	def, err := Parse([]byte(everything))
	require.NoError(t, err)

	require.Equal(t, map[string]Input{
		"text":     {Type: String, MinLength: new(0), MaxLength: new(3), Default: "äöü"},
		"window":   {Type: Enum, Values: []string{"daily", "", "weekly"}, Default: "daily"},
		"any_list": {Type: Array},
		"rates": {
			Type: Array, Items: &Input{Type: Number, Minimum: "0"}, MinItems: new(1), MaxItems: new(3),
			Default: []any{json.Number("0.50")},
		},
		"any_object": {Type: Object, Default: map[string]any{"b": []any{json.Number("1e2"), nil}, "a": map[string]any{}}},
		"trade": {
			Type: Object,
			Properties: map[string]Input{
				"Symbol / name": {Type: String, Required: true},
				"id":            {Type: UUID, Description: "whose"},
				"quantity":      {Type: Integer, Default: json.Number("1")},
				"lots": {Type: Array, Items: &Input{
					Type: Object, Properties: map[string]Input{"open": {Type: Boolean, Default: false}},
				}},
			},
			Default: map[string]any{
				"Symbol / name": "A", "id": nil, "quantity": json.Number("1"),
				"lots": []any{map[string]any{"open": false}, map[string]any{"open": true}},
			},
		},
	}, def.Inputs)
	require.Equal(t, []Step{
		{
			Capability: "a.b", As: "x", Description: "first", Condition: "inputs.text != nil",
			Timeout: Duration(1500 * time.Millisecond), OnError: OnError{Mode: Continue}, Cache: new(false),
		},
		{
			Capability: "a.b", As: "y", ForEach: "{{x.items}}", Parallel: 256,
			OnError: OnError{Mode: Fallback}, Cache: new(true),
		},
		{
			Capability: "a.b", As: "z", ForEach: []any{json.Number("1"), map[string]any{"a": "{{inputs.text}}"}},
			OnError: OnError{Mode: Fallback, Fallback: map[string]any{"k": []any{json.Number("1.50")}}},
			Timeout: Duration(10 * time.Minute),
		},
		{Capability: "a.b", As: "empty", ForEach: []any{}, Timeout: Duration(time.Millisecond)},
	}, def.Steps)
	require.Equal(t, Outputs{
		{Name: "second", Value: map[string]any{"v": "{{x.v}}", "n": json.Number("9007199254740993")}},
		{Name: "first", Value: false},
		{Name: "last", Value: ""},
	}, def.Outputs)
	require.Equal(t, map[string]json.RawMessage{
		"second": json.RawMessage(`{"type":"object","maxProperties":2}`),
		"first":  json.RawMessage(`true`),
	}, def.OutputSchemas)
	require.Equal(t, []any{map[string]any{"mark": "bar", "width": json.Number("100")}, "{{x.chart}}"}, def.Charts)
	require.Equal(t, "https://dawsos.dev/schemas/pattern.json", def.Schema)
	require.JSONEq(t, `{}`, string(def.Display))
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
		"/steps/01":                        {Line: 13, Column: 12}, // no way to write an index
		"/steps/2":                         {Line: 13, Column: 12},
		"/steps/-1":                        {Line: 13, Column: 12},
		"/display/panels/0/kind":           {Line: 18, Column: 44},
		"no pointer, so the whole file is": {},
	} {
		require.Equal(t, want, def.Position(pointer), pointer)
	}
	require.Equal(t, Position{}, (&Definition{}).Position("/id"))

	def, err = Parse([]byte(everything))
	require.NoError(t, err)
	require.Equal(t, Position{Line: 14, Column: 26}, def.Position("/inputs/trade/properties/Symbol ~1 name"))
}

// minimal is a definition whose parts the cases of refused replace.
const (
	minimalInputs = `{"i":{"type":"integer"}}`
	minimalSteps  = `[{"capability":"a.b","args":{},"as":"x"}]`
	minimal       = `{"id":"p","name":"P","inputs":` + minimalInputs + `,` + "\n" +
		`"steps":` + minimalSteps + `,"outputs":["x"]}`
)

// refused are definitions that are wrong in one way.
var refused = map[string]struct {
	old, new string   // what is replaced in minimal
	want     []string // what the error says
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
	"inputs no object":     {minimalInputs, `[]`, []string{`/inputs: an object is expected, not an array`}},
	"bad input name":       {`"i":`, `"I":`, []string{`line 1, column 32: /inputs/I: "I" is not allowed as a name`}},
	"input no object":      {minimalInputs, `{"i":1}`, []string{`/inputs/i: an object is expected, not a number`}},
	"no type":              {minimalInputs, `{"i":{}}`, []string{`/inputs/i: "type" is missing`}},
	"unknown type":         {minimalInputs, `{"i":{"type":"int"}}`, []string{`/inputs/i/type: unknown type "int"; allowed are string, integer,`}},
	"required no bool":     {minimalInputs, `{"i":{"type":"integer","required":1}}`, []string{`/inputs/i/required: a boolean is expected, not a number`}},
	"default's type":       {minimalInputs, `{"i":{"type":"integer","default":"5"}}`, []string{`/inputs/i/default: a whole number is expected, not a string`}},
	"default a fraction":   {minimalInputs, `{"i":{"type":"integer","default":252.5}}`, []string{`/inputs/i/default: 252.5 is not a whole number`}},
	"default out of bound": {minimalInputs, `{"i":{"type":"integer","default":0,"minimum":1}}`, []string{`0 is below the minimum of 1`}},
	"default required":     {minimalInputs, `{"i":{"type":"integer","default":0,"required":true}}`, []string{`a required input has no use for a default`}},
	"bounds of a string":   {minimalInputs, `{"i":{"type":"string","minimum":1}}`, []string{`only integers and numbers have bounds`}},
	"bound no number":      {minimalInputs, `{"i":{"type":"number","maximum":"1"}}`, []string{`/inputs/i/maximum: a number is expected, not a string`}},
	"bounds crossed":       {minimalInputs, `{"i":{"type":"number","minimum":1,"maximum":0.5}}`, []string{`the minimum 1 is above the maximum 0.5`}},
	"no steps":             {minimalSteps, `[]`, []string{`/steps: must not be empty`, `/outputs/0: no step has the result "x"`}},
	"steps no array":       {minimalSteps, `{}`, []string{`/steps: an array is expected, not an object`}},
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

	"suggested key":         {`"name"`, `"nane"`, []string{`unknown key "nane"; allowed are id, name,`, `display; did you mean "name"?`, `"name" is missing`}},
	"suggested type":        {minimalInputs, `{"i":{"type":"int"}}`, []string{`date, enum, array, object; did you mean "integer"?`}},
	"suggested output":      {`["x"]`, `["X"]`, []string{`no step has the result "X"; did you mean "x"?`}},
	"$schema no string":     {`"id"`, `"$schema":1,"id"`, []string{`/$schema: a string is expected, not a number`}},
	"description no string": {`"id"`, `"description":null,"id"`, []string{`/description: a string is expected, not null`}},

	"long key": {
		`"id"`, `"` + strings.Repeat("k", 5000) + `":1,"id"`,
		[]string{`line 1, column 2: unknown key "` + strings.Repeat("k", 60) + `…"; allowed`},
	},
	"too many inputs":    {minimalInputs, `{` + many(MaxInputs+1, `"i%d":{"type":"date"}`) + `}`, []string{`/inputs: has 101 inputs, 100 are allowed`}},
	"string's length":    {minimalInputs, `{"i":{"type":"string","min_length":-1}}`, []string{`/inputs/i/min_length: -1 is below the minimum of 0`}},
	"lengths crossed":    {minimalInputs, `{"i":{"type":"string","min_length":3,"max_length":2}}`, []string{`/inputs/i/min_length: the min_length 3 is above the max_length 2`}},
	"length a fraction":  {minimalInputs, `{"i":{"type":"string","max_length":2.5}}`, []string{`/inputs/i/max_length: 2.5 is not a whole number`}},
	"length null":        {minimalInputs, `{"i":{"type":"string","max_length":null}}`, []string{`/inputs/i/max_length: a whole number is expected, not null`}},
	"length too big":     {minimalInputs, `{"i":{"type":"string","max_length":2147483648}}`, []string{`2147483648 is above the maximum of 2147483647`}},
	"length of a date":   {minimalInputs, `{"i":{"type":"date","max_length":2}}`, []string{`/inputs/i/max_length: only strings have a length`}},
	"default too long":   {minimalInputs, `{"i":{"type":"string","max_length":2,"default":"äöü"}}`, []string{`/inputs/i/default: has 3 characters, 2 are allowed`}},
	"default too short":  {minimalInputs, `{"i":{"type":"string","min_length":2,"default":"ä"}}`, []string{`/inputs/i/default: has 1 character, at least 2 are needed`}},
	"integer's bound":    {minimalInputs, `{"i":{"type":"integer","minimum":0.5}}`, []string{`/inputs/i/minimum: 0.5 is not a whole number`}},
	"bound out of range": {minimalInputs, `{"i":{"type":"integer","minimum":1e19}}`, []string{`/inputs/i/minimum: 1e19 is out of range`}},
	"bound null":         {minimalInputs, `{"i":{"type":"integer","minimum":null}}`, []string{`/inputs/i/minimum: a whole number is expected, not null`}},
	"default no UUID":    {minimalInputs, `{"i":{"type":"uuid","default":"1-2"}}`, []string{`/inputs/i/default: "1-2" is not a UUID`}},
	"default no date":    {minimalInputs, `{"i":{"type":"date","default":"2026-02-29"}}`, []string{`/inputs/i/default: "2026-02-29" is not a date`}},

	"enum without values": {minimalInputs, `{"i":{"type":"enum"}}`, []string{`/inputs/i: "values" is missing`}},
	"enum of nothing":     {minimalInputs, `{"i":{"type":"enum","values":[]}}`, []string{`/inputs/i/values: must not be empty`}},
	"enum of numbers":     {minimalInputs, `{"i":{"type":"enum","values":[1]}}`, []string{`/inputs/i/values/0: a string is expected, not a number`}},
	"enum repeated":       {minimalInputs, `{"i":{"type":"enum","values":["a","b","a"]}}`, []string{`/inputs/i/values/2: "a" is repeated`}},
	"enum's default":      {minimalInputs, `{"i":{"type":"enum","values":["daily","weekly"],"default":"dayly"}}`, []string{`/inputs/i/default: "dayly" is not one of "daily", "weekly"; did you mean "daily"?`}},
	"enum of too much":    {minimalInputs, `{"i":{"type":"enum","values":[` + many(MaxValues+1, `"%d"`) + `]}}`, []string{`/inputs/i/values: has 1001 items, 1000 are allowed`}},
	"values of a string":  {minimalInputs, `{"i":{"type":"string","values":["a"]}}`, []string{`/inputs/i/values: only enums have values`}},

	"items of a string":         {minimalInputs, `{"i":{"type":"string","items":{"type":"string"}}}`, []string{`/inputs/i/items: only arrays have items`}},
	"items counted in a string": {minimalInputs, `{"i":{"type":"string","max_items":1}}`, []string{`/inputs/i/max_items: only arrays have items`}},
	"items no object":           {minimalInputs, `{"i":{"type":"array","items":"string"}}`, []string{`/inputs/i/items: an object is expected, not a string`}},
	"items required":            {minimalInputs, `{"i":{"type":"array","items":{"type":"string","required":true}}}`, []string{`/inputs/i/items/required: unknown key "required"; allowed are type, description,`}},
	"items' default":            {minimalInputs, `{"i":{"type":"array","items":{"type":"string","default":""}}}`, []string{`/inputs/i/items/default: unknown key "default"`}},
	"items' type":               {minimalInputs, `{"i":{"type":"array","items":{"type":"array","items":{"type":"text"}}}}`, []string{`/inputs/i/items/items/type: unknown type "text"`}},
	"min_items crossed":         {minimalInputs, `{"i":{"type":"array","min_items":2,"max_items":1}}`, []string{`the min_items 2 is above the max_items 1`}},
	"array's default":           {minimalInputs, `{"i":{"type":"array","default":{}}}`, []string{`/inputs/i/default: an array is expected, not an object`}},
	"array's default's item": {minimalInputs, `{"i":{"type":"array","items":{"type":"integer"},"default":[1,"2",null]}}`, []string{
		`line 1, column 92: /inputs/i/default/1: a whole number is expected, not a string`,
		`line 1, column 96: /inputs/i/default/2: a whole number is expected, not null`,
	}},
	"array's default too short": {minimalInputs, `{"i":{"type":"array","min_items":2,"default":[1]}}`, []string{`/inputs/i/default: has 1 item, at least 2 are needed`}},

	"properties of an array": {minimalInputs, `{"i":{"type":"array","properties":{"a":{"type":"date"}}}}`, []string{`/inputs/i/properties: only objects have properties`}},
	"no properties":          {minimalInputs, `{"i":{"type":"object","properties":{}}}`, []string{`/inputs/i/properties: must not be empty; leave it out to take any object`}},
	"properties no object":   {minimalInputs, `{"i":{"type":"object","properties":[]}}`, []string{`/inputs/i/properties: an object is expected, not an array`}},
	"property's name":        {minimalInputs, `{"i":{"type":"object","properties":{"` + strings.Repeat("é", 101) + `":{"type":"date"}}}}`, []string{`the name has 101 characters, 100 are allowed`}},
	"property's type":        {minimalInputs, `{"i":{"type":"object","properties":{"A b":{"type":"day"}}}}`, []string{`/inputs/i/properties/A b/type: unknown type "day"`}},
	"property required":      {minimalInputs, `{"i":{"type":"object","properties":{"a":{"type":"date","required":true,"default":"2026-01-01"}}}}`, []string{`/inputs/i/properties/a/default: a required input has no use for a default`}},
	"too many properties":    {minimalInputs, `{"i":{"type":"object","properties":{` + many(MaxInputs+1, `"%d":{"type":"date"}`) + `}}}`, []string{`/inputs/i/properties: has 101 properties, 100 are allowed`}},
	"object's default":       {minimalInputs, `{"i":{"type":"object","default":[]}}`, []string{`/inputs/i/default: an object is expected, not an array`}},
	"object's default incomplete": {minimalInputs, `{"i":{"type":"object","properties":{"a":{"type":"date","required":true}},"default":{"b":1}}}`, []string{
		`/inputs/i/default/a: is required`, `/inputs/i/default/b: the object has no such property`,
	}},

	"step's description":  {`"args":{}`, `"description":1`, []string{`/steps/0/description: a string is expected, not a number`}},
	"empty condition":     {`"args":{}`, `"condition":""`, []string{`/steps/0/condition: must not be empty`}},
	"blank condition":     {`"args":{}`, `"condition":"\n "`, []string{`/steps/0/condition: must not be empty`}},
	"condition a boolean": {`"args":{}`, `"condition":true`, []string{`/steps/0/condition: a string is expected, not a boolean`}},
	"long condition":      {`"args":{}`, `"condition":"` + strings.Repeat("é", 1001) + `"`, []string{`/steps/0/condition: has 1001 characters, 1000 are allowed`}},
	"for_each an object":  {`"args":{}`, `"for_each":{}`, []string{`/steps/0/for_each: an array, or a string that is a template, is expected, not an object`}},
	"for_each null":       {`"args":{}`, `"for_each":null`, []string{`/steps/0/for_each: an array, or`}},
	"for_each empty text": {`"args":{}`, `"for_each":""`, []string{`/steps/0/for_each: must not be empty`}},
	"for_each too long":   {`"args":{}`, `"for_each":[` + many(MaxItems+1, `%d`) + `]`, []string{`/steps/0/for_each: has 1001 items, 1000 are allowed`}},
	"parallel nothing":    {`"args":{}`, `"for_each":[],"parallel":0`, []string{`/steps/0/parallel: 0 is below the minimum of 1`}},
	"parallel too much":   {`"args":{}`, `"for_each":[],"parallel":257`, []string{`/steps/0/parallel: 257 is above the maximum of 256`}},
	"parallel what":       {`"args":{}`, `"parallel":2`, []string{`/steps/0/parallel: has no effect without "for_each"`}},
	"timeout a number":    {`"args":{}`, `"timeout":5`, []string{`/steps/0/timeout: a string is expected, not a number`}},
	"timeout no duration": {`"args":{}`, `"timeout":"5 s"`, []string{`/steps/0/timeout: "5 s" is not a duration; write it like "1.5s" or "200ms"`}},
	"timeout negative":    {`"args":{}`, `"timeout":"-5s"`, []string{`/steps/0/timeout: -5s is below the minimum of 1ms`}},
	"timeout too short":   {`"args":{}`, `"timeout":"999us"`, []string{`/steps/0/timeout: 999µs is below the minimum of 1ms`}},
	"timeout too long":    {`"args":{}`, `"timeout":"10m1ns"`, []string{`/steps/0/timeout: 10m0.000000001s is above the maximum of 10m0s`}},
	"on_error unknown":    {`"args":{}`, `"on_error":"contine"`, []string{`/steps/0/on_error: "contine" is not allowed; use "fail", "continue" or {"fallback": value}; did you mean "continue"?`}},
	"on_error bare":       {`"args":{}`, `"on_error":"fallback"`, []string{`/steps/0/on_error: "fallback" is not allowed`}},
	"on_error null":       {`"args":{}`, `"on_error":null`, []string{`/steps/0/on_error: "fail", "continue" or {"fallback": value} is expected, not null`}},
	"on_error empty":      {`"args":{}`, `"on_error":{}`, []string{`/steps/0/on_error: "fallback" is missing`}},
	"on_error more":       {`"args":{}`, `"on_error":{"fallback":1,"x":2}`, []string{`/steps/0/on_error/x: unknown key "x"; allowed are fallback`}},
	"cache no boolean":    {`"args":{}`, `"cache":"no"`, []string{`/steps/0/cache: a boolean is expected, not a string`}},
	"as item":             {`"as":"x"`, `"as":"item"`, []string{`/steps/0/as: "item" is reserved`}},
	"as index":            {`"as":"x"`, `"as":"index"`, []string{`/steps/0/as: "index" is reserved`}},

	"no outputs":        {`,"outputs":["x"]`, ``, []string{`line 1, column 1: "outputs" is missing`}},
	"outputs empty":     {`["x"]`, `[]`, []string{`/outputs: must not be empty`}},
	"outputs a string":  {`["x"]`, `"x"`, []string{`/outputs: an array of results' names, or an object of values by name, is expected, not a string`}},
	"mapping empty":     {`["x"]`, `{}`, []string{`/outputs: must not be empty`}},
	"mapping to null":   {`["x"]`, `{"y":null}`, []string{`/outputs/y: an output can't be null`}},
	"mapping's name":    {`["x"]`, `{"Y":1}`, []string{`/outputs/Y: "Y" is not allowed as a name; use ^[a-z]`}},
	"mapping too big":   {`["x"]`, `{` + many(MaxSteps+1, `"y%d":1`) + `}`, []string{`/outputs: has 1001 outputs, 1000 are allowed`}},
	"schemas no object": {`["x"]`, `["x"],"output_schemas":[]`, []string{`/output_schemas: an object is expected, not an array`}},
	"schema of what":    {`["x"]`, `["x"],"output_schemas":{"xx":{}}`, []string{`/output_schemas/xx: there is no output "xx"; did you mean "x"?`}},
	"schema a number":   {`["x"]`, `["x"],"output_schemas":{"x":1}`, []string{`/output_schemas/x: a schema is expected, which is an object or a boolean, not a number`}},
	"charts no array":   {`["x"]`, `["x"],"charts":{}`, []string{`/charts: an array is expected, not an object`}},
	"chart a number":    {`["x"]`, `["x"],"charts":[{},1]`, []string{`/charts/1: a chart is expected, which is an object, or a string that is a template, not a number`}},
	"an exponent":       {`"args":{}`, `"args":{"a":[1e1000,-1E+1001]}`, []string{`line 2, column 50: /steps/0/args/a/1: the number has more than 1000 characters, or an exponent beyond 1000`}},
	"a tiny exponent":   {`["x"]`, `["x"],"output_schemas":{"x":{"minimum":1e-1000001}}`, []string{`line 2, column 100: /output_schemas/x/minimum: the number has more`}},
	"digits":            {`["x"]`, `["x"],"display":{"a":0.` + strings.Repeat("3", 999) + `}`, []string{`line 2, column 82: /display/a: the number has more`}},
	"too many charts":   {`["x"]`, `["x"],"charts":[` + many(MaxCharts+1, `"%d"`) + `]`, []string{`/charts: has 51 items, 50 are allowed`}},
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	_, err := Parse([]byte(minimal))
	require.NoError(t, err)

	for name, tc := range refused {
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

func TestParseBoundsWhatItReports(t *testing.T) {
	t.Parallel()
	_, err := Parse([]byte(strings.Replace(minimal, `"args":{}`, `"args":{`+strings.Repeat(`"a":0,`, 2000)+`"a":0}`, 1)))
	all, ok := errors.AsType[Errors](err)
	require.True(t, ok)
	require.Len(t, all, maxProblems+1)
	require.Equal(t, `the key "a" is repeated`, all[0].Msg)
	require.Equal(t, "1000 more problems are not listed", all[maxProblems].Msg)

	_, err = Parse([]byte(strings.Replace(minimal, `["x"]`, `[`+strings.Repeat(`"xx",`, 99)+`"xx"]`, 1)))
	all, ok = errors.AsType[Errors](err)
	require.True(t, ok)
	require.Len(t, all, 100)
	require.Equal(t, "x", all[maxHints-1].Suggestion)
	require.Empty(t, all[maxHints].Suggestion)
}

// Of the worst files that fit, each would take gigabytes if anything were squared. It runs alone,
// since what it measures is what the process allocates.
func TestParseStaysLinear(t *testing.T) {
	key := strings.Repeat("k", MaxSize/2)
	for name, tc := range map[string]struct{ old, new, want string }{
		"a long key around many values":   {`"args":{}`, `"args":{"` + key + `":[` + strings.Repeat("0,", MaxSize/4-200) + `0]}`, ""},
		"a long key around many mistakes": {`"args":{}`, `"args":{"` + key + `":{` + strings.Repeat(`"a":0,`, MaxSize/12-100) + `"a":0}}`, "is repeated"},
		"one line of mistakes":            {`"args":{}`, many(MaxSize/12, `"%d":0`) + `,"args":{}`, "unknown key"},
		"many deep values":                {`"args":{}`, `"args":{"a":[` + strings.Repeat(`[[[[[[[[0]]]]]]]],`, MaxSize/20) + `0]}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, minimal, tc.old)
			data := []byte(strings.Replace(minimal, tc.old, tc.new, 1))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Parse(data)
			runtime.ReadMemStats(&after)
			if tc.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tc.want)
			}
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<30))
		})
	}
}

func TestParseBoundsWhatDefaultsMultiplyTo(t *testing.T) {
	t.Parallel()
	// Each array's default has a hundred objects, each of which takes the default of the array in it.
	object := func(p string) string { return `{"type":"object","properties":{"p":` + p + `}}` }
	nested := object(`{"type":"string","default":"12345678"}`)
	for level := range 8 {
		nested = object(`{"type":"array","items":` + nested + `,"default":[` + strings.Repeat("{},", 99) + `{}]}`)
		_, err := Parse([]byte(strings.Replace(minimal, minimalInputs, `{"i":`+nested+`}`, 1)))
		if level < 2 { // ten thousand are fine
			require.NoError(t, err)
		} else { // a million are not, nor is what is around them
			require.ErrorContains(t, err, "p: must be given: there are more defaults than the value may take")
		}
	}
}

func TestParseAllowsAsManyOfEverything(t *testing.T) {
	t.Parallel()
	_, err := Parse([]byte(`{"id":"p","name":"P","inputs":{` + many(MaxInputs-1, `"i%d":{"type":"date"}`) + `,
		"e":{"type":"enum","values":[` + many(MaxValues, `"%d"`) + `]}},
		"steps":[` + many(MaxSteps-1, `{"capability":"c","as":"x%d"}`) + `,
		{"capability":"c","as":"y","for_each":[` + many(MaxItems, "%d") + `],"condition":"` + strings.Repeat("é", MaxCondition) + `"}],
		"outputs":[` + many(MaxSteps-1, `"x%d"`) + `,"y"],"charts":[` + many(MaxCharts, `"%d"`) + `]}`))
	require.NoError(t, err)
}
