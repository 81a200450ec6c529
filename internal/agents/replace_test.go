package agents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

// elsewhere is an agent that is not part of the process.
type elsewhere struct{ declaring }

func (elsewhere) Remote() bool { return true }

// answering is a capability that answers with value.
func answering(name string, value any) agent.Capability {
	return agent.Capability{Name: name, Run: func(context.Context, agent.Request) (agent.Result, error) {
		return agent.Result{Value: value}, nil
	}}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, b := setup(t, AgentConfig{Timeout: 5 * time.Second, Breaker: BreakerConfig{Failures: 1}})
		b.script.returns(errors.New("broken"))
		require.Error(t, do(t.Context(), r))

		// What is known of the agent by its name stays.
		require.NoError(t, r.Replace(declaring{"tester", []agent.Capability{answering("t.do", "new"), answering("t.more", 1)}}))
		require.Equal(t, []string{"t.do", "t.more"}, r.Capabilities())
		require.Equal(t, fault.BreakerOpen, fault.CodeOf(do(t.Context(), r)))
		require.EqualValues(t, 1, r.States()[0].Calls.Failed)
		advance(time.Minute)
		result, err := r.Run(t.Context(), agent.Request{Capability: "t.do"})
		require.NoError(t, err)
		require.Equal(t, "new", result.Value)
		b.requireCalls(t, 1, 2, `agent_invocations_total{agent_name="tester",capability="t.more",status="error"} 0`,
			`agent_invocations_total{agent_name="tester",capability="t.more",status="success"} 0`)

		// What is gone is gone, from the metrics too.
		require.NoError(t, r.Replace(declaring{"tester", []agent.Capability{answering("t.do", "newer")}}))
		require.Equal(t, []string{"t.do"}, r.Capabilities())
		_, err = r.Run(t.Context(), agent.Request{Capability: "t.more"})
		require.Equal(t, fault.Internal, fault.CodeOf(err))
		b.requireCalls(t, 1, 2)
	})
}

func TestReplaceRegisters(t *testing.T) {
	t.Parallel()
	r, b := setup(t, AgentConfig{})
	require.NoError(t, r.Replace(elsewhere{declaring{"other", []agent.Capability{answering("o.do", 1)}}}))
	name, c, ok := r.Capability("o.do")
	require.True(t, ok)
	require.Equal(t, "other", name)
	require.Equal(t, "o.do", c.Name)
	_, _, ok = r.Capability("o.dont")
	require.False(t, ok)
	require.NoError(t, testutil.GatherAndCompare(b.registry, strings.NewReader(`
# HELP circuit_breaker_state State of each agent's circuit breaker: 0 CLOSED, 1 OPEN, 2 HALF_OPEN; one series an agent.
# TYPE circuit_breaker_state gauge
circuit_breaker_state{agent_name="other",state="CLOSED"} 0
circuit_breaker_state{agent_name="tester",state="CLOSED"} 0
`), "circuit_breaker_state"))
	b.requireMetric(t, `dawsos_agent_refusals_total{agent_name="other",reason="bulkhead"} 0`)
	b.requireMetric(t, `dawsos_agent_retries_total{agent_name="other"} 0`)
	states := r.States()
	require.Len(t, states, 2)
	require.Equal(t, []string{"other", "tester"}, []string{states[0].Name, states[1].Name})
	require.True(t, states[0].Remote)
	require.False(t, states[1].Remote)
	require.Equal(t, 10*time.Second, states[0].Policies.Timeout)
}

func TestReplaceRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		agent declaring
		want  string
	}{
		"another's":     {declaring{"other", []agent.Capability{answering("o.do", 1), answering("t.do", 1)}}, `capability "t.do" is declared by agent tester and by agent other`},
		"twice":         {declaring{"other", []agent.Capability{answering("o.do", 1), answering("o.do", 1)}}, `capability "o.do" is declared by agent other and by agent other`},
		"bad schema":    {declaring{"tester", []agent.Capability{{Name: "t.do", Run: nothing, Args: json.RawMessage(`[]`)}}}, `agent tester, capability "t.do": arguments: the schema can't be used`},
		"bad purity":    {declaring{"tester", []agent.Capability{{Name: "t.do", Run: nothing, Purity: "Pure"}}}, `there is no purity "Pure"`},
		"nothing to do": {declaring{"tester", []agent.Capability{{Name: "t.do"}}}, "there is nothing to run"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, b := setup(t, AgentConfig{})
			before, err := testutil.GatherAndCount(b.registry)
			require.NoError(t, err)
			require.ErrorContains(t, r.Replace(tc.agent), tc.want)
			require.Equal(t, []string{"t.do"}, r.Capabilities())
			require.Len(t, r.States(), 1)
			result, err := r.Run(t.Context(), agent.Request{Capability: "t.do"})
			require.NoError(t, err)
			require.Equal(t, "done", result.Value)
			after, err := testutil.GatherAndCount(b.registry)
			require.NoError(t, err)
			require.Equal(t, before, after)
		})
	}
}

// While an agent is replaced again and again, callers find one whole set of its capabilities, and
// calls under way are not disturbed.
func TestReplaceUnderLoad(t *testing.T) {
	t.Parallel()
	b := newBundle(&scripted{})
	b.script.returns(nil)
	opts := b.options()
	opts.Tracer = nil // it would keep every span
	r, err := New(Config{}, []agent.Agent{b.script.agent()}, opts)
	require.NoError(t, err)
	set := func(n int) agent.Agent {
		return declaring{"twins", []agent.Capability{answering("twin.a", n), answering("twin.b", n), answering(fmt.Sprintf("twin.only_%d", n%2), n)}}
	}
	require.NoError(t, r.Replace(set(0)))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, err := r.Run(t.Context(), agent.Request{Capability: "twin.a"})
				if err != nil {
					t.Errorf("twin.a: %v", err)
				}
				b, err := r.Run(t.Context(), agent.Request{Capability: "twin.b"})
				if err != nil {
					t.Errorf("twin.b: %v", err)
				}
				if a.Value.(int) > b.Value.(int) {
					t.Errorf("a new twin.a (%v) beside an old twin.b (%v)", a.Value, b.Value)
				}
				if all := r.Capabilities(); len(all) != 4 {
					t.Errorf("half a set: %v", all)
				}
				if states := r.States(); len(states[1].Capabilities) != 3 {
					t.Errorf("half a set: %v", states[1].Capabilities)
				}
				if err := do(t.Context(), r); err != nil {
					t.Errorf("another agent: %v", err)
				}
			}
		})
	}
	wg.Go(func() {
		defer close(stop)
		for n := range 100 {
			if err := r.Replace(set(n)); err != nil {
				t.Error(err)
			}
			r.SetAvailable("twins", errors.New("away"))
			if _, err := b.registry.Gather(); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
}

func TestRemoteAgentThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	const name = "research"
	s := &scripted{}
	s.returns(nil)
	b := newBundle(s)
	cfg := Config{Agents: map[string]AgentConfig{name: {Timeout: 3 * time.Second, Remote: &RemoteConfig{URL: "http://localhost:9000"}}}}
	r, err := New(cfg, []agent.Agent{s.agent()}, b.options())
	require.NoError(t, err)
	state := func() State { return r.States()[0] }
	require.Equal(t, name, state().Name)
	require.True(t, state().Remote)
	require.Equal(t, "http://localhost:9000", state().URL)
	require.False(t, state().Available)
	require.Equal(t, "it has not said yet what it can do", state().Unavailable)
	require.NotNil(t, state().Capabilities)
	require.Empty(t, state().Capabilities)
	require.Equal(t, []string{"t.do"}, r.Capabilities())
	_, err = r.Run(t.Context(), agent.Request{Capability: "r.do"})
	require.Equal(t, fault.Unavailable, fault.CodeOf(err), "it may have what is missing")
	require.EqualError(t, err, `no agent that can be reached has the capability "r.do"`)

	require.NoError(t, r.Replace(declaring{name, []agent.Capability{answering("r.do", 1)}}))
	require.True(t, state().Available)
	require.Empty(t, state().Unavailable)
	require.Len(t, state().Capabilities, 1)

	// An agent that can no longer be reached keeps what it last had.
	r.SetAvailable(name, fault.New(fault.Unavailable, "it does not answer at its address"))
	require.False(t, state().Available)
	require.Equal(t, "it does not answer at its address", state().Unavailable)
	require.Len(t, state().Capabilities, 1)
	_, err = r.Run(t.Context(), agent.Request{Capability: "r.do"})
	require.NoError(t, err)
	r.SetAvailable(name, errors.New("dial 10.1.2.3: secret"))
	require.Equal(t, "it can't be reached", state().Unavailable, "what has no code is for the log")
	require.Contains(t, b.log.String(), "10.1.2.3")
	r.SetAvailable(name, nil)
	require.True(t, state().Available)
	r.SetAvailable("nobody", nil)
	require.Len(t, r.States(), 2)
}

func TestResultsOfRemoteAgentsAreChecked(t *testing.T) {
	t.Parallel()
	declared := json.RawMessage(`{"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}`)
	for name, tc := range map[string]struct {
		value any
		fits  bool
	}{
		"fits":         {map[string]any{"n": json.Number("1")}, true},
		"fits as text": {json.RawMessage(`{"n": 1}`), true},
		"fits as a struct": {struct {
			N int `json:"n"`
		}{1}, true},
		"lacks a field":    {map[string]any{}, false},
		"has a wrong type": {json.RawMessage(`{"n": "1"}`), false},
		"is no JSON":       {json.RawMessage(`{"n"`), false},
		"can't be JSON":    {make(chan int), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, b := setup(t, AgentConfig{})
			c := answering("o.do", tc.value)
			c.Result = declared
			require.NoError(t, r.Replace(elsewhere{declaring{"other", []agent.Capability{c}}}))
			_, err := r.Run(t.Context(), agent.Request{Capability: "o.do"})
			if tc.fits {
				require.NoError(t, err)
				return
			}
			require.Equal(t, fault.Internal, fault.CodeOf(err))
			require.Equal(t, "agent other answered o.do with something that does not fit the schema it declares", fault.Detail(err))
			for range 4 {
				_, err = r.Run(t.Context(), agent.Request{Capability: "o.do"})
				require.Error(t, err)
			}
			_, err = r.Run(t.Context(), agent.Request{Capability: "o.do"})
			require.Equal(t, fault.BreakerOpen, fault.CodeOf(err), "it is a failure of the agent's")
			require.NoError(t, do(t.Context(), r))
			b.requireMetric(t, `dawsos_agent_refusals_total{agent_name="other",reason="breaker"} 1`)
		})
	}
	t.Run("those in the process are not", func(t *testing.T) {
		t.Parallel()
		r, _ := setupDeclared(t, AgentConfig{}, agent.Capability{Result: declared})
		require.NoError(t, do(t.Context(), r))
	})
}

// unwritable breaks whoever writes it as JSON.
type unwritable struct{}

func (unwritable) MarshalJSON() ([]byte, error) { panic("broken") }

// A trial that ends while its answer is looked at gives its place back like any other: without it the
// breaker would stay half-open for ever, and the agent be refused until the process ends.
func TestATrialWhoseAnswerBreaksTheCheckGivesItsPlaceBack(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]any{
		"a number that the validator breaks on": json.RawMessage(`{"n": 1e1000001}`),
		"a value that can't be written":         unwritable{},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r, _ := setup(t, AgentConfig{})
				c := answering("o.do", value)
				c.Result = json.RawMessage(`{"properties": {"n": {"minimum": 0}}}`)
				require.NoError(t, r.Replace(elsewhere{declaring{"other", []agent.Capability{c}}}))
				ask := func() error {
					_, err := r.Run(t.Context(), agent.Request{Capability: "o.do"})
					return err
				}
				for range 5 {
					require.Equal(t, fault.Internal, fault.CodeOf(ask()))
				}
				require.Equal(t, fault.BreakerOpen, fault.CodeOf(ask()), "they count")
				advance(time.Minute)
				require.Equal(t, fault.Internal, fault.CodeOf(ask()), "the trial")
				require.Equal(t, "OPEN", r.States()[0].Breaker.State)
				require.EqualValues(t, 6, r.States()[0].Calls.Failed)

				c = answering("o.do", 1)
				require.NoError(t, r.Replace(elsewhere{declaring{"other", []agent.Capability{c}}}))
				advance(time.Minute)
				require.NoError(t, ask())
				require.Equal(t, "CLOSED", r.States()[0].Breaker.State)
			})
		})
	}
}

// Whatever ends an attempt, what it was admitted for is recorded.
func TestAnAttemptThatBreaksOffIsRecorded(t *testing.T) {
	t.Parallel()
	r, b := setup(t, AgentConfig{Breaker: BreakerConfig{Failures: 1}})
	b.script.does(func(context.Context) error { runtime.Goexit(); return nil }) // no panic, so that nothing recovers it
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = do(t.Context(), r)
	}()
	<-done
	b.requireState(t, "OPEN", 1)
}

func TestStates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		cfg := AgentConfig{
			Timeout:   3 * time.Second,
			Retry:     RetryConfig{Attempts: 1},
			Breaker:   BreakerConfig{Failures: 2, Delay: 30 * time.Second},
			RateLimit: &RateLimitConfig{Calls: 100},
			Bulkhead:  &BulkheadConfig{Calls: 4},
		}
		declared := agent.Capability{Description: "Does.", Purity: agent.Pure, Cost: agent.High}
		r, b := setupDeclared(t, cfg, declared)
		state := func() State {
			states := r.States()
			require.Len(t, states, 1)
			require.Len(t, states[0].Capabilities, 1)
			require.Equal(t, "t.do", states[0].Capabilities[0].Name)
			require.Equal(t, agent.High, states[0].Capabilities[0].Cost)
			states[0].Capabilities = nil // functions can't be compared
			for i := range states[0].LastErrors {
				require.Len(t, states[0].LastErrors[i].TraceID, 32)
				states[0].LastErrors[i].TraceID = ""
			}
			return states[0]
		}
		want := State{
			Name: "tester", Available: true,
			Breaker: BreakerState{State: "CLOSED", Since: start, Thresholds: BreakerConfig{Failures: 2, Delay: 30 * time.Second, Successes: 1}},
			Policies: Policies{
				Timeout: 3 * time.Second, Retry: RetryConfig{Attempts: 1, Delay: 50 * time.Millisecond, MaxDelay: time.Second},
				RateLimit: &RateLimitConfig{Calls: 100, Per: time.Second}, Bulkhead: &BulkheadConfig{Calls: 4},
			},
		}
		require.Equal(t, want, state())

		require.NoError(t, do(t.Context(), r))
		advance(time.Second)
		b.script.returns(errors.New("dial 10.1.2.3: secret"))
		require.Error(t, do(t.Context(), r))
		b.script.returns(fault.New(fault.NotFound, "no such portfolio"))
		require.Error(t, do(t.Context(), r))
		want.Calls = Calls{Succeeded: 1, Failed: 2}
		want.LastError = &LastError{
			At: start.Add(time.Second).UTC(), Capability: "t.do", Code: fault.Internal,
			Detail: "an internal error occurred; the request id leads to it in the log",
		}
		want.LastErrors = []LastError{*want.LastError}
		require.Equal(t, want, state(), "a caller's mistake is not the agent's last error")

		advance(time.Second)
		b.script.returns(fault.New(fault.Unavailable, "the database is away"))
		require.Error(t, do(t.Context(), r))
		advance(10 * time.Second)
		require.Error(t, do(t.Context(), r)) // refused
		want.Calls = Calls{Succeeded: 1, Failed: 3, Refused: 1}
		want.LastError = &LastError{At: start.Add(2 * time.Second).UTC(), Capability: "t.do", Code: fault.Unavailable, Detail: "the database is away"}
		want.LastErrors = append([]LastError{*want.LastError}, want.LastErrors...)
		want.Breaker.State, want.Breaker.Since, want.Breaker.RetryAfter = "OPEN", start.Add(2*time.Second), 20*time.Second
		require.Equal(t, want, state())

		leave := func() func() {
			advance(20 * time.Second)
			return b.occupy(t, r)
		}()
		want.Breaker.State, want.Breaker.Since, want.Breaker.RetryAfter = "HALF_OPEN", start.Add(32*time.Second), 0
		want.Calls.InFlight = 1
		require.Equal(t, want, state())
		leave()
		want.Breaker.State = "CLOSED"
		want.Calls = Calls{Succeeded: 2, Failed: 3, Refused: 1}
		require.Equal(t, want, state())
	})
}
