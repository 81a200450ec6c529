package patterns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

// pattern returns the text of a pattern named "overview" with the given parts.
func patternOf(steps, rest string) string {
	return `{"id": "overview", "name": "P", "steps": [` + steps + `], ` + rest + `}`
}

// after returns a capability that answers with v once d has gone by.
func after(d time.Duration, v any) capabilityFunc {
	return func(ctx context.Context, _ agent.Request) (agent.Result, error) {
		select {
		case <-time.After(d):
			return agent.Result{Value: v}, nil
		case <-ctx.Done():
			return agent.Result{}, ctx.Err()
		}
	}
}

func failing(err error) capabilityFunc {
	return func(context.Context, agent.Request) (agent.Result, error) { return agent.Result{}, err }
}

// realTime makes an orchestrator keep the bubble's time.
func realTime(o *Options) { o.Now, o.Tracer = time.Now, nil }

// statuses returns "as:status" of each step.
func statuses(steps []StepTrace) []string {
	var all []string
	for _, s := range steps {
		all = append(all, s.As+":"+string(s.Status))
	}
	return all
}

func execute(t *testing.T, o *Orchestrator, inputs map[string]any) *Answer {
	t.Helper()
	answer, err := o.Execute(t.Context(), request(inputs))
	require.NoError(t, err)
	return answer
}

// Ten steps that don't look at each other run side by side; ten that do take as long as their chain.
// Time is the bubble's: what is measured is when steps began and ended, not the machine.
func TestIndependentStepsRunSideBySide(t *testing.T) {
	t.Parallel()
	const d = 100 * time.Millisecond
	for name, tc := range map[string]struct {
		arg   func(i int) string
		bound int
		want  time.Duration
	}{
		"independent":     {arg: func(i int) string { return fmt.Sprint(i) }, want: d},
		"a chain":         {arg: func(i int) string { return chained(i, i-1) }, want: 10 * d},
		"two chains":      {arg: func(i int) string { return chained(i, i-2) }, want: 5 * d},
		"bounded by four": {arg: func(i int) string { return fmt.Sprint(i) }, bound: 4, want: 3 * d},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var steps []string
			var outputs []string
			for i := range 10 {
				steps = append(steps, fmt.Sprintf(`{"capability": "a.wait", "as": "s%d", "args": {"n": %s}}`, i, tc.arg(i)))
				outputs = append(outputs, fmt.Sprintf("%q", fmt.Sprint("s", i)))
			}
			definition := patternOf(strings.Join(steps, ","), `"outputs": [`+strings.Join(outputs, ",")+`]`)
			synctest.Test(t, func(t *testing.T) {
				o, _ := setupWith(t, &runner{funcs: map[string]capabilityFunc{"a.wait": after(d, 1)}}, func(opts *Options) {
					realTime(opts)
					opts.Parallelism = tc.bound
				}, definition)
				answer := execute(t, o, nil)
				require.Equal(t, tc.want, time.Duration(answer.Trace.DurationSeconds*float64(time.Second)).Round(time.Millisecond))
				if name == "independent" {
					first, last := answer.Trace.Steps[0], answer.Trace.Steps[9]
					require.Equal(t, first.StartedAt, last.StartedAt, "the steps of the trace must overlap")
				}
			})
		})
	}
}

func chained(i, on int) string {
	if on < 0 {
		return fmt.Sprint(i)
	}
	return fmt.Sprintf(`["{{s%d}}", %d]`, on, i)
}

// Whatever takes how long and ends in which order: answer, trace and failure are those of running the
// steps one after the other. The definitions use all that the language has, and share calls between
// steps, items and the patterns within them.
func TestOrderDoesNotShow(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	seen := make(map[string]int)
	for round := range 300 {
		g := &generator{rng: rng, fails: make(map[string]bool)}
		for i := range 6 {
			g.fails[fmt.Sprint("a.s", i)] = rng.IntN(8) == 0
		}
		g.fails["a.effect"] = rng.IntN(12) == 0
		definitions := []string{
			g.pattern("leaf", 1+rng.IntN(4), nil),
			g.pattern("middle", 1+rng.IntN(5), []string{"leaf"}),
			g.pattern("overview", 2+rng.IntN(11), []string{"leaf", "middle"}),
		}
		var first string
		for try := range 4 {
			synctest.Test(t, func(t *testing.T) {
				got, answered := g.outcome(t, definitions, uint64(round), try)
				if try == 0 {
					first = got
					for _, status := range []string{`"success"`, `"cached"`, `"skipped"`, `"error"`} {
						seen[status] += strings.Count(got, status)
					}
					if answered {
						seen["answer"]++
					} else {
						seen["failure"]++
					}
				}
				require.Equal(t, first, got, "try %d of round %d\n%s", try, round, strings.Join(definitions, "\n"))
			})
			if t.Failed() {
				return
			}
		}
	}
	for what, n := range seen {
		require.Greater(t, n, 50, "the generator hardly makes %s: %v", what, seen)
	}
}

// generator makes definitions by chance. Their capabilities take their time, and some of them fail.
type generator struct {
	rng   *rand.Rand
	fails map[string]bool // by capability
	lists map[string]bool // by result: whether it is that of a for_each
}

func (g *generator) chance(oneIn int) bool { return g.rng.IntN(oneIn) == 0 }

func (g *generator) pattern(id string, n int, within []string) string {
	g.lists = make(map[string]bool)
	var steps, outputs []string
	for i := range n {
		steps = append(steps, g.step(i, within))
		outputs = append(outputs, fmt.Sprintf(`"s%d"`, i))
	}
	return fmt.Sprintf(`{"id": %q, "name": "P", "inputs": {"n": {"type": "integer", "default": 0}}, "steps": [%s], "outputs": [%s]}`,
		id, strings.Join(steps, ",\n"), strings.Join(outputs, ","))
}

func (g *generator) step(i int, within []string) string {
	earlier := func() string { return fmt.Sprint("s", g.rng.IntN(max(i, 1))) }
	s := map[string]any{"as": fmt.Sprint("s", i)}
	args := map[string]any{}
	if i > 0 && g.chance(2) {
		needs := []any{}
		for range 1 + g.rng.IntN(2) {
			needs = append(needs, "{{"+earlier()+"}}")
		}
		args["needs"] = needs
	}
	s["capability"] = fmt.Sprint("a.s", g.rng.IntN(6)) // few, so that calls are equal
	switch {
	case g.chance(8):
		s["capability"] = "a.effect"
	case len(within) > 0 && g.chance(4):
		s["capability"] = RunCapability
		args = map[string]any{"pattern": within[g.rng.IntN(len(within))]}
		if g.chance(2) {
			args["inputs"] = map[string]any{"n": g.rng.IntN(2)}
		}
	case g.chance(3):
		args["n"] = "{{inputs.n}}"
	}
	if g.chance(4) {
		list := []any{}
		for range g.rng.IntN(5) {
			list = append(list, g.rng.IntN(2))
		}
		s["for_each"] = list
		if i > 0 && g.chance(3) {
			s["for_each"] = []any{"{{" + earlier() + "}}", 1, 1}
		}
		if s["capability"] != RunCapability {
			args["item"] = "{{item}}"
		}
		if g.chance(3) && s["capability"] != "a.effect" && s["capability"] != RunCapability { // who sets it for effects has them in any order
			s["parallel"] = 1 + g.rng.IntN(3)
		}
	}
	if i > 0 && g.chance(4) {
		on := earlier()
		s["condition"] = on + []string{" != null", " == null"}[g.rng.IntN(2)]
		if g.lists[on] {
			s["condition"] = []string{"any(" + on + ", # != null)", on + "[1] == null", "len(" + on + ") > 2"}[g.rng.IntN(3)]
		}
	}
	g.lists[s["as"].(string)] = s["for_each"] != nil
	switch g.rng.IntN(5) {
	case 0, 1:
		s["on_error"] = "continue"
	case 2:
		s["on_error"] = map[string]any{"fallback": "instead"}
		if i > 0 {
			s["on_error"] = map[string]any{"fallback": []any{"{{" + earlier() + "}}"}}
		}
	}
	if g.chance(6) {
		s["cache"] = false
	}
	if g.chance(8) {
		s["timeout"] = "1m" // never up
	}
	s["args"] = args
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// outcome runs the pattern named overview and returns all that a caller may see of it but times. The
// first try makes one call after the other.
func (g *generator) outcome(t *testing.T, definitions []string, round uint64, try int) (text string, answered bool) {
	t.Helper()
	var mu sync.Mutex
	delays := rand.New(rand.NewPCG(round, uint64(try)))
	var effects []string
	r, nested := nesting(map[string]capabilityFunc{})
	r.declared["a.effect"] = agent.Capability{Purity: agent.Effectful}
	r.declared["a.s0"] = agent.Capability{Purity: agent.Pure}
	r.declared["a.s1"] = agent.Capability{Purity: agent.Pure}
	for name, fails := range g.fails {
		r.funcs[name] = func(ctx context.Context, req agent.Request) (agent.Result, error) {
			mu.Lock()
			d := time.Duration(delays.IntN(50)) * time.Millisecond
			sees := len(effects)
			if name == "a.effect" {
				raw, err := json.Marshal(req.Args)
				require.NoError(t, err)
				effects = append(effects, string(raw))
			}
			mu.Unlock()
			v := map[string]any{"of": name, "args": req.Args}
			if r.declared[name].Purity != agent.Pure {
				v["effects"] = sees // what changes something shows in what is read later
			}
			result, err := after(d, v)(ctx, req)
			result.Warnings, result.Sources = []string{"warning of " + name}, []agent.Source{{Name: "source of " + name}}
			if err == nil && fails {
				err = fault.New(fault.InsufficientData, "no data for %s", name)
			}
			return result, err
		}
	}
	o, _ := setupWith(t, r, func(opts *Options) {
		nested(opts)
		realTime(opts)
		opts.CacheBytes = 1 << 20
		if try == 0 {
			opts.Parallelism = 1
		}
	}, definitions...)
	answer, err := o.Execute(t.Context(), request(nil))
	trace, failed := TraceOf(err)
	if failed {
		text = err.Error() + string(fault.CodeOf(err))
	} else {
		require.NoError(t, err)
		trace = answer.Trace
		text = string(answer.Data) + strings.Join(answer.Warnings, "\n") + answer.DataHash
	}
	trace.DurationSeconds = 0
	timeless(trace.Steps)
	raw, err := json.MarshalIndent(trace, "", " ")
	require.NoError(t, err)
	return text + "\n" + string(raw) + "\n" + strings.Join(effects, "\n"), !failed
}

func timeless(steps []StepTrace) {
	for i := range steps {
		steps[i].StartedAt, steps[i].DurationSeconds = time.Time{}, 0
		timeless(steps[i].Steps)
	}
}

func TestAnEffectWaitsForEveryStepBeforeIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &runner{
			funcs: map[string]capabilityFunc{
				"a.slow": after(time.Second, 1), "a.fail": func(context.Context, agent.Request) (agent.Result, error) {
					<-time.After(2 * time.Second)
					return agent.Result{}, fault.New(fault.InsufficientData, "nothing there")
				},
				"a.effect": value("done"),
			},
			declared: map[string]agent.Capability{"a.effect": {Purity: agent.Effectful}, "a.pure": {Purity: agent.Pure}},
		}
		r.funcs["a.pure"] = value(1)
		o, _ := setupWith(t, r, realTime,
			patternOf(`{"capability": "a.slow", "as": "x"}, {"capability": "a.effect", "as": "y"}, {"capability": "a.slow", "as": "z", "args": {"n": 1}}, {"capability": "a.pure", "as": "p"}`, `"outputs": ["x", "y", "z", "p"]`),
			strings.Replace(patternOf(`{"capability": "a.fail", "as": "x"}, {"capability": "a.effect", "as": "y"}`, `"outputs": ["x", "y"]`), "overview", "failing", 1))
		answer := execute(t, o, nil)
		steps := answer.Trace.Steps
		require.Equal(t, time.Second, steps[1].StartedAt.Sub(steps[0].StartedAt))
		require.Equal(t, steps[1].StartedAt, steps[2].StartedAt, "what reads sees the effect of a step before it")
		require.Equal(t, steps[0].StartedAt, steps[3].StartedAt, "what is pure has nothing to wait for")

		_, err := o.Execute(t.Context(), Request{PatternID: "failing"})
		require.Equal(t, fault.InsufficientData, fault.CodeOf(err))
		require.Equal(t, 1, r.count("a.effect"), "the effect of a run whose earlier step failed must not happen")
	})
}

// A step with effects asks for one item after the other, unless its author has said how many at a time.
func TestEffectsOfItemsStopAtTheFirstThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &runner{
			funcs: map[string]capabilityFunc{"a.effect": func(ctx context.Context, req agent.Request) (agent.Result, error) {
				result, err := after(time.Second, 1)(ctx, req)
				if err == nil && req.Args["n"] == json.Number("2") {
					err = fault.New(fault.InsufficientData, "no")
				}
				return result, err
			}},
			declared: map[string]agent.Capability{"a.effect": {Purity: agent.Effectful}},
		}
		o, _ := setupWith(t, r, realTime, patternOf(`{"capability": "a.effect", "as": "x", "for_each": [1, 2, 3], "args": {"n": "{{item}}"}}`, `"outputs": ["x"]`))
		_, err := o.Execute(t.Context(), request(nil))
		require.ErrorContains(t, err, "item 1: no")
		require.Equal(t, 2, r.count("a.effect"), "the third item's effect must not happen")
	})
}

// How many calls may be under way at once must not decide which of them finish in time.
func TestATimeoutDoesNotCountTheWaitForASlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &runner{funcs: map[string]capabilityFunc{"a.wait": after(time.Second, 1)}}
		var steps []string
		for i := range 5 {
			steps = append(steps, fmt.Sprintf(`{"capability": "a.wait", "as": "s%d", "args": {"n": %d}, "timeout": "1500ms"}`, i, i))
		}
		o, _ := setupWith(t, r, func(opts *Options) { realTime(opts); opts.Parallelism = 1 }, patternOf(strings.Join(steps, ","), `"outputs": ["s0", "s1", "s2", "s3", "s4"]`))
		require.Equal(t, 5*time.Second, time.Duration(execute(t, o, nil).Trace.DurationSeconds*float64(time.Second)))
	})
}

// panicking is a result that can't be written.
type panicking struct{}

func (panicking) MarshalJSON() ([]byte, error) { panic("broken") }

// A panic in one of a run's goroutines would end the process, and everyone's requests with it.
func TestAPanicIsAnErrorOfTheRun(t *testing.T) {
	t.Parallel()
	r := &runner{
		funcs:    map[string]capabilityFunc{"a.panics": value(panicking{}), "a.ok": value(1)},
		declared: map[string]agent.Capability{"a.panics": {Purity: agent.Pure}},
	}
	o, _ := setupWith(t, r, func(opts *Options) { opts.CacheBytes = 1 << 20 }, patternOf(`
		{"capability": "a.panics", "as": "a", "on_error": "continue"},
		{"capability": "a.panics", "as": "b", "args": {}, "on_error": {"fallback": 2}},
		{"capability": "a.panics", "as": "c", "for_each": [1, 2, 1], "args": {"n": "{{item}}"}, "on_error": "continue"},
		{"capability": "a.ok", "as": "d"}`, `"outputs": ["a", "b", "c", "d"]`),
		strings.Replace(patternOf(`{"capability": "a.ok", "as": "x"}, {"capability": "a.ok", "as": "y", "args": {"n": 1}}`, `"outputs": ["x", "y"]`), "overview", "listened", 1))
	answer := execute(t, o, nil)
	require.Equal(t, `{"a":null,"b":2,"c":[null,null,null],"d":1}`, string(answer.Data))

	// Whoever listens to the run may break as well.
	_, err := o.Execute(t.Context(), Request{PatternID: "listened", OnEvent: func(e Event) {
		if e.Type == StepEnded || e.Type == StepFailed {
			panic("the listener broke")
		}
	}})
	require.Equal(t, fault.Internal, fault.CodeOf(err))
}

func TestConditions(t *testing.T) {
	t.Parallel()
	funcs := map[string]capabilityFunc{"a.first": value(map[string]any{
		"class": "equity", "none": nil, "n": 3, "f": 2.5, "yes": true, "big": json.Number("12345678901234567890"),
		"rows": []any{map[string]any{"w": 0.2, "s": "SPI"}, map[string]any{"w": 0.3, "s": "SBI"}},
	}), "a.second": value("ran")}
	for condition, want := range map[string]bool{
		`first.class == 'equity'`: true, `first.class == "bond"`: false, `state.first.class != null`: true,
		`first.none == null`: true, `first.none == nil`: true, `first.none != null`: false, `first.missing == null`: true,
		`first.none.a.b == null`: true, `skipped == null`: true, `skipped.field.deep == null`: true,
		`inputs.flag == true`: true, `inputs.flag`: true, `not inputs.flag`: false, `!inputs.flag`: false,
		`inputs.days > 100 and inputs.days <= 252`: true, `inputs.days == 252`: true, `inputs.rate == null`: true,
		`inputs.share > 0.25`: false, `inputs.share == 0.25`: true, `inputs.choice in ['a', 'b']`: true,
		`inputs.tags[0] == 'x'`: true, `len(inputs.tags) == 2`: true, `'y' in inputs.tags`: true,
		`first.n == 3 && first.f == 2.5`: true, `first.n > first.f`: true, `first.big > 1`: true, `first.yes`: true,
		`any(first.rows, .w > 0.25)`: true, `all(first.rows, .w > 0.25)`: false, `count(first.rows, # .w > 0) == 2`: true,
		`any(first.rows, .w > inputs.share)`: true, `sum(first.rows, .w) == 0.5`: true, `len(filter(first.rows, .s startsWith 'S')) == 2`: true,
		`ctx.asof == '2007-05-08'`: true, `ctx.portfolio_id == null`: true, `first.rows[1].s == 'SBI'`: true, `first.rows[-1].s == 'SBI'`: true,
		`(first.none ?? 5) > 4`: true, `first.n > 2 ? true : false`: true, `inputs.opts.deep.x == 1`: true, `upper(first.class) == 'EQUITY'`: true,
		`first.class matches '^eq'`: true, `first["class"] == "equity"`: true,
	} {
		t.Run(condition, func(t *testing.T) {
			t.Parallel()
			text, err := json.Marshal(condition)
			require.NoError(t, err)
			o, _ := setup(t, funcs, `{"id": "overview", "name": "P", "inputs": {
				"flag": {"type": "boolean", "default": true}, "days": {"type": "integer", "default": 252}, "rate": {"type": "number"},
				"share": {"type": "number", "default": 0.25}, "choice": {"type": "enum", "values": ["a", "b"], "default": "a"},
				"tags": {"type": "array", "items": {"type": "string"}, "default": ["x", "y"]}, "opts": {"type": "object", "default": {"deep": {"x": 1}}}
			}, "steps": [
				{"capability": "a.first", "as": "first"},
				{"capability": "a.second", "as": "skipped", "condition": "inputs.days < 0"},
				{"capability": "a.second", "as": "second", "condition": `+string(text)+`}
			], "outputs": ["first", "skipped", "second"]}`)
			answer := execute(t, o, nil)
			last := answer.Trace.Steps[2]
			if want {
				require.Contains(t, []StepStatus{StatusSuccess, StatusCached}, last.Status)
				require.Contains(t, string(answer.Data), `"second":"ran"`)
				return
			}
			require.Equal(t, StatusSkipped, last.Status)
			require.Equal(t, fmt.Sprintf("the condition %q is false", condition), last.Reason)
			require.Contains(t, string(answer.Data), `"second":null`)
			require.NotContains(t, answer.Trace.CapabilitiesUsed, "a.second")
		})
	}
}

// What does not fit at run time is the pattern's mistake, and never an internal error.
func TestConditionsThatCanNotBeEvaluated(t *testing.T) {
	t.Parallel()
	for condition, want := range map[string]string{
		`first.none > 5`:      "the condition \"first.none > 5\" of step second can't be evaluated",
		`first.rows[7] == 1`:  "index out of range",
		`first.n`:             "invalid operation: bool(int)",
		`first.n + 'x' == ''`: "can't be evaluated",
	} {
		o, _ := setup(t, map[string]capabilityFunc{"a.first": value(map[string]any{"n": 1, "none": nil, "rows": []any{}})},
			patternOf(`{"capability": "a.first", "as": "first"}, {"capability": "a.first", "as": "second", "condition": "`+condition+`"}`, `"outputs": ["first", "second"]`))
		_, err := o.Execute(t.Context(), request(nil))
		require.ErrorContains(t, err, want)
		require.Equal(t, fault.PatternError, fault.CodeOf(err))
		trace, ok := TraceOf(err)
		require.True(t, ok)
		require.Equal(t, []string{"first:success", "second:error"}, statuses(trace.Steps))
	}
}

func TestOnError(t *testing.T) {
	t.Parallel()
	funcs := map[string]capabilityFunc{
		"a.fail":   failing(fault.New(fault.BreakerOpen, "agent a is not called")),
		"a.secret": failing(errors.New("dial 10.0.0.1: secret")),
		"a.echo": func(_ context.Context, req agent.Request) (agent.Result, error) {
			return agent.Result{Value: req.Args["v"]}, nil
		},
	}
	o, b := setup(t, funcs, patternOf(`
		{"capability": "a.fail", "as": "a", "on_error": "continue"},
		{"capability": "a.echo", "as": "b", "args": {"v": ["{{a}}", "{{a.x.y}}"]}},
		{"capability": "a.secret", "as": "c", "on_error": {"fallback": {"from": "{{b}}", "n": 1}}},
		{"capability": "a.secret", "as": "d", "on_error": {"fallback": null}}`, `"outputs": ["a", "b", "c", "d"]`))
	answer := execute(t, o, nil)
	require.Equal(t, `{"a":null,"b":[null,null],"c":{"from":[null,null],"n":1},"d":null}`, string(answer.Data))
	require.Equal(t, []string{"a:error", "b:success", "c:error", "d:error"}, statuses(answer.Trace.Steps))
	require.Equal(t, "agent a is not called", answer.Trace.Steps[0].Error)
	require.Equal(t, []string{
		"step a failed and was passed over: agent a is not called",
		"step c failed and was passed over: an internal error occurred; the request id leads to it in the log",
		"step d failed and was passed over: an internal error occurred; the request id leads to it in the log",
	}, answer.Warnings)
	require.Equal(t, 1, b.runner.count("a.secret"), "c and d make the same call")
}

func TestAClientThatLeavesIsNotPassedOver(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	o, _ := setup(t, map[string]capabilityFunc{"a.wait": func(ctx context.Context, _ agent.Request) (agent.Result, error) {
		cancel()
		<-ctx.Done()
		return agent.Result{}, ctx.Err()
	}}, patternOf(`{"capability": "a.wait", "as": "x", "on_error": "continue"}`, `"outputs": ["x"]`))
	_, err := o.Execute(ctx, request(nil))
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &runner{funcs: map[string]capabilityFunc{"a.wait": after(time.Minute, 1)}}
		o, _ := setupWith(t, r, realTime, patternOf(
			`{"capability": "a.wait", "as": "x", "timeout": "1s", "on_error": "continue"},
			 {"capability": "a.wait", "as": "y", "timeout": "2m"}`, `"outputs": ["x", "y"]`),
			strings.Replace(patternOf(`{"capability": "a.wait", "as": "x", "timeout": "1s"}`, `"outputs": ["x"]`), "overview", "short", 1))
		answer := execute(t, o, nil)
		// Both make the same call: the second goes on with it when the first has given up.
		require.Equal(t, `{"x":null,"y":1}`, string(answer.Data))
		require.Equal(t, []string{"step x failed and was passed over: step x did not finish within its timeout of 1s"}, answer.Warnings)
		require.InDelta(t, 1, answer.Trace.Steps[0].DurationSeconds, 0.01)

		_, err := o.Execute(t.Context(), Request{PatternID: "short"})
		require.Equal(t, fault.Timeout, fault.CodeOf(err))
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err = o.Execute(ctx, Request{PatternID: "short"})
		require.Equal(t, fault.Timeout, fault.CodeOf(err))
		require.NotContains(t, err.Error(), "its timeout of 1s", "it was the request's time that was up")
	})
}

func TestForEach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var under, most atomic.Int64
		r := &runner{funcs: map[string]capabilityFunc{
			"a.list": value(map[string]any{"rows": []any{map[string]any{"s": "SPI"}, map[string]any{"s": "SBI"}, map[string]any{"s": "SPI"}, map[string]any{"s": "T"}}}),
			"a.price": func(_ context.Context, req agent.Request) (agent.Result, error) {
				most.Store(max(most.Load(), under.Add(1)))
				defer under.Add(-1)
				<-time.After(time.Second)
				return agent.Result{Value: req.Args, Sources: []agent.Source{{Name: "prices:" + req.Args["symbol"].(string)}}, Warnings: []string{"of " + req.Args["symbol"].(string)}}, nil
			},
		}}
		o, b := setupWith(t, r, realTime, patternOf(`
			{"capability": "a.list", "as": "list"},
			{"capability": "a.price", "as": "prices", "for_each": "{{list.rows}}", "parallel": 2, "args": {"symbol": "{{item.s}}", "label": "{{index}}/{{item.s}}"}},
			{"capability": "a.price", "as": "same", "for_each": ["A", "A"], "args": {"symbol": "{{item}}"}},
			{"capability": "a.price", "as": "none", "for_each": "{{list.rows[0].s.x}}", "condition": "list == null", "args": {"symbol": "x"}}`,
			`"outputs": {"prices": "{{prices}}", "second": "{{prices[1].symbol}}", "same": "{{same}}", "none": "{{none}}"}`))
		answer := execute(t, o, nil)
		require.Equal(t, `{"prices":[{"label":"0/SPI","symbol":"SPI"},{"label":"1/SBI","symbol":"SBI"},{"label":"2/SPI","symbol":"SPI"},{"label":"3/T","symbol":"T"}],`+
			`"second":"SBI","same":[{"symbol":"A"},{"symbol":"A"}],"none":null}`, string(answer.Data))
		require.Equal(t, 4, answer.Trace.Steps[1].Items)
		require.Equal(t, []string{"prices:A", "prices:SBI", "prices:SPI", "prices:T"}, answer.Trace.Sources)
		require.Equal(t, []string{"of SPI", "of SBI", "of SPI", "of T", "of A", "of A"}, answer.Warnings)
		require.Equal(t, 5, b.runner.count("a.price"), "equal items are one call")
		require.LessOrEqual(t, most.Load(), int64(3))
		require.InDelta(t, 2, answer.Trace.Steps[1].DurationSeconds, 0.01, "four items, two at a time")
	})
}

// What a timeout ends is the list, and a fallback is an item's, also one that does not look at it: others go by
// the result's being a list, or null.
func TestATimeoutLeavesNoListOfFallbacks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &runner{funcs: map[string]capabilityFunc{"a.wait": after(time.Minute, 1), "a.echo": value(2)}}
		o, _ := setupWith(t, r, realTime, patternOf(
			`{"capability": "a.wait", "as": "x", "for_each": [1, 2], "args": {"n": "{{item}}"}, "timeout": "1s", "on_error": {"fallback": {"twr": null}}},
			 {"capability": "a.echo", "as": "y", "for_each": "{{x}}", "args": {"n": "{{item}}"}}`, `"outputs": {"x": "{{x}}", "first": "{{x[0].twr}}", "y": "{{y}}"}`))
		answer := execute(t, o, nil)
		require.Equal(t, `{"x":null,"first":null,"y":[]}`, string(answer.Data))
		require.Equal(t, []string{"step x failed and was passed over: step x did not finish within its timeout of 1s"}, answer.Warnings)
	})
}

func TestForEachFailures(t *testing.T) {
	t.Parallel()
	funcs := map[string]capabilityFunc{"a.check": func(_ context.Context, req agent.Request) (agent.Result, error) {
		if req.Args["n"] != json.Number("1") {
			return agent.Result{}, fault.New(fault.InsufficientData, "nothing about %v", req.Args["n"])
		}
		return agent.Result{Value: "good"}, nil
	}, "a.text": value("text"), "a.long": value(make([]int, 1001))}
	step := func(rest string) string {
		return patternOf(`{"capability": "a.text", "as": "text"}, {"capability": "a.long", "as": "long"}, {"capability": "a.check", "as": "x", `+rest+`, "args": {"n": "{{item}}"}}`, `"outputs": ["x"]`)
	}
	for name, tc := range map[string]struct {
		step, data, err string
		code            fault.Code
		warnings        []string
	}{
		"fail":                  {step: `"for_each": [1, 2, 3]`, err: "step 2 (x): item 1: nothing about 2", code: fault.InsufficientData},
		"continue":              {step: `"for_each": [1, 2, 3], "on_error": "continue"`, data: `["good",null,null]`, warnings: []string{"item 1 of step x failed and was passed over: nothing about 2", "item 2 of step x failed and was passed over: nothing about 3"}},
		"fallback":              {step: `"for_each": [2, 1], "on_error": {"fallback": "no {{item}} at {{index}}"}`, data: `["no 2 at 0","good"]`, warnings: []string{"item 0 of step x failed and was passed over: nothing about 2"}},
		"nothing":               {step: `"for_each": []`, data: `[]`},
		"no array":              {step: `"for_each": "{{text}}"`, err: "for_each of step x needs an array, not a string", code: fault.PatternError},
		"too long":              {step: `"for_each": "{{long}}"`, err: "has 1001 items, 1000 are allowed", code: fault.PatternError},
		"no array, passed over": {step: `"for_each": "{{text}}", "on_error": "continue"`, data: `null`, warnings: []string{"step x failed and was passed over: for_each of step x needs an array, not a string"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, _ := setup(t, funcs, step(tc.step))
			answer, err := o.Execute(t.Context(), request(nil))
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				require.Equal(t, tc.code, fault.CodeOf(err))
				return
			}
			require.NoError(t, err)
			require.Equal(t, `{"x":`+tc.data+`}`, string(answer.Data))
			require.Equal(t, append([]string{}, tc.warnings...), answer.Warnings)
		})
	}
}

func TestWithinARunEachCallIsMadeOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &runner{funcs: map[string]capabilityFunc{"a.wait": after(time.Second, 7), "a.id": value(7)}}
		o, b := setupWith(t, r, realTime, patternOf(`
			{"capability": "a.wait", "as": "a", "args": {"n": 1}},
			{"capability": "a.wait", "as": "b", "args": {"n": 1}},
			{"capability": "a.wait", "as": "c", "args": {"n": 2}},
			{"capability": "a.wait", "as": "d", "args": {"n": 1}, "cache": false},
			{"capability": "a.wait", "as": "e", "args": {"n": 1}, "condition": "a == 7"}`, `"outputs": ["a", "b", "c", "d", "e"]`))
		answer := execute(t, o, nil)
		require.Equal(t, []string{"a:success", "b:cached", "c:success", "d:success", "e:cached"}, statuses(answer.Trace.Steps))
		require.Equal(t, 3, b.runner.count("a.wait"))
		require.InDelta(t, 2, testutil.ToFloat64(o.metrics.memoHits), 0)
		again := execute(t, o, nil)
		require.Equal(t, answer.DataHash, again.DataHash)
		require.Equal(t, 6, b.runner.count("a.wait"), "what is not declared pure is asked again in the next run")
	})
}

// pure is a runner with one pure capability that counts and takes a second.
func pureRunner() *runner {
	return &runner{
		funcs:    map[string]capabilityFunc{"a.pure": after(time.Second, map[string]any{"v": 1}), "a.read": value(2)},
		declared: map[string]agent.Capability{"a.pure": {Purity: agent.Pure}},
	}
}

const purePattern = `{"id": "overview", "name": "P", "inputs": {"portfolio_id": {"type": "uuid"}, "n": {"type": "integer"}}, "steps": [
	{"capability": "a.pure", "as": "x", "args": {"n": "{{inputs.n}}"}}], "outputs": ["x"]}`

func cached(most int64) func(*Options) {
	return func(o *Options) { realTime(o); o.CacheBytes = most }
}

func TestAcrossRunsPureResultsAreKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, b := setupWith(t, pureRunner(), cached(1<<20), purePattern)
		run := func(change func(*Request), want StepStatus) {
			t.Helper()
			req := request(map[string]any{"portfolio_id": portfolioID, "n": json.Number("1")})
			change(&req)
			answer, err := o.Execute(t.Context(), req)
			require.NoError(t, err)
			require.Equal(t, want, answer.Trace.Steps[0].Status)
			require.Equal(t, `{"x":{"v":1}}`, string(answer.Data))
		}
		run(func(*Request) {}, StatusSuccess)
		run(func(*Request) {}, StatusCached)
		run(func(r *Request) { r.RequestID, r.UserID = "other", "u" }, StatusCached)
		run(func(r *Request) { r.Inputs["n"] = json.Number("2") }, StatusSuccess)
		run(func(r *Request) { r.TenantID = "other" }, StatusSuccess)
		run(func(r *Request) { r.Inputs["portfolio_id"] = nil }, StatusSuccess)
		run(func(r *Request) { r.Recompute = true }, StatusSuccess)

		for what, change := range map[string]func(*agent.Context){
			"pack": func(c *agent.Context) { c.PricingPack.ID = "pack-2" }, "asof": func(c *agent.Context) { c.Asof = c.Asof.AddDate(0, 0, 1) },
			"ledger": func(c *agent.Context) { c.Portfolio.LedgerVersion = "ledger-2" }, "currency": func(c *agent.Context) { c.Portfolio.BaseCurrency = "USD" },
			"last transaction": func(c *agent.Context) { c.Portfolio.LedgerSeq = 7 }, "revision": func(c *agent.Context) { c.PricingPack.Revision = 7 },
			"pack's date": func(c *agent.Context) { c.PricingPack.Date = asof.AddDate(0, 0, -1) }, "pack's content": func(c *agent.Context) { c.PricingPack.Hash = "h" },
		} {
			b.contexts.change = change
			run(func(*Request) {}, StatusSuccess)
			run(func(*Request) {}, StatusCached)
			b.contexts.change = nil
			run(func(*Request) {}, StatusCached)
			require.NotEmpty(t, what)
		}
		require.InDelta(t, 1, testutil.ToFloat64(o.cache.metrics.hits), 100)
	})
}

// What stands in agent.Context is in the key, or is named here as what a pure capability never reads.
func TestTheKeyNamesTheWholeContext(t *testing.T) {
	t.Parallel()
	fields := func(v any) []string {
		var names []string
		for f := range reflect.TypeOf(v).Fields() {
			names = append(names, f.Name)
		}
		return names
	}
	require.Equal(t, []string{"TenantID", "RequestID", "TraceID", "UserID", "Asof", "PricingPack", "Portfolio"}, fields(agent.Context{}), "of these RequestID, TraceID and UserID are not in the key")
	require.Equal(t, []string{"ID", "Date", "Revision", "Hash"}, fields(agent.Pack{}))
	require.Equal(t, []string{"ID", "BaseCurrency", "LedgerVersion", "LedgerSeq"}, fields(agent.Portfolio{}))
}

// Who replaces a remote agent expects its answers, and not those of the one before.
func TestAnotherDeclarationIsAnotherCapability(t *testing.T) {
	t.Parallel()
	r := &runner{
		funcs:    map[string]capabilityFunc{"a.pure": value(1)},
		declared: map[string]agent.Capability{"a.pure": {Purity: agent.Pure, Description: "One."}},
	}
	o, _ := setupWith(t, r, func(opts *Options) { opts.CacheBytes = 1 << 20 }, purePattern)
	for _, change := range []func(*agent.Capability){
		func(*agent.Capability) {},
		func(c *agent.Capability) { c.Description = "Two." },
		func(c *agent.Capability) { c.Args = json.RawMessage(`{"type": "object"}`) },
		func(c *agent.Capability) { c.Result = json.RawMessage(`true`) },
	} {
		decl := r.declared["a.pure"]
		change(&decl)
		r.declared["a.pure"] = decl
		require.NoError(t, o.Reload(t.Context()))
		require.Equal(t, StatusSuccess, execute(t, o, nil).Trace.Steps[0].Status)
		require.Equal(t, StatusCached, execute(t, o, nil).Trace.Steps[0].Status)
	}
}

func TestConcurrentRunsShareACall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, b := setupWith(t, pureRunner(), cached(1<<20), purePattern)
		ctx, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := o.Execute(ctx, request(nil))
			if fault.CodeOf(err) != fault.Canceled {
				t.Errorf("the first was told to leave: %v", err)
			}
		})
		synctest.Wait()
		statuses := make([]StepStatus, 8)
		for i := range statuses {
			wg.Go(func() {
				answer, err := o.Execute(t.Context(), request(nil))
				if err != nil {
					t.Error(err)
					return
				}
				statuses[i] = answer.Trace.Steps[0].Status
			})
		}
		synctest.Wait()
		leave()
		wg.Wait()
		slices.Sort(statuses)
		require.Equal(t, 2, b.runner.count("a.pure"), "one of those who wait makes the call that the first has given up")
		require.Equal(t, StatusSuccess, statuses[7])
		require.Equal(t, StatusCached, statuses[6])
	})
}

func TestTheCacheIsBounded(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	c := newCache(100_000, reg)
	for i := range 1000 {
		c.add(key{byte(i), byte(i >> 8)}, rawResult(json.RawMessage(strings.Repeat("1", 100+i))))
		require.LessOrEqual(t, c.size, int64(100_000))
		require.Len(t, c.entries, c.order.Len())
	}
	require.NotNil(t, c.peek(key{0xe7, 3}), "the last one in is still there")
	require.Nil(t, c.peek(key{0}))
	before := c.size
	c.add(key{1, 1, 1}, rawResult(json.RawMessage(strings.Repeat("1", 50_000))))
	require.Equal(t, before, c.size, "one result must not push out the others")
	require.Positive(t, testutil.ToFloat64(c.metrics.evictions))
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(fmt.Sprintf(`
# HELP dawsos_pattern_cache_bytes Estimated bytes of the results in the cache; PATTERN_CACHE_SIZE is the most.
# TYPE dawsos_pattern_cache_bytes gauge
dawsos_pattern_cache_bytes %d
`, c.size)), "dawsos_pattern_cache_bytes"))
	require.Nil(t, newCache(0, prometheus.NewRegistry()))
}

func TestOutputsAndCharts(t *testing.T) {
	t.Parallel()
	funcs := map[string]capabilityFunc{
		"a.first": value(map[string]any{"total": "1444808.19", "series": []any{map[string]any{"d": "2007-05-08", "v": 1.5}}, "spec": map[string]any{"mark": "line"}, "n": 1}),
		"a.never": value(1),
	}
	o, _ := setup(t, funcs, patternOf(`{"capability": "a.first", "as": "first"}, {"capability": "a.never", "as": "never", "condition": "first == null"}`,
		`"outputs": {"nav": "{{first.total}}", "text": "NAV {{first.total}}", "both": ["{{first.n}}", {"never": "{{never}}"}], "all": "{{first}}", "fixed": 3},
		 "output_schemas": {"nav": {"type": "string", "pattern": "^[0-9.]+$"}, "all": {"type": "object", "required": ["total"]}},
		 "charts": [
			{"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "mark": "line", "title": "{{first.total}}", "data": {"values": "{{first.series}}"}},
			{"mark": "bar", "data": {"values": "{{never}}"}}, "{{first.spec}}", "{{first.none}}", "{{first.n}}"]`))
	answer := execute(t, o, nil)
	require.Equal(t, `{"nav":"1444808.19","text":"NAV 1444808.19","both":[1,{"never":null}],"all":{"n":1,"series":[{"d":"2007-05-08","v":1.5}],"spec":{"mark":"line"},"total":"1444808.19"},"fixed":3}`, string(answer.Data))
	require.Len(t, answer.Charts, 2)
	require.Equal(t, `{"$schema":"https://vega.github.io/schema/vega-lite/v6.json","data":{"values":[{"d":"2007-05-08","v":1.5}]},"mark":"line","title":"1444808.19"}`, string(answer.Charts[0]))
	require.Equal(t, `{"mark":"line"}`, string(answer.Charts[1]))
	require.Equal(t, []string{
		`chart 3 is left out: {{first.none}}: first has no field "none"; it has n, series, spec, total`,
		"chart 4 is left out: a specification is an object, not a number",
	}, answer.Warnings)

	o, _ = setup(t, funcs, patternOf(`{"capability": "a.first", "as": "first"}`, `"outputs": ["first"], "output_schemas": {"first": {"properties": {"n": {"type": "string"}}}}`))
	_, err := o.Execute(t.Context(), request(nil))
	require.Equal(t, fault.PatternError, fault.CodeOf(err))
	require.ErrorContains(t, err, "the output first does not fit its schema: first/n must be of type string, not number")
	trace, ok := TraceOf(err)
	require.True(t, ok)
	require.Len(t, trace.Steps, 1)
}

func TestEvents(t *testing.T) {
	t.Parallel()
	o, _ := setup(t, map[string]capabilityFunc{"a.ok": value(1), "a.fail": failing(fault.New(fault.InsufficientData, "nothing"))}, patternOf(`
		{"capability": "a.ok", "as": "a"}, {"capability": "a.ok", "as": "b", "condition": "a == 2"},
		{"capability": "a.ok", "as": "c", "condition": "a == 1"}, {"capability": "a.fail", "as": "d", "args": {"c": "{{c}}"}}`, `"outputs": ["a", "b", "c", "d"]`))
	var events []string
	req := request(nil)
	req.OnEvent = func(e Event) {
		require.Equal(t, "run-1", e.RunID)
		text := string(e.Type)
		if e.Trace != nil {
			require.Equal(t, "pack-1", e.Trace.PricingPackID)
		}
		if e.Step != nil {
			text += " " + e.Step.As + " " + string(e.Step.Status)
		}
		events = append(events, text)
	}
	_, err := o.Execute(t.Context(), req)
	require.Error(t, err)
	require.Equal(t, []string{
		"run_started", "step_started a ", "step_ended a success", "step_skipped b skipped",
		"step_started c ", "step_ended c cached", "step_started d ", "step_failed d error",
	}, events)
}

type recorder struct {
	runs []Run
	wait []bool
	err  error
}

func (r *recorder) Record(_ context.Context, run Run, wait bool) error {
	r.runs, r.wait = append(r.runs, run), append(r.wait, wait)
	if wait {
		return r.err
	}
	return nil
}

func TestRunsAreRecorded(t *testing.T) {
	t.Parallel()
	rec := &recorder{}
	fail := false
	o, _ := setupWith(t, &runner{funcs: map[string]capabilityFunc{"a.ok": func(context.Context, agent.Request) (agent.Result, error) {
		if fail {
			return agent.Result{}, fault.New(fault.InsufficientData, "nothing there")
		}
		return agent.Result{Value: 1, Warnings: []string{"w"}}, nil
	}}}, func(opts *Options) { opts.Recorder = rec },
		`{"id": "overview", "name": "P", "inputs": {"portfolio_id": {"type": "uuid"}, "n": {"type": "integer", "default": 5}}, "steps": [{"capability": "a.ok", "as": "x"}], "outputs": ["x"]}`)
	answer, err := o.Execute(t.Context(), request(map[string]any{"portfolio_id": portfolioID}))
	require.NoError(t, err)
	hash, err := o.DefinitionHash("overview")
	require.NoError(t, err)
	kept := rec.runs[0]
	require.Equal(t, Run{
		ID: "run-1", TenantID: "default", RequestID: "req-1", PatternID: "overview", DefinitionHash: hash,
		Inputs: map[string]any{"portfolio_id": portfolioID, "n": json.Number("5")}, Context: kept.Context, StartedAt: kept.StartedAt,
		Duration: kept.Duration, Trace: answer.Trace, Warnings: []string{"w"}, DataHash: answer.DataHash,
	}, kept)
	require.Equal(t, "ledger-1", kept.Context.Portfolio.LedgerVersion)
	require.Equal(t, []bool{false}, rec.wait)

	fail = true
	_, err = o.Execute(t.Context(), request(nil))
	require.Error(t, err)
	require.Equal(t, fault.InsufficientData, rec.runs[1].ErrorCode)
	require.Equal(t, "nothing there", rec.runs[1].ErrorDetail)
	require.Len(t, rec.runs[1].Trace.Steps, 1)
	require.Empty(t, rec.runs[1].DataHash)

	_, err = o.Execute(t.Context(), request(map[string]any{"n": "x"}))
	require.Error(t, err)
	require.Len(t, rec.runs, 2, "a request that is refused is no run")

	fail, rec.err = false, errors.New("connection refused")
	req := request(nil)
	req.Recorded = true
	_, err = o.Execute(t.Context(), req)
	require.Equal(t, fault.Unavailable, fault.CodeOf(err))
	require.Equal(t, "run run-1 of pattern overview has ended, but could not be recorded", fault.Detail(err))
}
