package patterns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

// nesting returns a runner that can run patterns besides other capabilities.
func nesting(funcs map[string]capabilityFunc) (*runner, func(*Options)) {
	n := NewNesting()
	decl := n.Capabilities()[0]
	funcs[RunCapability] = decl.Run
	return &runner{funcs: funcs, declared: map[string]agent.Capability{RunCapability: decl}}, func(o *Options) { o.Nesting = n }
}

const innerPattern = `{"id": "inner", "name": "P", "inputs": {"portfolio_id": {"type": "uuid"}, "n": {"type": "integer", "default": 1}}, "steps": [
	{"capability": "a.echo", "as": "x", "args": {"n": "{{inputs.n}}", "portfolio": "{{ctx.portfolio_id}}"}},
	{"capability": "a.warn", "as": "y"}], "outputs": ["x", "y"]}`

func innerFuncs() map[string]capabilityFunc {
	return map[string]capabilityFunc{
		"a.echo": func(_ context.Context, req agent.Request) (agent.Result, error) {
			return agent.Result{Value: req.Args, Sources: []agent.Source{{Name: "inner source"}}}, nil
		},
		"a.warn": func(context.Context, agent.Request) (agent.Result, error) {
			return agent.Result{Value: 1, Warnings: []string{"inner warning"}}, nil
		},
		"a.fail": failing(fault.New(fault.InsufficientData, "nothing there")),
	}
}

func TestPatternsRunPatterns(t *testing.T) {
	t.Parallel()
	r, nested := nesting(innerFuncs())
	const other = "11111111-66f0-4bf9-a7e2-43e2be4f5a7c"
	o, b := setupWith(t, r, nested, innerPattern, `{"id": "overview", "name": "P", "inputs": {"portfolio_id": {"type": "uuid"}, "which": {"type": "string", "default": "inner"}}, "steps": [
		{"capability": "a.warn", "as": "first"},
		{"capability": "pattern.run", "as": "sub", "args": {"pattern": "inner", "inputs": {"n": 2}}},
		{"capability": "pattern.run", "as": "same", "args": {"pattern": "{{inputs.which}}", "inputs": {"n": 2}}},
		{"capability": "pattern.run", "as": "theirs", "for_each": ["`+other+`"], "args": {"pattern": "inner", "inputs": {"portfolio_id": "{{item}}"}}}
	], "outputs": {"n": "{{sub.x.n}}", "of": "{{sub.x.portfolio}}", "same": "{{same}}", "theirs": "{{theirs}}"}}`)
	answer := execute(t, o, map[string]any{"portfolio_id": portfolioID})
	require.Equal(t, `{"n":2,"of":"`+portfolioID+`","same":{"x":{"n":2,"portfolio":"`+portfolioID+`"},"y":1},"theirs":[{"x":{"n":1,"portfolio":"`+other+`"},"y":1}]}`, string(answer.Data))
	require.Equal(t, []string{"first:success", "sub:success", "same:cached", "theirs:success"}, statuses(answer.Trace.Steps))
	require.Equal(t, []string{"x:success", "y:cached"}, statuses(answer.Trace.Steps[1].Steps), "a call of the outer pattern is not made again")
	require.Equal(t, []string{"a.echo", "a.warn", "pattern.run"}, answer.Trace.CapabilitiesUsed)
	require.Equal(t, []string{"inner source"}, answer.Trace.Sources)
	require.Contains(t, answer.Warnings, "inner warning")
	require.Equal(t, 2, b.runner.count("a.echo"))
	require.Equal(t, "pack-1", b.contexts.last.PackID, "a pattern within sees the pack of the one around it")
}

// A run sees one version of each portfolio's ledger, however often and from where it is looked at and whatever is
// booked meanwhile, and says which.
func TestARunSeesOneVersionOfEachLedger(t *testing.T) {
	t.Parallel()
	const other, third = "11111111-66f0-4bf9-a7e2-43e2be4f5a7c", "22222222-66f0-4bf9-a7e2-43e2be4f5a7c"
	about := `"inputs": {"portfolio_id": {"type": "uuid"}}`
	runs := func(as, pattern, portfolio string) string {
		return fmt.Sprintf(`{"capability": "pattern.run", "as": %q, "cache": false, "args": {"pattern": %q, "inputs": {"portfolio_id": %q}}}`, as, pattern, portfolio)
	}
	r, nested := nesting(innerFuncs())
	seen := &recorder{}
	o, b := setupWith(t, r, func(opts *Options) { nested(opts); opts.Recorder = seen },
		`{"id": "ledger", "name": "P", `+about+`, "steps": [{"capability": "a.echo", "as": "x", "args": {"v": "{{ctx.ledger_version}}"}}], "outputs": {"v": "{{x.v}}"}}`,
		`{"id": "back", "name": "P", `+about+`, "steps": [`+runs("a", "ledger", portfolioID)+`, `+runs("b", "ledger", third)+`], "outputs": {"own": "{{a.v}}", "third": "{{b.v}}", "v": "{{ctx.ledger_version}}"}}`,
		`{"id": "overview", "name": "P", `+about+`, "steps": [`+runs("a", "ledger", other)+`, `+runs("b", "ledger", strings.ToUpper(other))+`, `+runs("c", "back", other)+`, `+runs("d", "ledger", third)+`],
			"outputs": {"own": "{{ctx.ledger_version}}", "a": "{{a.v}}", "b": "{{b.v}}", "c": "{{c.v}}", "back": "{{c.own}}", "third": "{{c.third}}", "d": "{{d.v}}"}}`)
	resolved := 0
	b.contexts.change = func(c *agent.Context) {
		resolved++
		c.Portfolio.LedgerVersion = fmt.Sprint("v", resolved)
	}
	answer := execute(t, o, map[string]any{"portfolio_id": portfolioID})
	var got map[string]string
	require.NoError(t, json.Unmarshal(answer.Data, &got))
	require.Equal(t, "v1", got["own"])
	require.Equal(t, got["own"], got["back"], "of the run's own portfolio too")
	require.Equal(t, []string{got["a"], got["a"]}, []string{got["b"], got["c"]})
	require.Equal(t, got["third"], got["d"])
	require.Equal(t, 3, resolved)
	want := map[string]string{other: got["a"], third: got["d"]}
	require.Equal(t, want, answer.Trace.LedgerVersions)
	require.Equal(t, want, seen.runs[0].Trace.LedgerVersions)

	// Who pins them gets those.
	pins := map[string]string{other: "then", third: "also then"}
	b.contexts.change = nil
	_, err := o.Execute(t.Context(), Request{PatternID: "ledger", Inputs: map[string]any{"portfolio_id": other}, LedgerVersions: pins})
	require.NoError(t, err)
	require.Empty(t, b.contexts.last.LedgerVersion, "the run's own has a pin of its own")
	asked := map[string]string{}
	b.contexts.asked = func(q ContextQuery) { asked[q.PortfolioID] = q.LedgerVersion }
	_, err = o.Execute(t.Context(), Request{PatternID: "overview", Inputs: map[string]any{"portfolio_id": portfolioID}, LedgerVersion: "mine", LedgerVersions: pins})
	require.NoError(t, err)
	require.Equal(t, map[string]string{portfolioID: "mine", other: "then", third: "also then"}, asked)
}

// What one step could not look up, or had no time for, the next one may.
func TestALedgerThatCouldNotBeSeenIsLookedUpAgain(t *testing.T) {
	t.Parallel()
	var p portfolios
	found := &agent.Portfolio{ID: "A"}
	begun, finish := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		_, err := p.at(t.Context(), "a", func(string) (*agent.Portfolio, error) {
			close(begun)
			<-finish
			return nil, context.Canceled
		})
		done <- err
	}()
	<-begun
	left, leave := context.WithCancel(t.Context())
	leave()
	_, err := p.at(left, "A", func(string) (*agent.Portfolio, error) { panic("not before the other has ended") })
	require.ErrorIs(t, err, context.Canceled)
	close(finish)
	require.ErrorIs(t, <-done, context.Canceled)
	for range 2 {
		got, err := p.at(t.Context(), "A", func(string) (*agent.Portfolio, error) { return found, nil })
		require.NoError(t, err)
		require.Same(t, found, got)
		found = got
	}
}

func TestFailuresWithinPatterns(t *testing.T) {
	t.Parallel()
	outer := func(args string) string {
		return `{"id": "overview", "name": "P", "inputs": {"which": {"type": "string", "default": "deep"}}, "steps": [{"capability": "pattern.run", "as": "sub", "args": ` + args + `}], "outputs": ["sub"]}`
	}
	for name, tc := range map[string]struct {
		outer, err string
		code       fault.Code
		within     []string
	}{
		"a step within":  {outer(`{"pattern": "failing"}`), "pattern overview, step 0 (sub): pattern failing, step 1 (y): nothing there", fault.InsufficientData, []string{"x:success", "y:error"}},
		"wrong inputs":   {outer(`{"pattern": "inner", "inputs": {"n": "x"}}`), "pattern inner is run with wrong inputs: /inputs/n: a whole number is expected, not a string", fault.Invalid, nil},
		"unknown at run": {outer(`{"pattern": "no {{inputs.which}}"}`), `there is no pattern "no deep"`, fault.PatternError, nil},
		"without end":    {outer(`{"pattern": "{{inputs.which}}"}`), "patterns run each other deeper than 5: deep is not run", fault.PatternError, []string{"again:error"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, nested := nesting(innerFuncs())
			o, _ := setupWith(t, r, nested, innerPattern, tc.outer,
				`{"id": "failing", "name": "P", "steps": [{"capability": "a.warn", "as": "x"}, {"capability": "a.fail", "as": "y"}], "outputs": ["x", "y"]}`,
				`{"id": "deep", "name": "P", "inputs": {"id": {"type": "string", "default": "deep"}}, "steps": [{"capability": "pattern.run", "as": "again", "args": {"pattern": "{{inputs.id}}"}}], "outputs": ["again"]}`)
			_, err := o.Execute(t.Context(), request(nil))
			require.ErrorContains(t, err, tc.err)
			require.Equal(t, tc.code, fault.CodeOf(err))
			trace, ok := TraceOf(err)
			require.True(t, ok)
			require.Equal(t, tc.within, statuses(trace.Steps[0].Steps))
		})
	}
}

// Fields of an error point into the caller's request, however deep it was found.
func TestFieldsOfErrorsAreTheCallers(t *testing.T) {
	t.Parallel()
	funcs := innerFuncs()
	funcs["a.refuse"] = func(context.Context, agent.Request) (agent.Result, error) {
		return agent.Result{}, &fault.Error{Code: fault.Invalid, Detail: "no", Fields: []fault.Field{
			{Pointer: "/args/n", Detail: "is odd"}, {Pointer: "/args/list/1/from", Detail: "is late"}, {Pointer: "/args/fixed", Detail: "is fixed"}, {Pointer: "/args/whole/a/b", Detail: "is deep"},
		}}
	}
	const inputs = `"inputs": {"m": {"type": "integer", "default": 1}, "opts": {"type": "object", "default": {"day": "x", "days": ["x", {"a": {"b": 1}}]}}}`
	refusing := `{"id": "refusing", "name": "P", ` + inputs + `, "steps": [{"capability": "a.refuse", "as": "x", "args":
		{"n": "{{inputs.m}}", "list": [1, {"from": "{{inputs.opts.day}}"}], "fixed": 1, "whole": "{{inputs.opts.days[1]}}"}}], "outputs": ["x"]}`
	outer := func(args string) string {
		return `{"id": "overview", "name": "P", "inputs": {"k": {"type": "integer", "default": 1}, "text": {"type": "string", "default": "x"}, "o": {"type": "object", "default": {"day": "x", "days": [1, 2]}}},
			"steps": [{"capability": "pattern.run", "as": "sub", "args": ` + args + `}], "outputs": ["sub"]}`
	}
	for name, tc := range map[string]struct {
		pattern, outer string
		want           []string
	}{
		"at the top": {"refusing", outer(`{"pattern": "refusing"}`), []string{"/inputs/m is odd", "/inputs/opts/day is late", "/inputs/opts/days/1/a/b is deep"}},
		"within": {
			"overview", outer(`{"pattern": "refusing", "inputs": {"m": "{{inputs.k}}", "opts": "{{inputs.o}}"}}`),
			[]string{"/inputs/k is odd", "/inputs/o/day is late", "/inputs/o/days/1/a/b is deep"},
		},
		"not the caller's": {"overview", outer(`{"pattern": "refusing"}`), nil},
		"wrong inputs":     {"overview", outer(`{"pattern": "inner", "inputs": {"n": "{{inputs.text}}", "portfolio_id": "x"}}`), []string{"/inputs/text a whole number is expected, not a string"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, nested := nesting(maps.Clone(funcs))
			o, _ := setupWith(t, r, nested, innerPattern, refusing, tc.outer)
			_, err := o.Execute(t.Context(), Request{PatternID: tc.pattern})
			require.Equal(t, fault.Invalid, fault.CodeOf(err))
			e, ok := errors.AsType[*fault.Error](err)
			require.True(t, ok)
			var got []string
			for _, f := range e.Fields {
				got = append(got, f.Pointer+" "+f.Detail)
			}
			require.Equal(t, tc.want, got)
		})
	}
}

// However many fields an error has, and however long it is, telling it costs a walk over it, and no pointer is
// taken for the beginning of what another one was turned into.
func TestTheCallersViewIsOneWalk(t *testing.T) {
	t.Parallel()
	s := step{args: objectExpr{{key: "a", value: &refExpr{root: rootInputs, parts: []part{{field: "args"}}}}, {key: "b", value: &refExpr{root: rootInputs, parts: []part{{field: "x"}}}}}}
	e := &fault.Error{Code: fault.Invalid, Detail: "/args/a/b: is odd; /args/b: is late", Fields: []fault.Field{{Pointer: "/args/a/b", Detail: "is odd"}, {Pointer: "/args/b", Detail: "is late"}}}
	require.Equal(t, "/inputs/args/b: is odd; /inputs/x: is late", fault.Detail(s.callersView(e)))

	const n = 20_000
	e = &fault.Error{Code: fault.Invalid}
	var detail strings.Builder
	for i := range n {
		e.Fields = append(e.Fields, fault.Field{Pointer: fmt.Sprintf("/args/a/%d", i), Detail: "is odd"})
		fmt.Fprintf(&detail, "/args/a/%d: is odd; ", i)
	}
	e.Detail = detail.String()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := fault.Detail(s.callersView(e))
	runtime.ReadMemStats(&after)
	require.Equal(t, strings.ReplaceAll(e.Detail, "/args/a/", "/inputs/args/"), got)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(100<<20))
}

func TestNestedPatternsAreCheckedWhenTheyAreLoaded(t *testing.T) {
	t.Parallel()
	runs := func(id, target, inputs string) string {
		return fmt.Sprintf(`{"id": %q, "name": "P", "steps": [{"capability": "pattern.run", "as": "x", "args": {"pattern": %q, "inputs": {%s}}}], "outputs": ["x"]}`, id, target, inputs)
	}
	r, _ := nesting(innerFuncs())
	c, err := loadDir(writeFiles(t, map[string]string{
		"a.json": runs("a", "b", ""), "b.json": runs("b", "c", ""), "c.json": runs("c", "a", ""),
		"d.json": runs("d", "innner", ""), "e.json": runs("e", "inner", `"m": 1`), "f.json": runs("f", "f", ""),
		"j.json": runs("j", "needs", `"n": 1`), "k.json": runs("k", "needs", `"m": "{{ctx.asof}}"`), "l.json": `{"id": "needs", "name": "P", "inputs": {"m": {"type": "string", "required": true}, "n": {"type": "integer"}}, "steps": [{"capability": "a.warn", "as": "x"}], "outputs": ["x"]}`,
		"g.json": runs("g", "inner", `"n": 1`), "h.json": runs("h", "d", ""), "i.json": innerPattern,
	}), r)
	require.NoError(t, err)
	var texts []string
	for _, p := range c.problems {
		texts = append(texts, p.Error())
	}
	for _, want := range []string{
		`a.json:1:97: step x: patterns run each other without end: a runs b runs c runs a`,
		`b.json:1:97: step x: patterns run each other without end: b runs c runs a runs b`,
		`c.json:1:97: step x: patterns run each other without end: c runs a runs b runs c`,
		`d.json:1:97: step x: there is no pattern "innner" that can be run; did you mean "inner"?`,
		`e.json:1:122: step x: the pattern "inner" has no input "m"`,
		`f.json:1:97: step x: the pattern runs itself`,
		`h.json:1:97: step x: there is no pattern "d" that can be run`,
		`j.json:1:85: step x: the input "m" of the pattern "needs" is missing`,
	} {
		require.Contains(t, strings.Join(texts, "\n"), want)
	}
	require.Equal(t, []string{"g", "inner", "k", "needs"}, slices.Sorted(maps.Keys(c.plans)))
}

func TestAStepThatRunsAPatternWithoutEffectsIsNoBarrier(t *testing.T) {
	t.Parallel()
	r, nested := nesting(map[string]capabilityFunc{"a.read": value(1), "a.effect": value(2)})
	r.declared["a.effect"] = agent.Capability{Purity: agent.Effectful}
	o, _ := setupWith(t, r, nested,
		`{"id": "reads", "name": "P", "steps": [{"capability": "a.read", "as": "x"}], "outputs": ["x"]}`,
		`{"id": "writes", "name": "P", "steps": [{"capability": "a.effect", "as": "x"}], "outputs": ["x"]}`,
		`{"id": "overview", "name": "P", "inputs": {"which": {"type": "string"}}, "steps": [
			{"capability": "pattern.run", "as": "a", "args": {"pattern": "reads"}}, {"capability": "pattern.run", "as": "b", "args": {"pattern": "writes"}},
			{"capability": "pattern.run", "as": "c", "args": {"pattern": "{{inputs.which}}"}}], "outputs": ["a", "b", "c"]}`)
	require.Equal(t, []bool{false, true, true}, o.serving.Load().programs["overview"].barriers)
}

func TestPatternsCanNotBeRunFromOutside(t *testing.T) {
	t.Parallel()
	_, err := NewNesting().Capabilities()[0].Run(t.Context(), agent.Request{Args: map[string]any{"pattern": json.Number("1")}})
	require.Equal(t, fault.Internal, fault.CodeOf(err))
}
