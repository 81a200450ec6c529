package patterns

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

const portfolioID = "0b36fa50-66f0-4bf9-a7e2-43e2be4f5a7c"

var asof = time.Date(2007, 5, 8, 0, 0, 0, 0, time.UTC)

// capabilityFunc is the body of a capability.
type capabilityFunc = func(ctx context.Context, req agent.Request) (agent.Result, error)

// runner is an agent runtime reduced to its functions. It remembers what it was asked.
type runner struct {
	funcs    map[string]capabilityFunc
	declared map[string]agent.Capability // for capabilities that declare more than their names
	nesting  *Nesting                    // when it can run patterns
	mu       sync.Mutex
	asked    []agent.Request
}

func (r *runner) Run(ctx context.Context, req agent.Request) (agent.Result, error) {
	r.mu.Lock()
	r.asked = append(r.asked, req)
	r.mu.Unlock()
	return r.funcs[req.Capability](ctx, req)
}

// count returns how often a capability was asked.
func (r *runner) count(capability string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, req := range r.asked {
		if req.Capability == capability {
			n++
		}
	}
	return n
}

func (r *runner) Capabilities() []string { return slices.Sorted(maps.Keys(r.funcs)) }

func (r *runner) Capability(name string) (string, agent.Capability, bool) {
	_, ok := r.funcs[name]
	group, _, _ := strings.Cut(name, ".")
	decl := r.declared[name]
	decl.Name = name
	return group + "_agent", decl, ok
}

// named are capabilities that declare nothing but their names.
func named(names ...string) Capabilities {
	r := &runner{funcs: make(map[string]capabilityFunc)}
	for _, name := range names {
		r.funcs[name] = nil
	}
	return r
}

// contexts resolves every query in the same way and remembers the last.
type contexts struct {
	mu     sync.Mutex
	last   ContextQuery
	err    error
	change func(*agent.Context) // nil: none
	asked  func(ContextQuery)   // nil: nobody listens
}

func (c *contexts) Resolve(_ context.Context, q ContextQuery) (agent.Context, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = q
	if c.asked != nil {
		c.asked(q)
	}
	resolved := agent.Context{Asof: asof, PricingPack: agent.Pack{ID: "pack-1", Date: asof}}
	if q.PortfolioID != "" {
		resolved.Portfolio = &agent.Portfolio{ID: q.PortfolioID, BaseCurrency: "CHF", LedgerVersion: "ledger-1"}
	}
	if c.change != nil {
		c.change(&resolved)
	}
	return resolved, c.err
}

type bundle struct {
	runner   *runner
	contexts *contexts
	registry *prometheus.Registry
	spans    *tracetest.SpanRecorder
}

// value returns a capability that answers with v.
func value(v any) capabilityFunc {
	return func(context.Context, agent.Request) (agent.Result, error) { return agent.Result{Value: v}, nil }
}

// setup loads definitions, by their JSON, into an orchestrator over the given capabilities. Its
// clock goes on by a second with each look.
func setup(t *testing.T, funcs map[string]capabilityFunc, definitions ...string) (*Orchestrator, *bundle) {
	t.Helper()
	return setupWith(t, &runner{funcs: funcs}, func(*Options) {}, definitions...)
}

func setupWith(t testing.TB, r *runner, adjust func(*Options), definitions ...string) (*Orchestrator, *bundle) {
	t.Helper()
	b := &bundle{
		runner:   r,
		contexts: &contexts{},
		registry: prometheus.NewRegistry(),
		spans:    tracetest.NewSpanRecorder(),
	}
	files := make(map[string]string)
	for i, definition := range definitions {
		files[fmt.Sprintf("%d.json", i)] = definition
	}
	var mu sync.Mutex
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	opts := Options{
		Registerer: b.registry,
		Tracer:     sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(b.spans)).Tracer("test"),
		Now: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			now = now.Add(time.Second)
			return now
		},
		NewID: func() string { return "run-1" },
	}
	adjust(&opts)
	o, err := New(writeFiles(t, files), b.runner, b.contexts, opts)
	require.NoError(t, err)
	for _, p := range o.Problems() {
		require.NotEqual(t, Error, p.Severity, p.Error())
	}
	return o, b
}

// overview is made like the pattern of that name: inputs with a default and an optional one, both
// forms of references, nulls, outputs in another order than the steps.
const overview = `{
"id": "overview", "name": "Overview",
"inputs": {
  "portfolio_id": {"type": "uuid", "required": true},
  "lookback_days": {"type": "integer", "default": 252},
  "risk_free_annual": {"type": "number"}
},
"steps": [
  {"capability": "ledger.positions", "args": {"portfolio_id": "{{inputs.portfolio_id}}"}, "as": "positions"},
  {"capability": "pricing.apply_pack", "args": {"positions": "{{positions.positions}}", "pack": "{{ctx.pricing_pack_id}}"}, "as": "valued"},
  {"capability": "metrics.twr", "args": {"days": "{{inputs.lookback_days}}", "rf": "{{inputs.risk_free_annual}}", "first": "{{state.valued.rows[0].symbol}}"}, "as": "perf"}
],
"outputs": ["perf", "valued"]
}`

func overviewCapabilities() map[string]capabilityFunc {
	return map[string]capabilityFunc{
		"ledger.positions": func(_ context.Context, req agent.Request) (agent.Result, error) {
			return agent.Result{
				Value:    map[string]any{"positions": []string{"SPI"}, "of": req.Args["portfolio_id"]},
				Sources:  []agent.Source{{Name: "ledger:1"}},
				Warnings: []string{"first warning"},
			}, nil
		},
		"pricing.apply_pack": func(_ context.Context, req agent.Request) (agent.Result, error) {
			symbol := req.Args["positions"].([]any)[0]
			return agent.Result{
				Value: struct {
					Rows []map[string]any `json:"rows"`
					HTML string           `json:"html"`
				}{[]map[string]any{{"symbol": symbol}}, "<&>"},
				Sources: []agent.Source{
					{Name: "prices:SPI", Asof: asof},
					{Name: "prices:SBI", Asof: asof.AddDate(0, 0, -3)},
					{Name: "fx:USD/CHF", Asof: asof.AddDate(0, 0, -3)},
				},
				Warnings: []string{"second warning"},
			}, nil
		},
		"metrics.twr": func(_ context.Context, req agent.Request) (agent.Result, error) {
			return agent.Result{Value: req.Args, Sources: []agent.Source{{Name: "prices:SPI", Asof: asof}}}, nil
		},
	}
}

func request(inputs map[string]any) Request {
	return Request{TenantID: "default", RequestID: "req-1", PatternID: "overview", Inputs: inputs}
}

// defective uses all that the original engine got wrong.
const defective = `{
"id": "overview", "name": "Overview",
"inputs": {
  "portfolio_id": {"type": "uuid", "required": true},
  "lookback_days": {"type": "integer", "default": 252},
  "risk_free_annual": {"type": "number"},
  "detailed": {"type": "boolean", "default": true}
},
"steps": [
  {"capability": "ledger.positions", "args": {"portfolio_id": "{{inputs.portfolio_id}}"}, "as": "positions"},
  {"capability": "pricing.apply_pack", "args": {"positions": "{{positions.positions}}", "pack": "{{ctx.pricing_pack_id}}"}, "as": "valued"},
  {"capability": "metrics.twr", "args": {"days": "{{inputs.lookback_days}}", "rf": "{{inputs.risk_free_annual}}", "first": "{{state.valued.rows[0].symbol}}"}, "as": "perf"},
  {"capability": "metrics.twr", "args": {"n": 1}, "as": "detail", "condition": "inputs.detailed == true"},
  {"capability": "metrics.twr", "args": {"n": 2}, "as": "plain", "condition": "inputs.detailed == false"},
  {"capability": "metrics.twr", "args": {"n": 3}, "as": "estimate", "condition": "inputs.risk_free_annual == null and perf.rf == null"},
  {"capability": "metrics.twr", "args": {"n": 4}, "as": "exact", "condition": "perf.rf != null"},
  {"capability": "metrics.twr", "args": {"plain": "{{plain}}", "part": "{{plain.n}}"}, "as": "last"}
],
"outputs": ["perf", "valued", "detail", "plain", "estimate", "exact", "last"],
"charts": [{"mark": "bar", "data": {"values": "{{valued.rows}}"}}]
}`

// These are the defects of the original engine, each of which let a pattern answer wrongly or not
// at all. See docs/reference/domain.md, section 1. Two of its list lie elsewhere: that the pricing pack
// is the newest on or before the as-of date, in TestResolve and TestPackOfARun of internal/store, of which
// the engine's part is to hand on the date; and that no name from outside gets into a statement, in its
// TestStatementsAreConstant.
func TestDefectsOfTheOriginal(t *testing.T) {
	t.Parallel()
	o, b := setup(t, overviewCapabilities(), defective)
	req := request(map[string]any{"portfolio_id": strings.ToUpper(portfolioID)})
	earlier := asof.AddDate(0, 0, -30)
	req.Asof = &earlier
	answer, err := o.Execute(t.Context(), req)
	require.NoError(t, err)
	asked := func(args func(args map[string]any) bool) bool {
		return slices.ContainsFunc(b.runner.asked, func(r agent.Request) bool { return args(r.Args) })
	}
	var data struct {
		Perf, Valued, Detail, Plain, Estimate, Exact, Last any
	}
	require.NoError(t, json.Unmarshal(answer.Data, &data))

	t.Run("only the last step ran", func(t *testing.T) {
		require.Equal(t, 1, b.runner.count("ledger.positions"))
		require.Equal(t, 1, b.runner.count("pricing.apply_pack"))
		require.Equal(t, 4, b.runner.count("metrics.twr"))
		require.Equal(t, []string{
			"positions:success", "valued:success", "perf:success", "detail:success", "plain:skipped", "estimate:success", "exact:skipped", "last:success",
		}, statuses(answer.Trace.Steps))
	})
	t.Run("state was no root", func(t *testing.T) {
		require.True(t, asked(func(args map[string]any) bool { return args["first"] == "SPI" }))
		require.True(t, asked(func(args map[string]any) bool { return slices.Equal([]any{"SPI"}, asList(args["positions"])) }), "bare names must work as well")
	})
	t.Run("null was an error", func(t *testing.T) {
		require.True(t, asked(func(args map[string]any) bool { rf, there := args["rf"]; return there && rf == nil }))
		require.Equal(t, map[string]any{"plain": nil, "part": nil}, data.Last, "what was skipped is null, and so is any part of it")
	})
	t.Run("defaults were not applied", func(t *testing.T) {
		require.True(t, asked(func(args map[string]any) bool { return args["days"] == json.Number("252") }))
		_, err := o.Execute(t.Context(), request(map[string]any{"portfolio_id": portfolioID, "lookback_days": "many"}))
		require.Equal(t, fault.Invalid, fault.CodeOf(err), "types are checked")
	})
	t.Run("true and null were undefined in conditions", func(t *testing.T) {
		require.NotNil(t, data.Detail, "== true")
		require.Nil(t, data.Plain, "== false")
		require.NotNil(t, data.Estimate, "== null")
		require.Nil(t, data.Exact, "!= null")
	})
	t.Run("conditions were evaluated as code", func(t *testing.T) {
		for _, text := range []string{"__import__('os').system('true')", "print(1)", "inputs.__class__", "now()", "env('PATH') == ''"} {
			_, err := compileCondition(text, conditionEnv{hint: func(string, func() []string) string { return "" }})
			require.Error(t, err, text)
		}
	})
	t.Run("outputs were lost", func(t *testing.T) {
		require.True(t, strings.HasPrefix(string(answer.Data),
			`{"perf":{"days":252,"first":"SPI","rf":null},"valued":{"rows":[{"symbol":"SPI"}],"html":"\u003c\u0026\u003e"},`), string(answer.Data))
	})
	t.Run("panels were taken for results", func(t *testing.T) {
		problems := newLibrary(b.runner).validate("", []byte(`{"id": "p", "name": "P", "steps": [{"capability": "metrics.twr", "as": "perf"}], "outputs": {"panels": ["perf"]}}`), nil)
		require.Equal(t, `:1:105: warning: the output "panels" is the text "perf" and not the result of that name; did you mean "{{perf}}"?`, problems[1].Error())
	})
	t.Run("trace and charts were dropped", func(t *testing.T) {
		text, err := json.Marshal(answer)
		require.NoError(t, err)
		var got map[string]any
		require.NoError(t, json.Unmarshal(text, &got))
		require.Equal(t, []any{map[string]any{"mark": "bar", "data": map[string]any{"values": []any{map[string]any{"symbol": "SPI"}}}}}, got["charts"])
		require.Len(t, got["trace"].(map[string]any)["steps"], 8)
		require.True(t, bytes.Contains(text, answer.Data), "data must keep its bytes, else data_hash says nothing")
	})
	t.Run("the pack was the newest, whatever the date", func(t *testing.T) {
		require.Equal(t, &earlier, b.contexts.last.Asof)
		require.Empty(t, b.contexts.last.PackID)
		require.True(t, asked(func(args map[string]any) bool { return args["pack"] == "pack-1" }), "the pack that the context source found, and no other")
	})
	t.Run("access was checked for another portfolio than the inputs'", func(t *testing.T) {
		require.Equal(t, ContextQuery{TenantID: "default", RequestID: "req-1", PortfolioID: portfolioID, Asof: &earlier}, b.contexts.last)
		for _, r := range b.runner.asked {
			require.Equal(t, portfolioID, r.Context.Portfolio.ID)
		}
		before := len(b.runner.asked)
		b.contexts.err = fault.New(fault.NotFound, "there is no portfolio")
		_, err := o.Execute(t.Context(), req)
		require.Equal(t, fault.NotFound, fault.CodeOf(err))
		require.Len(t, b.runner.asked, before, "nothing is asked about a portfolio that the caller may not see")
	})
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	o, b := setup(t, overviewCapabilities(), overview)
	answer, err := o.Execute(t.Context(), request(map[string]any{"portfolio_id": portfolioID}))
	require.NoError(t, err)

	spans := b.spans.Ended()
	require.Len(t, spans, 4)
	start := time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)
	sum := sha256.Sum256(answer.Data)
	require.Equal(t, &Answer{
		RunID:     "run-1",
		PatternID: "overview",
		Data:      answer.Data,
		DataHash:  hex.EncodeToString(sum[:]),
		Charts:    []json.RawMessage{},
		Warnings:  []string{"first warning", "second warning"},
		Trace: Trace{
			RequestID: "req-1", TraceID: spans[3].SpanContext().TraceID().String(), PatternID: "overview",
			PricingPackID: "pack-1", LedgerVersion: "ledger-1", Asof: "2007-05-08", DurationSeconds: 7,
			Steps: []StepTrace{
				{Index: 0, Capability: "ledger.positions", Agent: "ledger_agent", As: "positions", Status: StatusSuccess, StartedAt: start.Add(2 * time.Second), DurationSeconds: 1},
				{Index: 1, Capability: "pricing.apply_pack", Agent: "pricing_agent", As: "valued", Status: StatusSuccess, StartedAt: start.Add(4 * time.Second), DurationSeconds: 1},
				{Index: 2, Capability: "metrics.twr", Agent: "metrics_agent", As: "perf", Status: StatusSuccess, StartedAt: start.Add(6 * time.Second), DurationSeconds: 1},
			},
			AgentsUsed:       []string{"ledger_agent", "metrics_agent", "pricing_agent"},
			CapabilitiesUsed: []string{"ledger.positions", "metrics.twr", "pricing.apply_pack"},
			Sources:          []string{"fx:USD/CHF", "ledger:1", "prices:SBI", "prices:SPI"},
			Staleness: []Staleness{
				{As: "valued", Capability: "pricing.apply_pack", Asof: "2007-05-08", OldestSource: "fx:USD/CHF", OldestAsof: "2007-05-05", AgeDays: 3},
				{As: "perf", Capability: "metrics.twr", Asof: "2007-05-08", OldestSource: "prices:SPI", OldestAsof: "2007-05-08", AgeDays: 0},
			},
		},
	}, answer)

	asked := b.runner.asked[0].Context
	require.Equal(t, "default", asked.TenantID)
	require.Equal(t, "req-1", asked.RequestID)
	require.Equal(t, answer.Trace.TraceID, asked.TraceID)

	again, err := o.Execute(t.Context(), request(map[string]any{"portfolio_id": portfolioID}))
	require.NoError(t, err)
	require.Equal(t, string(answer.Data), string(again.Data))
	require.Equal(t, answer.DataHash, again.DataHash)
	require.NotEqual(t, answer.Trace.TraceID, again.Trace.TraceID)
}

func TestSpans(t *testing.T) {
	t.Parallel()
	funcs := overviewCapabilities()
	funcs["metrics.twr"] = func(context.Context, agent.Request) (agent.Result, error) {
		return agent.Result{}, errors.New("division by zero")
	}
	o, b := setup(t, funcs, overview)
	_, err := o.Execute(t.Context(), request(map[string]any{"portfolio_id": portfolioID}))
	require.Error(t, err)

	spans := b.spans.Ended()
	root := spans[len(spans)-1]
	require.Equal(t, "pattern overview", root.Name())
	require.Equal(t, "internal", root.Status().Description)
	for i, name := range []string{"step 0 ledger.positions", "step 1 pricing.apply_pack", "step 2 metrics.twr"} {
		require.Equal(t, name, spans[i].Name())
		require.Equal(t, root.SpanContext().SpanID(), spans[i].Parent().SpanID())
	}
	require.Empty(t, spans[1].Events())
	require.Len(t, spans[2].Events(), 1)
	require.Equal(t, "exception", spans[2].Events()[0].Name)
}

func TestAsofAndFreshnessReachTheContextSource(t *testing.T) {
	t.Parallel()
	o, b := setup(t, map[string]capabilityFunc{"a.first": value(1)},
		`{"id":"overview","name":"P","inputs":{"portfolio_id":{"type":"string"}},"steps":[{"capability":"a.first","as":"x"}],"outputs":["x"]}`)
	req := request(map[string]any{"portfolio_id": "not about a portfolio, since the input is no uuid"})
	req.Asof, req.RequireFresh = &asof, true
	answer, err := o.Execute(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, ContextQuery{TenantID: "default", RequestID: "req-1", Asof: &asof, RequireFresh: true}, b.contexts.last)
	require.Empty(t, answer.Trace.LedgerVersion)
	text, err := json.Marshal(answer.Trace)
	require.NoError(t, err)
	require.NotContains(t, string(text), "null")
}

func TestFailures(t *testing.T) {
	t.Parallel()
	inputs := map[string]any{"portfolio_id": portfolioID}
	for name, tc := range map[string]struct {
		inputs     map[string]any
		resolve    error
		capability string
		result     agent.Result
		err        error

		code    fault.Code
		text    string
		steps   int // in the trace; 0 means that the run must not have begun
		counted float64
	}{
		"missing input":      {code: fault.Invalid, text: "/inputs/portfolio_id: the input is required"},
		"unknown portfolio":  {inputs: inputs, resolve: fault.New(fault.NotFound, "no portfolio"), code: fault.NotFound, text: "no portfolio"},
		"no pack":            {inputs: inputs, resolve: fault.New(fault.InsufficientData, "no pack"), code: fault.InsufficientData, text: "no pack", counted: 1},
		"database is away":   {inputs: inputs, resolve: errors.New("connection refused"), code: fault.Internal, text: "resolve the context: connection refused", counted: 1},
		"first step":         {inputs: inputs, capability: "ledger.positions", err: errors.New("boom"), code: fault.Internal, text: "pattern overview, step 0 (positions): boom", steps: 1, counted: 1},
		"caller's mistake":   {inputs: inputs, capability: "metrics.twr", err: fault.New(fault.Invalid, "from is after asof"), code: fault.Invalid, text: "step 2 (perf): from is after asof", steps: 3, counted: 1},
		"template":           {inputs: inputs, capability: "ledger.positions", result: agent.Result{Value: map[string]any{"position": 1}}, code: fault.PatternError, text: `the arguments of step valued can't be filled in: {{positions.positions}}: positions has no field "positions"; did you mean "position"?; it has position`, steps: 2, counted: 1},
		"result not in JSON": {inputs: inputs, capability: "metrics.twr", result: agent.Result{Value: math.NaN()}, code: fault.Internal, text: "the result of metrics.twr can't be written as JSON", steps: 3, counted: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			funcs := overviewCapabilities()
			if tc.capability != "" {
				funcs[tc.capability] = func(context.Context, agent.Request) (agent.Result, error) { return tc.result, tc.err }
			}
			o, b := setup(t, funcs, overview)
			b.contexts.err = tc.resolve

			answer, err := o.Execute(t.Context(), request(tc.inputs))
			require.Nil(t, answer)
			require.ErrorContains(t, err, tc.text)
			require.Equal(t, tc.code, fault.CodeOf(err))
			require.InDelta(t, tc.counted, testutil.ToFloat64(o.serving.Load().programs["overview"].metrics.failed), 0)

			trace, began := TraceOf(err)
			require.Equal(t, tc.steps > 0, began)
			require.Len(t, trace.Steps, tc.steps)
			if began {
				last := trace.Steps[tc.steps-1]
				require.Equal(t, StatusError, last.Status)
				require.Equal(t, fault.Detail(err), last.Error)
				for _, s := range trace.Steps[:tc.steps-1] {
					require.Equal(t, StatusSuccess, s.Status)
				}
				require.Positive(t, trace.DurationSeconds)
				require.Len(t, trace.AgentsUsed, tc.steps)
			}
		})
	}
}

func TestCancellationEndsTheRunBeforeTheNextStep(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	funcs := overviewCapabilities()
	positions := funcs["ledger.positions"]
	funcs["ledger.positions"] = func(ctx context.Context, req agent.Request) (agent.Result, error) {
		cancel()
		return positions(ctx, req)
	}
	o, b := setup(t, funcs, overview)
	_, err := o.Execute(ctx, request(map[string]any{"portfolio_id": portfolioID}))
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
	require.Len(t, b.runner.asked, 1)
	trace, began := TraceOf(err)
	require.True(t, began)
	require.Len(t, trace.Steps, 2)
}

func TestUnknownPatternsNeverBecomeLabels(t *testing.T) {
	t.Parallel()
	o, b := setup(t, overviewCapabilities(), overview)
	req := request(nil)
	req.PatternID = "overwiev"
	_, err := o.Execute(t.Context(), req)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	require.Equal(t, `there is no pattern "overwiev"; did you mean "overview"?`, fault.Detail(err))
	require.NoError(t, testutil.GatherAndCompare(b.registry, strings.NewReader(`
# HELP pattern_executions_total Pattern runs that have begun, by outcome; requests refused for their inputs are not in it.
# TYPE pattern_executions_total counter
pattern_executions_total{pattern_id="overview",status="error"} 0
pattern_executions_total{pattern_id="overview",status="success"} 0
`), "pattern_executions_total"))
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	o, b := setup(t, overviewCapabilities(), overview)
	exemplars := map[string]string{} // trace ids by series
	stepSamples := func() map[string]uint64 {
		families, err := b.registry.Gather()
		require.NoError(t, err)
		samples := make(map[string]uint64)
		for _, family := range families {
			if family.GetName() != "pattern_step_duration" {
				continue
			}
			for _, m := range family.GetMetric() {
				var labels []string
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetName()+"="+l.GetValue())
				}
				samples[strings.Join(labels, ",")] = m.GetHistogram().GetSampleCount()
				require.NotEmpty(t, m.GetHistogram().GetBucket())
				require.NotNil(t, m.GetHistogram().ZeroThreshold, "native buckets are missing")
				for _, bucket := range m.GetHistogram().GetBucket() {
					if e := bucket.GetExemplar(); e != nil {
						require.Equal(t, "trace_id", e.GetLabel()[0].GetName())
						exemplars[strings.Join(labels, ",")] = e.GetLabel()[0].GetValue()
					}
				}
			}
		}
		return samples
	}
	want := map[string]uint64{
		"capability=ledger.positions,pattern_id=overview,step_index=0":   0,
		"capability=pricing.apply_pack,pattern_id=overview,step_index=1": 0,
		"capability=metrics.twr,pattern_id=overview,step_index=2":        0,
	}
	require.Equal(t, want, stepSamples(), "loaded patterns start at zero")

	_, err := o.Execute(t.Context(), request(map[string]any{"portfolio_id": portfolioID}))
	require.NoError(t, err)
	for labels := range want {
		want[labels] = 1
	}
	require.Equal(t, want, stepSamples())
	require.Len(t, exemplars, len(want))
	for labels, traceID := range exemplars {
		require.Equal(t, b.spans.Ended()[0].SpanContext().TraceID().String(), traceID, labels)
	}
	require.InDelta(t, 1, testutil.ToFloat64(o.serving.Load().programs["overview"].metrics.succeeded), 0)
	problems, err := testutil.GatherAndLint(b.registry)
	require.NoError(t, err)
	for _, p := range problems {
		require.Contains(t, p.Metric, "pattern_step_duration", "%s: %s", p.Metric, p.Text) // its name is fixed by the contract
	}
}

func TestConcurrentRuns(t *testing.T) {
	t.Parallel()
	o, _ := setup(t, overviewCapabilities(), overview)
	hashes := make([]string, 16)
	var wg sync.WaitGroup
	for i := range hashes {
		wg.Go(func() {
			answer, err := o.Execute(t.Context(), request(map[string]any{"portfolio_id": portfolioID}))
			if err == nil {
				hashes[i] = answer.DataHash
			}
		})
	}
	wg.Wait()
	for _, hash := range hashes {
		require.NotEmpty(t, hash)
		require.Equal(t, hashes[0], hash)
	}
}
