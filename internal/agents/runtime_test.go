package agents

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

// testAgent is an agent made of functions.
type testAgent struct {
	name  string
	funcs map[string]func(ctx context.Context, req agent.Request) (agent.Result, error)
}

func (a testAgent) Name() string { return a.name }

func (a testAgent) Capabilities() []agent.Capability {
	var all []agent.Capability
	for name, run := range a.funcs {
		all = append(all, agent.Capability{Name: name, Run: run})
	}
	return all
}

// declaring is an agent with the capabilities it is given.
type declaring struct {
	name string
	all  []agent.Capability
}

func (a declaring) Name() string                     { return a.name }
func (a declaring) Capabilities() []agent.Capability { return a.all }

// scripted is an agent with one capability, t.do, that does what it was told last.
type scripted struct {
	mu sync.Mutex
	do func(ctx context.Context) error
}

func (s *scripted) returns(err error) { s.does(func(context.Context) error { return err }) }

func (s *scripted) does(do func(ctx context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.do = do
}

func (s *scripted) agent() agent.Agent { return s.declaring(agent.Capability{}) }

func (s *scripted) declaring(c agent.Capability) agent.Agent {
	c.Name = "t.do"
	c.Run = func(ctx context.Context, _ agent.Request) (agent.Result, error) {
		s.mu.Lock()
		do := s.do
		s.mu.Unlock()
		return agent.Result{Value: "done"}, do(ctx)
	}
	return declaring{"tester", []agent.Capability{c}}
}

func nothing(context.Context, agent.Request) (agent.Result, error) { return agent.Result{}, nil }

type bundle struct {
	script   *scripted
	registry *prometheus.Registry
	spans    *tracetest.SpanRecorder
	log      *bytes.Buffer
}

func setup(t *testing.T, cfg AgentConfig) (*Runtime, *bundle) {
	t.Helper()
	return setupDeclared(t, cfg, agent.Capability{})
}

// setupDeclared is setup with t.do declaring more than its name.
func setupDeclared(t *testing.T, cfg AgentConfig, declared agent.Capability) (*Runtime, *bundle) {
	t.Helper()
	b := newBundle(&scripted{})
	b.script.returns(nil)
	r, err := New(Config{Agents: map[string]AgentConfig{"tester": cfg}}, []agent.Agent{b.script.declaring(declared)}, b.options())
	require.NoError(t, err)
	return r, b
}

func newBundle(s *scripted) *bundle {
	return &bundle{script: s, registry: prometheus.NewRegistry(), spans: tracetest.NewSpanRecorder(), log: &bytes.Buffer{}}
}

func (b *bundle) options() Options {
	return Options{
		Registerer: b.registry,
		Metrics:    NewMetrics(b.registry),
		Logger:     slog.New(slog.NewTextHandler(b.log, nil)),
		Tracer:     sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(b.spans)).Tracer("test"),
	}
}

func do(ctx context.Context, r *Runtime) error {
	_, err := r.Run(ctx, agent.Request{Capability: "t.do"})
	return err
}

// advance lets the clock of a synctest bubble go on.
func advance(d time.Duration) { <-time.After(d) }

// requireState checks that circuit_breaker_state has exactly the one series.
func (b *bundle) requireState(t *testing.T, state string, value int) {
	t.Helper()
	require.NoError(t, testutil.GatherAndCompare(b.registry, strings.NewReader(fmt.Sprintf(`
# HELP circuit_breaker_state State of each agent's circuit breaker: 0 CLOSED, 1 OPEN, 2 HALF_OPEN; one series an agent.
# TYPE circuit_breaker_state gauge
circuit_breaker_state{agent_name="tester",state=%q} %d
`, state, value)), "circuit_breaker_state"))
}

// requireCalls checks agent_invocations_total; more are samples that stand there besides t.do's.
func (b *bundle) requireCalls(t *testing.T, succeeded, failed int, more ...string) {
	t.Helper()
	require.NoError(t, testutil.GatherAndCompare(b.registry, strings.NewReader(fmt.Sprintf(`
# HELP agent_invocations_total Capability calls, by outcome; one a call, however often it was retried. A call that was refused, by an open circuit breaker for instance, is an error.
# TYPE agent_invocations_total counter
agent_invocations_total{agent_name="tester",capability="t.do",status="error"} %d
agent_invocations_total{agent_name="tester",capability="t.do",status="success"} %d
%s
`, failed, succeeded, strings.Join(more, "\n"))), "agent_invocations_total"))
}

// requireMetric checks one sample of the families with prefix dawsos_.
func (b *bundle) requireMetric(t *testing.T, want string) {
	t.Helper()
	families, err := b.registry.Gather()
	require.NoError(t, err)
	var text bytes.Buffer
	for _, family := range families {
		if strings.HasPrefix(family.GetName(), "dawsos_") {
			_, err := expfmt.MetricFamilyToText(&text, family)
			require.NoError(t, err)
		}
	}
	require.Contains(t, text.String(), want+"\n")
}

// latencySamples returns how many calls agent_latency has seen.
func (b *bundle) latencySamples(t *testing.T) uint64 {
	t.Helper()
	families, err := b.registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == "agent_latency" {
			require.Len(t, family.GetMetric(), 1)
			return family.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	t.Fatal("agent_latency is missing")
	return 0
}

// events returns the breaker's changes on a span as "FROM>TO".
func events(span sdktrace.ReadOnlySpan) []string {
	var all []string
	for _, e := range span.Events() {
		if e.Name != "circuit breaker changed" {
			continue
		}
		set := attribute.NewSet(e.Attributes...)
		from, _ := set.Value("from")
		to, _ := set.Value("to")
		all = append(all, from.AsString()+">"+to.AsString())
	}
	return all
}

func TestRun(t *testing.T) {
	t.Parallel()
	r, b := setup(t, AgentConfig{})
	b.requireCalls(t, 0, 0)
	b.requireState(t, "CLOSED", 0)
	require.Zero(t, b.latencySamples(t))

	result, err := r.Run(t.Context(), agent.Request{Capability: "t.do"})
	require.NoError(t, err)
	require.Equal(t, "done", result.Value)
	b.requireCalls(t, 1, 0)
	require.EqualValues(t, 1, b.latencySamples(t))
	require.Equal(t, "agent tester/t.do", b.spans.Ended()[0].Name())

	require.Equal(t, []string{"t.do"}, r.Capabilities())
	name, _, ok := r.Capability("t.do")
	require.True(t, ok)
	require.Equal(t, "tester", name)

	_, _, ok = r.Capability("t.dont")
	require.False(t, ok)
	_, err = r.Run(t.Context(), agent.Request{Capability: "t.dont"})
	require.Equal(t, fault.Internal, fault.CodeOf(err))
	require.ErrorContains(t, err, `no agent has the capability "t.dont"`)
	b.requireCalls(t, 1, 0)
}

func TestBreakerTurnsThroughAllStates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told []BreakerChange
		b := newBundle(&scripted{})
		options := b.options()
		options.OnBreakerChange = func(c BreakerChange) { told = append(told, c) }
		start := time.Now()
		r, err := New(Config{Agents: map[string]AgentConfig{"tester": {Breaker: BreakerConfig{Failures: 3, Delay: time.Minute, Successes: 2}}}},
			[]agent.Agent{b.script.agent()}, options)
		require.NoError(t, err)
		broken := errors.New("connection refused")

		b.script.returns(broken)
		for range 2 {
			require.ErrorIs(t, do(t.Context(), r), broken)
		}
		b.script.returns(nil)
		require.NoError(t, do(t.Context(), r), "failures have to come in a row")
		b.script.returns(broken)
		for range 2 {
			require.ErrorIs(t, do(t.Context(), r), broken)
		}
		b.requireState(t, "CLOSED", 0)
		require.ErrorIs(t, do(t.Context(), r), broken)
		b.requireState(t, "OPEN", 1)
		b.requireCalls(t, 1, 5)

		// Refused without asking the agent, and told for how long.
		b.script.does(func(context.Context) error { panic("must not be asked") })
		advance(45 * time.Second)
		err = do(t.Context(), r)
		require.Equal(t, fault.BreakerOpen, fault.CodeOf(err))
		var refused *fault.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, 15*time.Second, refused.RetryAfter)
		b.requireCalls(t, 1, 6)
		require.EqualValues(t, 6, b.latencySamples(t), "a refused call has no latency")
		asked := time.Now()
		for range 1000 {
			require.Equal(t, fault.BreakerOpen, fault.CodeOf(do(t.Context(), r)))
		}
		require.Equal(t, asked, time.Now(), "a refusal waits for nothing")
		b.requireCalls(t, 1, 1006)
		b.requireMetric(t, `dawsos_agent_refusals_total{agent_name="tester",reason="breaker"} 1001`)

		// A trial call that fails opens it again, for the whole delay.
		advance(15 * time.Second)
		b.script.returns(broken)
		require.ErrorIs(t, do(t.Context(), r), broken)
		b.requireState(t, "OPEN", 1)

		// While one trial call is under way, others are refused; two that succeed close it.
		advance(time.Minute)
		begun, finish := make(chan struct{}), make(chan struct{})
		b.script.does(func(context.Context) error {
			close(begun)
			<-finish
			return nil
		})
		trial := make(chan error)
		go func() { trial <- do(t.Context(), r) }()
		<-begun
		b.requireState(t, "HALF_OPEN", 2)
		b.script.returns(nil)
		require.NoError(t, do(t.Context(), r), "as many trial calls as successes are needed")
		close(finish)
		require.NoError(t, <-trial)
		b.requireState(t, "CLOSED", 0)

		var changes []string
		for _, span := range b.spans.Ended() {
			changes = append(changes, events(span)...)
		}
		require.Equal(t, []string{
			"CLOSED>OPEN", "OPEN>HALF_OPEN", "HALF_OPEN>OPEN", "OPEN>HALF_OPEN", "HALF_OPEN>CLOSED",
		}, changes)
		require.Equal(t, []BreakerChange{
			{"tester", "CLOSED", "OPEN", start, "3 calls in a row failed, the last one: code internal"},
			{"tester", "OPEN", "HALF_OPEN", start.Add(time.Minute), "The delay of 1m0s is over; the next calls are trials."},
			{"tester", "HALF_OPEN", "OPEN", start.Add(time.Minute), "A trial call failed: code internal"},
			{"tester", "OPEN", "HALF_OPEN", start.Add(2 * time.Minute), "The delay of 1m0s is over; the next calls are trials."},
			{"tester", "HALF_OPEN", "CLOSED", start.Add(2 * time.Minute), "2 trial calls in a row succeeded."},
		}, told)
		for _, line := range []string{
			`level=WARN msg="circuit breaker changed" agent=tester from=CLOSED to=OPEN retry_after=1m0s`,
			`level=INFO msg="circuit breaker changed" agent=tester from=OPEN to=HALF_OPEN`,
			`level=WARN msg="circuit breaker changed" agent=tester from=HALF_OPEN to=OPEN`,
			`level=INFO msg="circuit breaker changed" agent=tester from=HALF_OPEN to=CLOSED`,
		} {
			require.Contains(t, b.log.String(), line)
		}
	})
}

// An agent that nobody asks is not refused any more once the delay is over. Shown as open, it would keep an
// alert firing all night, until somebody happens to ask.
func TestABreakerWhoseDelayIsOverIsShownHalfOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told []BreakerChange
		b := newBundle(&scripted{})
		options := b.options()
		options.OnBreakerChange = func(c BreakerChange) { told = append(told, c) }
		r, err := New(Config{Agents: map[string]AgentConfig{"tester": {Breaker: BreakerConfig{Failures: 1, Delay: time.Minute}}}}, []agent.Agent{b.script.agent()}, options)
		require.NoError(t, err)
		b.script.returns(errors.New("connection refused"))
		require.Error(t, do(t.Context(), r))
		opened := time.Now()
		advance(time.Minute - time.Second)
		b.requireState(t, "OPEN", 1)
		advance(time.Second)
		shown := r.States()[0].Breaker
		b.requireState(t, "HALF_OPEN", 2)
		require.Equal(t, "HALF_OPEN", shown.State)
		require.Equal(t, opened.Add(time.Minute), shown.Since)
		require.Zero(t, shown.RetryAfter)

		advance(time.Hour)
		require.Equal(t, opened.Add(time.Minute), r.States()[0].Breaker.Since)
		require.Len(t, told, 1, "to look at it changes nothing")
		require.Error(t, do(t.Context(), r))
		b.requireState(t, "OPEN", 1)
		require.Equal(t, time.Minute, r.States()[0].Breaker.RetryAfter)
	})
}

func TestTrialCallUnderWayRefusesOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, b := setup(t, AgentConfig{Breaker: BreakerConfig{Failures: 1}})
		b.script.returns(errors.New("broken"))
		require.Error(t, do(t.Context(), r))
		advance(time.Minute)

		begun, finish := make(chan struct{}), make(chan struct{})
		b.script.does(func(context.Context) error {
			close(begun)
			<-finish
			return nil
		})
		trial := make(chan error)
		go func() { trial <- do(t.Context(), r) }()
		<-begun
		err := do(t.Context(), r)
		var refused *fault.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, fault.BreakerOpen, refused.Code)
		require.Equal(t, time.Second, refused.RetryAfter)
		close(finish)
		require.NoError(t, <-trial)
		b.requireState(t, "CLOSED", 0)
	})
}

func TestWhatOpensTheBreaker(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err   error
		opens bool
	}{
		{errors.New("no code"), true},
		{fault.New(fault.Internal, "x"), true},
		{fault.New(fault.Unavailable, "x"), true},
		{fault.New(fault.Timeout, "x"), true},
		{fmt.Errorf("query: %w", context.DeadlineExceeded), true},
		{fault.New(fault.Invalid, "x"), false},
		{fault.New(fault.NotFound, "x"), false},
		{fault.New(fault.InsufficientData, "x"), false},
		{fault.New(fault.PackNotFresh, "x"), false},
		{fault.New(fault.BreakerOpen, "x"), false},
		{fault.New(fault.Canceled, "x"), false},
		{context.Canceled, false},
	} {
		t.Run(tc.err.Error()+string(fault.CodeOf(tc.err)), func(t *testing.T) {
			t.Parallel()
			r, b := setup(t, AgentConfig{Breaker: BreakerConfig{Failures: 1}})
			b.script.returns(tc.err)
			require.ErrorIs(t, do(t.Context(), r), tc.err)
			b.requireCalls(t, 0, 1)
			if tc.opens {
				b.requireState(t, "OPEN", 1)
			} else {
				b.requireState(t, "CLOSED", 0)
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, b := setup(t, AgentConfig{Timeout: 3 * time.Second, Breaker: BreakerConfig{Failures: 1}})
		b.script.does(func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("query: %w", ctx.Err())
		})
		start := time.Now()
		err := do(t.Context(), r)
		require.Equal(t, 3*time.Second, time.Since(start))
		require.Equal(t, fault.Timeout, fault.CodeOf(err))
		require.Equal(t, "agent tester did not finish t.do within 3s", fault.Detail(err))
		b.requireState(t, "OPEN", 1)
	})
}

func TestCallersEndIsNoFailure(t *testing.T) {
	t.Parallel()
	wait := func(ctx context.Context) error {
		<-ctx.Done()
		return errors.New("query broken off") // without a code, as some drivers have it
	}
	t.Run("canceled", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, b := setup(t, AgentConfig{Breaker: BreakerConfig{Failures: 1}})
			b.script.does(wait)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			err := do(ctx, r)
			require.Equal(t, fault.Canceled, fault.CodeOf(err))
			require.ErrorContains(t, err, "query broken off")
			b.requireState(t, "CLOSED", 0)
		})
	})
	t.Run("out of time", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, b := setup(t, AgentConfig{Breaker: BreakerConfig{Failures: 1}})
			b.script.does(wait)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			require.Equal(t, fault.Timeout, fault.CodeOf(do(ctx, r)))
			b.requireState(t, "CLOSED", 0)
		})
	})
	t.Run("an abandoned trial call proves nothing", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, b := setup(t, AgentConfig{Breaker: BreakerConfig{Failures: 1}})
			b.script.returns(errors.New("broken"))
			require.Error(t, do(t.Context(), r))
			advance(time.Minute)

			b.script.does(wait)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			require.Equal(t, fault.Canceled, fault.CodeOf(do(ctx, r)))
			b.requireState(t, "OPEN", 1)
		})
	})
}

func TestPanicsEndHere(t *testing.T) {
	t.Parallel()
	r, b := setup(t, AgentConfig{Breaker: BreakerConfig{Failures: 2}})
	b.script.does(func(context.Context) error { panic("index out of range") })
	err := do(t.Context(), r)
	require.Equal(t, fault.Internal, fault.CodeOf(err))
	require.Equal(t, "t.do of agent tester broke off", fault.Detail(err))
	require.ErrorContains(t, err, "panic: index out of range")
	require.Contains(t, b.log.String(), "capability panicked")
	require.Contains(t, b.log.String(), "TestPanicsEndHere", "the stack must lead to the defect")

	require.Error(t, do(t.Context(), r))
	b.requireState(t, "OPEN", 1)
	b.requireCalls(t, 0, 2)
}

func TestOneAgentsBreakerLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	type run = func(context.Context, agent.Request) (agent.Result, error)
	bad := testAgent{"bad", map[string]run{
		"bad.do": func(context.Context, agent.Request) (agent.Result, error) { return agent.Result{}, errors.New("x") },
	}}
	good := testAgent{"good", map[string]run{
		"good.do": func(context.Context, agent.Request) (agent.Result, error) { return agent.Result{}, nil },
	}}
	reg := prometheus.NewRegistry()
	r, err := New(Config{}, []agent.Agent{bad, good}, Options{Registerer: reg, Metrics: NewMetrics(reg)})
	require.NoError(t, err)
	for range 5 { // the default
		_, err := r.Run(t.Context(), agent.Request{Capability: "bad.do"})
		require.Equal(t, fault.Internal, fault.CodeOf(err))
	}
	_, err = r.Run(t.Context(), agent.Request{Capability: "bad.do"})
	require.Equal(t, fault.BreakerOpen, fault.CodeOf(err))
	_, err = r.Run(t.Context(), agent.Request{Capability: "good.do"})
	require.NoError(t, err)
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP circuit_breaker_state State of each agent's circuit breaker: 0 CLOSED, 1 OPEN, 2 HALF_OPEN; one series an agent.
# TYPE circuit_breaker_state gauge
circuit_breaker_state{agent_name="bad",state="OPEN"} 1
circuit_breaker_state{agent_name="good",state="CLOSED"} 0
`), "circuit_breaker_state"))
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	s := &scripted{}
	for name, tc := range map[string]struct {
		cfg    Config
		agents []agent.Agent
		want   string
	}{
		"two of a name":          {agents: []agent.Agent{s.agent(), s.agent()}, want: `two agents are named "tester"`},
		"no name":                {agents: []agent.Agent{declaring{"a", []agent.Capability{{Run: nothing}}}}, want: `agent a, capability "": it has no name`},
		"nothing to run":         {agents: []agent.Agent{declaring{"a", []agent.Capability{{Name: "a.b"}}}}, want: "there is nothing to run"},
		"no such purity":         {agents: []agent.Agent{declaring{"a", []agent.Capability{{Name: "a.b", Run: nothing, Purity: "effects"}}}}, want: `agent a, capability "a.b": there is no purity "effects"`},
		"no such cost":           {agents: []agent.Agent{declaring{"a", []agent.Capability{{Name: "a.b", Run: nothing, Cost: "huge"}}}}, want: `there is no cost class "huge"`},
		"a day's timeout":        {agents: []agent.Agent{declaring{"a", []agent.Capability{{Name: "a.b", Run: nothing, Timeout: 24 * time.Hour}}}}, want: "a timeout of 24h0m0s is not allowed; use up to 10m0s"},
		"bad schema of args":     {agents: []agent.Agent{declaring{"a", []agent.Capability{{Name: "a.b", Run: nothing, Args: json.RawMessage(`{"type": "objekt"}`)}}}}, want: `agent a, capability "a.b": arguments: the schema can't be used`},
		"bad schema of result":   {agents: []agent.Agent{declaring{"a", []agent.Capability{{Name: "a.b", Run: nothing, Result: json.RawMessage(`{`)}}}}, want: "result: the schema is not JSON"},
		"two ways to open":       {cfg: Config{Agents: map[string]AgentConfig{"tester": {Breaker: BreakerConfig{Failures: 1, FailureRate: 1}}}}, agents: []agent.Agent{s.agent()}, want: "agent tester: the breaker opens by failures or by a failure_rate"},
		"an empty rate limit":    {cfg: Config{Agents: map[string]AgentConfig{"tester": {RateLimit: &RateLimitConfig{}}}}, agents: []agent.Agent{s.agent()}, want: "the rate limit lets no call through"},
		"an empty bulkhead":      {cfg: Config{Agents: map[string]AgentConfig{"tester": {Bulkhead: &BulkheadConfig{}}}}, agents: []agent.Agent{s.agent()}, want: "the bulkhead lets no call through"},
		"two with a capability":  {agents: []agent.Agent{s.agent(), declaring{"other", s.agent().Capabilities()}}, want: `capability "t.do" is declared by agent tester and by agent other`},
		"settings for nobody":    {cfg: Config{Agents: map[string]AgentConfig{"testr": {}}}, agents: []agent.Agent{s.agent()}, want: `the settings name an agent "testr" that does not exist; there are [tester]`},
		"settings out of bounds": {cfg: Config{Agents: map[string]AgentConfig{"tester": {Timeout: -1}}}, agents: []agent.Agent{s.agent()}, want: "agent tester: negative settings"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := prometheus.NewRegistry()
			_, err := New(tc.cfg, tc.agents, Options{Registerer: reg, Metrics: NewMetrics(reg)})
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestMetricsServeDeliveriesToo(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	m.Init("alert_retry_worker", "retry_delivery")
	ctx, span := sdktrace.NewTracerProvider().Tracer("test").Start(t.Context(), "x")
	defer span.End()
	m.Observe(ctx, "alert_retry_worker", "retry_delivery", nil, time.Second)
	m.Observe(ctx, "alert_retry_worker", "retry_delivery", errors.New("500"), 2*time.Second)
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP agent_invocations_total Capability calls, by outcome; one a call, however often it was retried. A call that was refused, by an open circuit breaker for instance, is an error.
# TYPE agent_invocations_total counter
agent_invocations_total{agent_name="alert_retry_worker",capability="retry_delivery",status="error"} 1
agent_invocations_total{agent_name="alert_retry_worker",capability="retry_delivery",status="success"} 1
`), "agent_invocations_total"))

	families, err := reg.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() != "agent_latency" {
			continue
		}
		h := family.GetMetric()[0].GetHistogram()
		require.InDelta(t, 3, h.GetSampleSum(), 0)
		require.NotEmpty(t, h.GetBucket())
		require.NotEmpty(t, h.GetPositiveSpan(), "native buckets are missing")
		var ids []string
		for _, bucket := range h.GetBucket() {
			if e := bucket.GetExemplar(); e != nil {
				ids = append(ids, e.GetLabel()[0].GetValue())
			}
		}
		require.Equal(t, []string{span.SpanContext().TraceID().String(), span.SpanContext().TraceID().String()}, ids)
		return
	}
	t.Fatal("agent_latency is missing")
}

// BenchmarkRun compares a call through the runtime with the call alone: as it is by default, with
// every policy set, and with arguments that are checked.
func BenchmarkRun(b *testing.B) {
	run := func(b *testing.B, cfg AgentConfig, declared agent.Capability, args map[string]any) {
		b.Helper()
		reg := prometheus.NewRegistry()
		declared.Name, declared.Run = "t.do", nothing
		r, err := New(Config{Agents: map[string]AgentConfig{"tester": cfg}}, []agent.Agent{declaring{"tester", []agent.Capability{declared}}},
			Options{Registerer: reg, Metrics: NewMetrics(reg)})
		require.NoError(b, err)
		req := agent.Request{Capability: "t.do", Args: args}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.Run(b.Context(), req); err != nil {
				b.Fatal(err)
			}
		}
	}
	all := AgentConfig{
		Breaker:   BreakerConfig{FailureRate: 0.5},
		RateLimit: &RateLimitConfig{Calls: 1_000_000, Per: time.Millisecond},
		Bulkhead:  &BulkheadConfig{Calls: 8},
	}
	args := agent.Capability{Args: json.RawMessage(`{"type": "object", "additionalProperties": false, "required": ["id"],
		"properties": {"id": {"type": "string", "format": "uuid"}, "days": {"type": "integer", "minimum": 1}}}`)}

	b.Run("direct", func(b *testing.B) {
		direct := declaring{"tester", []agent.Capability{{Run: nothing}}}.Capabilities()[0]
		b.ReportAllocs()
		for b.Loop() {
			if _, err := direct.Run(b.Context(), agent.Request{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("defaults", func(b *testing.B) { run(b, AgentConfig{}, agent.Capability{}, nil) })
	b.Run("all policies", func(b *testing.B) { run(b, all, agent.Capability{}, nil) })
	b.Run("arguments", func(b *testing.B) {
		run(b, AgentConfig{}, args, map[string]any{"id": "0b9a7e52-4f9b-4c5e-8f5a-6f9b3e0c1d2a", "days": json.Number("252")})
	})
}
