package patterns

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/schema"
	"github.com/dawsos/dawsos/pkg/agent"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// A definition that would run must not be refused: what schemas leave open is open.
func TestValidationRefusesNothingThatMayBeRight(t *testing.T) {
	t.Parallel()
	const use = `{"capability": "a.use", "as": "y", "args": {"v": %s}, "condition": %q}`
	for name, tc := range map[string]struct {
		result    string // the schema of a.make's result
		step      string // more of the step that makes it
		value     string // a use of the result x
		condition string
	}{
		"anyOf":                      {`{"anyOf": [{"type": "object", "additionalProperties": false}, {"type": "array"}]}`, ``, `"{{x.a[0].b}}"`, `x.a.b == 1 or x[0] == 1`},
		"a reference to anything":    {`{"$ref": "#/$defs/a", "$defs": {"a": true}}`, ``, `"{{x.a[0].b}}"`, `x.a == x[0]`},
		"a schema that holds itself": {`{"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": false}`, ``, `"{{x.next.next.next}}"`, `x.next.next.next.next.next.next.next.next.next.next.next == null`},
		"places of their own": {
			`{"type": "array", "prefixItems": [{"type": "object", "properties": {"a": true}, "additionalProperties": false}, {"type": "number"}], "items": {"type": "object", "properties": {"z": true}, "additionalProperties": false}}`,
			``, `["{{x[0].a}}", "{{x[1]}}", "{{x[2].z}}"]`, `x[0].a == 1 and x[1] > 0 and x[2].z == 1`,
		},
		"items of an older draft":  {`{"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "items": [{"type": "object"}, {"type": "string"}]}`, ``, `["{{x[0].a}}", "{{x[1]}}"]`, `x[0].a == 1 and x[1] == 'x'`},
		"names by their form":      {`{"type": "object", "patternProperties": {"^[a-z]$": {"type": "object"}}, "additionalProperties": false}`, ``, `"{{x.q.r}}"`, `x.q.r == 1`},
		"more fields of one form":  {`{"type": "object", "additionalProperties": {"type": "object", "properties": {"a": true}}}`, ``, `"{{x.any.a}}"`, `x.any.a == 1`},
		"null beside the type":     {`{"type": ["object", "null"], "properties": {"rows": {"type": ["array", "null"]}}}`, ``, `"{{x.rows[0]}}"`, `x == null or x.rows == null or x.rows[0].a == 1`},
		"null is always possible":  {`{"type": "object", "properties": {"rows": {"type": "array"}}, "additionalProperties": false}`, ``, `"{{x.rows}}"`, `x != null and x.rows != null`},
		"a fallback unlike it":     {`{"type": "object", "properties": {"a": true}, "additionalProperties": false}`, `, "on_error": {"fallback": "none"}`, `"{{x}} it is"`, `x == "none"`},
		"a fallback with more":     {`{"type": "object", "properties": {"a": true}, "additionalProperties": false}`, `, "on_error": {"fallback": {"why": "{{inputs.n}}"}}`, `"{{x.why}}"`, `x.why == 1`},
		"items":                    {`{"type": "object", "properties": {"a": true}, "additionalProperties": false}`, `, "for_each": [1]`, `"{{x[0].a}}"`, `any(x, .a == 1)`},
		"items with a fallback":    {`{"type": "object", "properties": {"a": true}, "additionalProperties": false}`, `, "for_each": [1], "on_error": {"fallback": {"b": 1}}`, `"{{x[0].b}}"`, `any(x, .b == 1)`},
		"a number that is whole":   {`{"type": "integer"}`, ``, `{"n": "{{x}}"}`, `x == 1.0`},
		"types side by side":       {`{"type": ["string", "number", "array"]}`, ``, `"n {{x}}"`, `x == 1 or x == "1" or x[0] == 1`},
		"a type that is not there": {`{"properties": {"a": {"type": "string"}}}`, ``, `["{{x.a}}", "{{x.b}}", "{{x[0]}}"]`, `x.b == 1 or x[0] == 1`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := schema.Compile(json.RawMessage(tc.result))
			require.NoError(t, err)
			r := &runner{funcs: map[string]capabilityFunc{"a.make": nil, "a.use": nil}, declared: map[string]agent.Capability{"a.make": {Result: json.RawMessage(tc.result)}}}
			text := `{"id": "p", "name": "P", "inputs": {"n": {"type": "integer"}}, "steps": [{"capability": "a.make", "as": "x"` + tc.step + `}, ` +
				fmt.Sprintf(use, tc.value, tc.condition) + `], "outputs": ["y"]}`
			require.Empty(t, newLibrary(r).validate("", []byte(text), nil), text)
		})
	}
}

func TestValidationOfArgumentsRefusesNothingThatMayBeRight(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ args, given string }{
		"names by their form":        {`{"type": "object", "patternProperties": {"^n_": {"type": "integer"}}, "additionalProperties": {"type": "string"}}`, `{"n_a": "{{inputs.n}}", "b": "x"}`},
		"one of two forms":           {`{"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}`, `{"b": "{{inputs.n}}"}`},
		"a text of some form":        {`{"type": "object", "properties": {"day": {"type": "string", "format": "date"}}}`, `{"day": "{{inputs.day}}"}`},
		"text that becomes one":      {`{"type": "object", "properties": {"id": {"enum": ["n-5"]}}}`, `{"id": "n-{{inputs.n}}"}`},
		"required within a template": {`{"type": "object", "properties": {"w": {"type": "object", "required": ["a", "b"]}}}`, `{"w": {"a": "{{inputs.n}}", "b": null}}`},
		"places of their own":        {`{"type": "object", "properties": {"l": {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "string"}}}}`, `{"l": ["{{inputs.n}}", "{{inputs.day}}"]}`},
		"true":                       {`true`, `{"x": "{{inputs.n}}"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &runner{funcs: map[string]capabilityFunc{"a.use": nil}, declared: map[string]agent.Capability{"a.use": {Args: json.RawMessage(tc.args)}}}
			text := `{"id": "p", "name": "P", "inputs": {"n": {"type": "integer"}, "day": {"type": "date"}}, "steps": [{"capability": "a.use", "as": "x", "args": ` + tc.given + `}], "outputs": ["x"]}`
			require.Empty(t, newLibrary(r).validate("", []byte(text), nil))
		})
	}
}

func TestChartsHoldTheirData(t *testing.T) {
	t.Parallel()
	for chart, want := range map[string]string{
		`{"mark": "bar", "data": {"url": "x.csv"}}`:                                                                       `a chart holds its data`,
		`{"mark": "bar", "transform": [{"lookup": "a", "from": {"key": "a", "data": {"url": "x.csv"}}}]}`:                 `a chart holds its data`,
		`{"layer": [{"mark": "bar", "data": {"url": "{{x.u}}"}}]}`:                                                        `a chart holds its data`,
		`{"mark": "bar", "data": {"values": [{"data": {"url": "that of a row"}}]}}`:                                       ``,
		`{"mark": "bar", "datasets": {"data": {"url": "a set of this name"}}, "data": {"name": "data"}}`:                  ``,
		`{"facet": {"field": "a"}, "spec": {"mark": "bar"}, "data": {"values": "{{x}}"}}`:                                 ``,
		`{"repeat": ["a"], "spec": {"mark": "bar"}}`:                                                                      ``,
		`{"vconcat": [{"mark": "bar"}], "data": {"sequence": {"start": 0, "stop": 1}}}`:                                   ``,
		`{"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "mark": {"type": "line"}, "config": {"data": 1}}`: ``,
		`{"marks": []}`: `a Vega-Lite specification has one of`,
	} {
		text := `{"id": "p", "name": "P", "steps": [{"capability": "a.x", "as": "x"}], "outputs": ["x"], "charts": [` + chart + `]}`
		problems := newLibrary(named("a.x")).validate("", []byte(text), nil)
		if want == "" {
			require.Empty(t, problems, chart)
			continue
		}
		require.Len(t, problems, 1, chart)
		require.Contains(t, problems[0].Msg, want)
	}
}

// What a condition may look at is looked at a bounded number of times. What would be squared, or is
// chosen by the data, does not load.
func TestConditionsThatWouldBeExpensive(t *testing.T) {
	t.Parallel()
	env := conditionEnv{
		inputs: map[string]pattern.Input{
			"long": {Type: pattern.String}, "short": {Type: pattern.String, MaxLength: new(20)}, "day": {Type: pattern.Date}, "list": {Type: pattern.Array},
		},
		results: typesOfAny("x", "y"),
		hint:    func(string, func() []string) string { return "" },
	}
	for text, want := range map[string]string{
		`x.text matches x.re`:                                                  `a regular expression is written out`,
		`x.text matches inputs.short`:                                          `a regular expression is written out`,
		`any(x, .text matches .re)`:                                            `a regular expression is written out`,
		`x.text matches "a" + "b"`:                                             `a regular expression is written out`,
		`x.text matches "(a{50}){20}b{500}"`:                                   `the regular expression is too big: it comes to 15`,
		`x.text matches "(a+)+$"`:                                              ``,
		`any(x, inputs.long contains .text)`:                                   `a predicate only compares the input "long"`,
		`any(x, len(inputs.long) > .n)`:                                        `a predicate only compares the input "long"`,
		`any(x, lower(inputs.long) == .text)`:                                  `a predicate only compares the input "long"`,
		`any(x, .text + inputs.long == "")`:                                    `a predicate only compares the input "long"`,
		`any(x, inputs.long matches "a")`:                                      `a predicate only compares the input "long"`,
		`any(x, (.n > 1 ? inputs.long : "") contains "")`:                      `a predicate only compares the input "long"`,
		`any(x, .text == inputs.long)`:                                         ``,
		`any(x, .text contains inputs.long)`:                                   ``,
		`any(x, .text startsWith inputs.long)`:                                 ``,
		`any(x, inputs.short contains .text)`:                                  ``,
		`any(x, inputs.day contains .text)`:                                    ``,
		`inputs.long contains "a" and len(inputs.long) > 3 and any(x, .n > 1)`: ``,
		`any(x, # in y)`:                                                       `a predicate sees its element`,
		`any(x, # in inputs.list)`:                                             `a predicate sees its element`,
		`any(x, any(#, # > 1))`:                                                `a predicate can't hold another one`,
		`any(x, .a in .b)`:                                                     ``,
		`len(1..1000000) > 1`:                                                  `ranges are not known here`,
		`let a = x; a == 1`:                                                    `this is not known in conditions`,
		`x[1:2] == []`:                                                         `this is not known in conditions`,
		`map(x, # + 1) == []`:                                                  `there is no function "map"`,
		`repeat("a", 1000000) == "a"`:                                          `there is no function "repeat"`,
	} {
		_, err := compileCondition(text, env)
		if want == "" {
			require.NoError(t, err, text)
			continue
		}
		require.ErrorContains(t, err, want, text)
	}
}

// A fallback stands for an item, as it may look at it. It must not become the whole list, nor hide that
// it can't be filled in.
func TestTheFallbackOfAForEachIsThatOfAnItem(t *testing.T) {
	t.Parallel()
	funcs := map[string]capabilityFunc{"a.fail": failing(fault.New(fault.InsufficientData, "nothing")), "a.text": value("text")}
	run := func(list, fallback string) (*Answer, error) {
		o, _ := setup(t, funcs, patternOf(`{"capability": "a.text", "as": "text"}, {"capability": "a.fail", "as": "x", "for_each": `+list+`, "args": {"n": "{{item}}"}, "on_error": {"fallback": `+fallback+`}}`, `"outputs": ["x"]`))
		return o.Execute(t.Context(), request(nil))
	}
	answer, err := run(`"{{text}}"`, `{"of": "{{item.a}}"}`)
	require.NoError(t, err)
	require.Equal(t, `{"x":null}`, string(answer.Data))
	require.Equal(t, []string{"step x failed and was passed over: for_each of step x needs an array, not a string"}, answer.Warnings)

	_, err = run(`[{"a": 1}, {"b": 1}]`, `{"of": "{{item.a}}"}`)
	require.ErrorContains(t, err, "the fallback of step x can't be filled in: {{item.a}}: item has no field")
	require.Equal(t, fault.PatternError, fault.CodeOf(err))
}

// Of definitions that fit into a file and have everything wrong, none may keep a processor busy or fill
// the memory. It runs alone, since what it measures is what the process allocates.
func TestValidationStaysLinear(t *testing.T) {
	steps := func(n int, arg func(i int) string) string {
		var b strings.Builder
		b.WriteString(`{"id": "p", "name": "P", "steps": [`)
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"capability": "a.x", "as": "s%d", %s}`, i, strings.ReplaceAll(arg(i), "s-1", "ctx"))
		}
		fmt.Fprintf(&b, `], "outputs": ["s%d"]}`, n-1)
		return b.String()
	}
	refs := func(n int, ref func(k int) string) string {
		var parts []string
		for k := range n {
			parts = append(parts, `"{{`+ref(k)+`}}"`)
		}
		return `"args": {"a": [` + strings.Join(parts, ",") + `]}`
	}
	deep := strings.Repeat(`[`, 25) + `"{{s0}}"` + strings.Repeat(`]`, 25)
	for name, text := range map[string]string{
		"all look at later ones": steps(1000, func(i int) string { return refs(80, func(k int) string { return fmt.Sprint("s", min(i+k+1, 999)) }) }),
		"all wait for all":       steps(1000, func(i int) string { return refs(80, func(k int) string { return fmt.Sprint("s", (i+k*12+1)%1000) }) }),
		"nothing is there":       steps(1000, func(int) string { return refs(80, func(k int) string { return fmt.Sprint("t", k) }) }),
		"conditions":             steps(1000, func(i int) string { return fmt.Sprintf(`"condition": "s%d != null"`, i-1) }),
		"wrong conditions":       steps(1000, func(i int) string { return fmt.Sprintf(`"condition": "t%d%s != null"`, i, strings.Repeat("x", 50)) }),
		"long conditions": steps(900, func(int) string {
			return `"condition": "inputs == null` + strings.Repeat(" or inputs == null", 45) + `"`
		}),
		"deep": steps(1000, func(i int) string {
			return `"args": {"a": ` + strings.ReplaceAll(deep, "s0", fmt.Sprint("s", i-1)) + `}`
		}),
	} {
		require.LessOrEqual(t, len(text), pattern.MaxSize, name)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		problems := newLibrary(named("a.x")).validate("", []byte(text), nil)
		runtime.ReadMemStats(&after)
		t.Logf("%s: %d bytes, %d problems, %d MiB allocated", name, len(text), len(problems), (after.TotalAlloc-before.TotalAlloc)>>20)
		require.LessOrEqual(t, len(problems), maxProblems+1+1000, name) // warnings are one a step at most
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(300<<20), name)
	}
}
