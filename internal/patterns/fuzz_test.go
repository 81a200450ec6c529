package patterns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
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
			_, ok := errors.AsType[*conditionError](err)
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
	f.Fuzz(func(t *testing.T, text string) { runsWell(t, text) })
}

// runsWell checks a definition's text, runs it twice when it validates, and reports whether it did.
func runsWell(t *testing.T, text string) (valid bool) {
	t.Helper()
	r := fuzzRunner()
	problems := newLibrary(r).validate("p.json", []byte(text), nil)
	for _, p := range problems {
		require.NotEmpty(t, p.Msg)
		require.Positive(t, p.Line, p.Msg)
	}
	if hasErrors(problems) {
		return false
	}
	def, err := pattern.Parse([]byte(text))
	require.NoError(t, err)
	if len(def.Steps) > 100 { // its calls would take the fuzzer's time
		return false
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
			require.NotEqual(t, fault.Internal, fault.CodeOf(err), "%v\n%s", err, text)
			require.NotEqual(t, fault.Timeout, fault.CodeOf(err), "%v\n%s", err, text)
			outcomes = append(outcomes, fmt.Sprint(err))
			continue
		}
		require.True(t, json.Valid(answer.Data))
		for _, c := range answer.Charts {
			require.True(t, json.Valid(c))
		}
		outcomes = append(outcomes, answer.DataHash+strings.Join(answer.Warnings, "\n"))
	}
	require.Equal(t, outcomes[0], outcomes[1], text)
	return true
}

// FuzzGenerated is FuzzDefinition for definitions that are made from the fuzzer's bytes and not read from
// them, so that most of them get as far as to run.
func FuzzGenerated(f *testing.F) {
	for seed := range 20 {
		data := make([]byte, 400)
		_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(data)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { runsWell(t, (&wild{data: data}).definition()) })
}

func TestGeneratedDefinitionsAreMostlyValid(t *testing.T) {
	t.Parallel()
	valid := 0
	for seed := range 300 {
		data := make([]byte, 400)
		_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1}).Read(data)
		if runsWell(t, (&wild{data: data}).definition()) {
			valid++
		}
	}
	require.Greater(t, valid, 150, "the fuzzer would mostly look at refusals")
}

// wild makes a definition of a string of bytes, each of which chooses something.
type wild struct {
	data  []byte
	names []string // results so far
	lists map[string]bool
	item  bool // within a for_each
}

func (w *wild) n(below int) int {
	if len(w.data) == 0 {
		return 0
	}
	b := w.data[0]
	w.data = w.data[1:]
	return int(b) % below
}

func (w *wild) of(choices ...string) string { return choices[w.n(len(choices))] }

// path returns a reference to something that is likely there.
func (w *wild) path() string {
	switch w.n(8) {
	case 0:
		return w.of("inputs.days", "inputs.note", "inputs.on", "inputs.opts.x", "inputs.opts", "inputs.list", "inputs.list[0]", "inputs.day", "inputs")
	case 1:
		return w.of("ctx.asof", "ctx.portfolio_id", "ctx.pricing_pack_id", "ctx")
	case 2:
		if w.item {
			return w.of("item", "index", "item.symbol", "item.weight")
		}
	case 3:
		return w.of("positions.total", "positions.rows", "positions.rows[0].symbol", "positions.rows[1]", "positions", "state.positions.asset_class")
	}
	name := w.names[w.n(len(w.names))]
	if w.lists[name] {
		return name + w.of("", "[0]", "[1]", "[0].a")
	}
	return name + w.of("", "", ".a", ".a.b")
}

func (w *wild) value(depth int) any {
	kind := w.n(9)
	if depth == 0 {
		kind %= 6
	}
	switch kind {
	case 0:
		return nil
	case 1:
		return []any{1, -2.5, true, "text", "", "{{\"{{\"}}", 1e300, json.Number("12345678901234567890")}[w.n(8)]
	case 2, 3, 4:
		return "{{" + w.path() + "}}"
	case 5:
		return "a {{" + w.of("inputs.days", "inputs.note", "ctx.asof", "positions.total", "positions.rows[0].symbol", "inputs.list[0]") + "}} b"
	case 6:
		list := make([]any, w.n(4))
		for i := range list {
			list[i] = w.value(depth - 1)
		}
		return list
	}
	return w.object(depth)
}

func (w *wild) object(depth int) map[string]any {
	object := make(map[string]any)
	for range w.n(4) {
		object[w.of("a", "b", "x/y", "ü", "data")] = w.value(depth - 1)
	}
	return object
}

func (w *wild) condition() string {
	single := func() string {
		switch w.n(5) {
		case 0:
			return w.of("inputs.on", "not inputs.on", "inputs.days > 3", "inputs.day < '2010-01-01'", "ctx.portfolio_id != null", "any(inputs.list, # == 'x')", "inputs.note contains 'x'")
		case 1:
			return w.of("positions.total > 1", "positions.asset_class matches '^e.*y$'", "any(positions.rows, .weight > 0.2)", "len(positions.rows) == 2", "sum(positions.rows, .weight) ** 2 < 3",
				"max(positions.total, 1) > 1", "positions.rows[5] == null", "filter(positions.rows, .symbol == 'SPI')[0].weight > 0")
		}
		return w.path() + w.of(" == null", " != null", " == true", " > 1", " ?? true", ".a.b.c == 1", " in [1, 'a', null]", " == positions")
	}
	text := single()
	for range w.n(3) {
		text = w.of("not (", "(") + text + ")" + w.of(" and ", " or ", " == ", " ? true : ") + single()
	}
	return text
}

func (w *wild) step(i int) map[string]any {
	s := map[string]any{"as": fmt.Sprint("r", i)}
	if w.n(4) == 0 {
		s["for_each"] = []any{"{{positions.rows}}", "{{inputs.list}}", []any{1, 1, "{{inputs.days}}"}, "{{" + w.path() + "}}"}[w.n(4)]
		if w.n(2) == 0 {
			s["parallel"] = 1 + w.n(4)
		}
	}
	if w.n(3) == 0 {
		w.item = false
		s["condition"] = w.condition()
	}
	w.item = s["for_each"] != nil
	switch w.n(6) {
	case 0:
		s["capability"] = "alerts.create"
		s["args"] = w.object(2)
	case 1:
		s["capability"] = RunCapability
		s["args"] = map[string]any{"pattern": []any{"{{inputs.note}}", "{{ctx.asof}}", "{{" + w.path() + "}}", "p{{inputs.note}}"}[w.n(4)], "inputs": w.object(1)}
	case 2:
		s["capability"] = "ledger.positions"
		s["args"] = map[string]any{"portfolio_id": []any{portfolioID, "{{inputs.portfolio_id}}"}[w.n(2)], "limit": []any{1, "{{inputs.days}}", nil, "{{inputs.opts.x}}"}[w.n(4)]}
	default:
		s["capability"] = "metrics.twr"
		s["args"] = w.object(3)
	}
	switch w.n(4) {
	case 0:
		s["on_error"] = "continue"
	case 1:
		s["on_error"] = map[string]any{"fallback": w.value(2)}
	}
	if w.n(5) == 0 {
		s["cache"] = false
	}
	if w.n(8) == 0 {
		s["timeout"] = "50s"
	}
	w.item = false
	return s
}

func (w *wild) definition() string {
	w.names, w.lists = []string{"positions"}, make(map[string]bool)
	steps := []any{map[string]any{"capability": "ledger.positions", "as": "positions", "args": map[string]any{"portfolio_id": "{{inputs.portfolio_id}}"}}}
	for i := range 1 + w.n(8) {
		steps = append(steps, w.step(i))
		w.names = append(w.names, fmt.Sprint("r", i))
		_, w.lists[fmt.Sprint("r", i)] = steps[i+1].(map[string]any)["for_each"]
	}
	def := map[string]any{
		"id": "p", "name": "P", "steps": steps, "outputs": []any{w.names[w.n(len(w.names))]},
		"inputs": map[string]any{
			"portfolio_id": map[string]any{"type": "uuid", "required": true}, "days": map[string]any{"type": "integer", "default": 5}, "note": map[string]any{"type": "string"},
			"on": map[string]any{"type": "boolean", "default": true}, "day": map[string]any{"type": "date", "default": "2007-05-08"},
			"opts": map[string]any{"type": "object", "properties": map[string]any{"x": map[string]any{"type": "number"}}},
			"list": map[string]any{"type": "array", "default": []any{"x", 2, nil}[:1+w.n(2)]},
		},
	}
	if w.n(2) == 0 {
		outputs := make(map[string]any)
		for i := range 1 + w.n(3) {
			outputs[fmt.Sprint("o", i)] = []any{w.value(2)}
		}
		def["outputs"] = outputs
		if w.n(3) == 0 {
			def["output_schemas"] = map[string]any{"o0": map[string]any{"type": []any{"array", "null"}, "items": map[string]any{"type": []any{"object", "null", "string", "array"}}}}
		}
	}
	if w.n(3) == 0 {
		def["charts"] = []any{map[string]any{"mark": "bar", "data": map[string]any{"values": w.value(1)}}, "{{" + w.path() + "}}"}[:1+w.n(2)]
	}
	raw, err := json.Marshal(def)
	if err != nil {
		panic(err)
	}
	return string(raw)
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
