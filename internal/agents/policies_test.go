package agents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

// counts makes t.do answer with errs one after the other, then well, and counts how often it is
// asked.
func (b *bundle) counts(errs ...error) *int {
	var n int
	b.script.does(func(context.Context) error {
		n++ // calls come one after the other
		if n <= len(errs) {
			return errs[n-1]
		}
		return nil
	})
	return &n
}

// retries returns the numbers of the attempts that a call's span tells of.
func (b *bundle) retries(t *testing.T) []int64 {
	t.Helper()
	var attempts []int64
	for _, span := range b.spans.Ended() {
		for _, e := range span.Events() {
			if e.Name == "retry" {
				set := attribute.NewSet(e.Attributes...)
				n, _ := set.Value("attempt")
				attempts = append(attempts, n.AsInt64())
			}
		}
	}
	return attempts
}

func TestRetry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, b := setup(t, AgentConfig{Retry: RetryConfig{Attempts: 3, Delay: 100 * time.Millisecond}})
		b.requireMetric(t, `dawsos_agent_retries_total{agent_name="tester"} 0`)
		away := fault.New(fault.Unavailable, "the database is away")
		asked := b.counts(away, away)
		start := time.Now()
		require.NoError(t, do(t.Context(), r))
		require.Equal(t, 3, *asked)
		require.InDelta(t, 300*time.Millisecond, time.Since(start), float64(45*time.Millisecond), "100 and 200 ms, give or take 15 %")
		require.Equal(t, []int64{2, 3}, b.retries(t))
		b.requireCalls(t, 1, 0)
		require.EqualValues(t, 1, b.latencySamples(t))
		b.requireMetric(t, `dawsos_agent_retries_total{agent_name="tester"} 2`)
		require.EqualValues(t, 2, r.States()[0].Calls.Retried)

		asked = b.counts(away, away, fault.New(fault.Unavailable, "the third"), away)
		err := do(t.Context(), r)
		require.Equal(t, 3, *asked)
		require.EqualError(t, err, "the third")
		require.Equal(t, fault.Unavailable, fault.CodeOf(err))
		b.requireCalls(t, 1, 1)
	})
}

func TestWhatIsRetried(t *testing.T) {
	t.Parallel()
	away := fault.New(fault.Unavailable, "away")
	for name, tc := range map[string]struct {
		declared agent.Capability
		err      error
		again    bool
	}{
		"unavailable":             {err: away, again: true},
		"unavailable, wrapped":    {err: fmt.Errorf("reading prices: %w", away), again: true},
		"a pure one":              {declared: agent.Capability{Purity: agent.Pure}, err: away, again: true},
		"effects":                 {declared: agent.Capability{Purity: agent.Effectful}, err: away},
		"idempotent effects":      {declared: agent.Capability{Purity: agent.Effectful, Idempotent: true}, err: away, again: true},
		"one that asks others":    {declared: agent.Capability{Delegates: true}, err: away},
		"a defect":                {err: errors.New("index out of range")},
		"internal":                {err: fault.New(fault.Internal, "x")},
		"a timeout of its own":    {err: fault.New(fault.Timeout, "x")},
		"a deadline":              {err: context.DeadlineExceeded},
		"a wrong argument":        {err: fault.New(fault.Invalid, "x")},
		"missing data":            {err: fault.New(fault.InsufficientData, "x")},
		"another agent's breaker": {err: fault.New(fault.BreakerOpen, "x")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r, b := setupDeclared(t, AgentConfig{}, tc.declared) // two attempts by default
				asked := b.counts(tc.err)
				err := do(t.Context(), r)
				if tc.again {
					require.NoError(t, err)
					require.Equal(t, 2, *asked)
					return
				}
				require.ErrorIs(t, err, tc.err)
				require.Equal(t, 1, *asked)
			})
		})
	}
	t.Run("a panic", func(t *testing.T) {
		t.Parallel()
		r, b := setup(t, AgentConfig{})
		asked := 0
		b.script.does(func(context.Context) error { asked++; panic("x") })
		require.Error(t, do(t.Context(), r))
		require.Equal(t, 1, asked)
	})
	t.Run("running into the timeout", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, b := setup(t, AgentConfig{Timeout: time.Second})
			asked := 0
			b.script.does(func(ctx context.Context) error { asked++; <-ctx.Done(); return away })
			require.Equal(t, fault.Timeout, fault.CodeOf(do(t.Context(), r)))
			require.Equal(t, 1, asked)
		})
	})
}

func TestRetryEndsWithTheCaller(t *testing.T) {
	t.Parallel()
	away := fault.New(fault.Unavailable, "away")
	cfg := AgentConfig{Retry: RetryConfig{Attempts: 2, Delay: 10 * time.Second, MaxDelay: time.Minute}}
	t.Run("a wait that outlasts the request is not begun", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, b := setup(t, cfg)
			asked := b.counts(away)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			start := time.Now()
			require.ErrorIs(t, do(ctx, r), away)
			require.Equal(t, start, time.Now())
			require.Equal(t, 1, *asked)
		})
	})
	t.Run("canceled while it waits", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, b := setup(t, cfg)
			asked := b.counts(away)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			start := time.Now()
			err := do(ctx, r)
			require.Equal(t, time.Second, time.Since(start))
			require.Equal(t, fault.Canceled, fault.CodeOf(err))
			require.ErrorIs(t, err, away, "the log needs the cause")
			require.Nil(t, r.States()[0].LastError)
			require.Equal(t, 1, *asked)
		})
	})
	t.Run("gone while the agent worked", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, b := setup(t, cfg)
			ctx, cancel := context.WithCancel(t.Context())
			asked := 0
			b.script.does(func(context.Context) error { asked++; cancel(); return away })
			require.Equal(t, fault.Canceled, fault.CodeOf(do(ctx, r)))
			require.Equal(t, 1, asked)
		})
	})
}

func TestRetryAndBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, b := setup(t, AgentConfig{Retry: RetryConfig{Attempts: 5}, Breaker: BreakerConfig{Failures: 3}})
		away := fault.New(fault.Unavailable, "away")
		asked := b.counts(away, away, away, away, away)
		require.ErrorIs(t, do(t.Context(), r), away, "its own failure says more than the refusal")
		require.Equal(t, 3, *asked, "each attempt counts for the breaker, which ends them")
		b.requireMetric(t, `dawsos_agent_retries_total{agent_name="tester"} 2`)
		b.requireState(t, "OPEN", 1)
		b.requireCalls(t, 0, 1)
		b.requireMetric(t, `dawsos_agent_refusals_total{agent_name="tester",reason="breaker"} 0`)
		require.Equal(t, fault.BreakerOpen, fault.CodeOf(do(t.Context(), r)))
		require.Equal(t, 3, *asked)
	})
}

func TestRetryThatALimitRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, b := setup(t, AgentConfig{RateLimit: &RateLimitConfig{Calls: 1, Per: time.Minute}})
		away := fault.New(fault.Unavailable, "away")
		b.counts(away)
		require.ErrorIs(t, do(t.Context(), r), away)
		require.Equal(t, Calls{Failed: 1, Retried: 1}, r.States()[0].Calls, "the agent was asked: the call is not a refused one")
		b.requireMetric(t, `dawsos_agent_refusals_total{agent_name="tester",reason="rate_limit"} 0`)
	})
}

func TestRetryWait(t *testing.T) {
	t.Parallel()
	away := fault.New(fault.Unavailable, "away")
	later := func(d time.Duration) error {
		err := fault.New(fault.Unavailable, "away")
		err.RetryAfter = d
		return err
	}
	c := RetryConfig{Delay: 100 * time.Millisecond, MaxDelay: time.Second}
	for _, tc := range []struct {
		failures int
		err      error
		u        float64
		want     time.Duration
		again    bool
	}{
		{1, away, 0.5, 100 * time.Millisecond, true},
		{2, away, 0.5, 200 * time.Millisecond, true},
		{4, away, 0.5, 800 * time.Millisecond, true},
		{5, away, 0.5, time.Second, true},
		{9, away, 0.5, time.Second, true},
		{1000, away, 0.5, time.Second, true},
		{1, away, 0, 85 * time.Millisecond, true},
		{1, away, 1, 115 * time.Millisecond, true},
		{1, later(10 * time.Millisecond), 0.5, 100 * time.Millisecond, true},
		{1, later(700 * time.Millisecond), 0.5, 700 * time.Millisecond, true},
		{1, later(2 * time.Second), 0.5, 2 * time.Second, false},
		{1, errors.New("x"), 0.5, 0, false},
		{1, fault.Wrap(away, fault.Canceled, "the caller went away"), 0.5, 0, false},
	} {
		wait, again := c.wait(tc.failures, tc.err, tc.u)
		require.Equal(t, tc.again, again, "%+v", tc)
		require.InDelta(t, tc.want, wait, 1000, "%+v", tc)
	}
}

func TestBreakerByRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, b := setup(t, AgentConfig{
			Retry:   RetryConfig{Attempts: 1},
			Breaker: BreakerConfig{FailureRate: 0.5, MinCalls: 4, Window: 10 * time.Second, Delay: 30 * time.Second},
		})
		calls := func(errs ...error) {
			for _, err := range errs {
				b.script.returns(err)
				require.ErrorIs(t, do(t.Context(), r), err)
			}
		}
		broken := errors.New("broken")
		calls(broken, broken, broken)
		b.requireState(t, "CLOSED", 0) // too few to tell
		advance(11 * time.Second)
		calls(broken, nil, nil, nil, broken)
		b.requireState(t, "CLOSED", 0) // the former are out of the window, of these 2 in 5 failed
		wrong := fault.New(fault.Invalid, "wrong")
		calls(wrong, wrong, wrong, wrong)
		calls(broken)
		b.requireState(t, "OPEN", 1) // 3 in 6: callers' mistakes don't thin it out
		require.Equal(t, fault.BreakerOpen, fault.CodeOf(do(t.Context(), r)))
		advance(30 * time.Second)
		calls(nil)
		b.requireState(t, "CLOSED", 0)
	})
}

// Calls that say nothing about the agent neither open the breaker nor break off a row of failures.
func TestMistakesDoNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, b := setup(t, AgentConfig{Breaker: BreakerConfig{Failures: 2}})
		for _, err := range []error{errors.New("broken"), fault.New(fault.NotFound, "x"), context.Canceled} {
			b.script.returns(err)
			require.ErrorIs(t, do(t.Context(), r), err)
		}
		b.requireState(t, "CLOSED", 0)
		b.script.returns(errors.New("broken"))
		require.Error(t, do(t.Context(), r))
		b.requireState(t, "OPEN", 1)

		// A trial that the agent answers with a caller's mistake shows that it is back.
		advance(time.Minute)
		b.script.returns(fault.New(fault.NotFound, "x"))
		require.Error(t, do(t.Context(), r))
		b.requireState(t, "CLOSED", 0)
	})
}

// What began before the breaker changed has no say afterwards.
func TestLateResultsDoNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, b := setup(t, AgentConfig{Timeout: 10 * time.Minute, Breaker: BreakerConfig{Failures: 1, Successes: 2}})
		finish, late := make(chan struct{}), make(chan error)
		b.script.does(func(context.Context) error { <-finish; return errors.New("slow and broken") })
		go func() { late <- do(t.Context(), r) }()
		synctest.Wait()
		b.script.returns(errors.New("broken"))
		require.Error(t, do(t.Context(), r))
		advance(time.Minute)
		b.script.returns(nil)
		require.NoError(t, do(t.Context(), r))
		b.requireState(t, "HALF_OPEN", 2)
		close(finish)
		require.Error(t, <-late)
		b.requireState(t, "HALF_OPEN", 2)
		require.NoError(t, do(t.Context(), r))
		b.requireState(t, "CLOSED", 0)
	})
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	t.Run("refuses", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, b := setup(t, AgentConfig{
				Breaker: BreakerConfig{Failures: 1}, RateLimit: &RateLimitConfig{Calls: 2, Per: time.Minute},
			})
			asked := b.counts()
			advance(15 * time.Second)
			require.NoError(t, do(t.Context(), r))
			require.NoError(t, do(t.Context(), r))
			err := do(t.Context(), r)
			require.Equal(t, fault.Unavailable, fault.CodeOf(err))
			require.Equal(t, "agent tester takes 2 calls in 1m0s and has had them; try again later", fault.Detail(err))
			var refused *fault.Error
			require.ErrorAs(t, err, &refused)
			require.Equal(t, 45*time.Second, refused.RetryAfter)
			require.Equal(t, 2, *asked, "a refusal is not retried either")
			b.requireState(t, "CLOSED", 0)
			b.requireCalls(t, 2, 1)
			require.EqualValues(t, 2, b.latencySamples(t))
			b.requireMetric(t, `dawsos_agent_refusals_total{agent_name="tester",reason="rate_limit"} 1`)
			require.Nil(t, r.States()[0].LastError, "a refusal is no error of the agent's")

			advance(refused.RetryAfter)
			require.NoError(t, do(t.Context(), r))
		})
	})
	t.Run("waits", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, _ := setup(t, AgentConfig{RateLimit: &RateLimitConfig{Calls: 1, Per: time.Second, Wait: 2 * time.Second}})
			start := time.Now()
			for range 3 {
				require.NoError(t, do(t.Context(), r))
			}
			require.Equal(t, 2*time.Second, time.Since(start))
		})
	})
	t.Run("does not wait in vain", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, b := setup(t, AgentConfig{RateLimit: &RateLimitConfig{Calls: 1, Per: time.Minute, Wait: time.Minute}})
			require.NoError(t, do(t.Context(), r))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			require.Equal(t, fault.Unavailable, fault.CodeOf(do(ctx, r)))
			require.Equal(t, start, time.Now())
			b.requireMetric(t, `dawsos_agent_refusals_total{agent_name="tester",reason="rate_limit"} 1`)
		})
	})
	t.Run("canceled while it waits", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, b := setup(t, AgentConfig{RateLimit: &RateLimitConfig{Calls: 1, Per: time.Minute, Wait: time.Minute}})
			require.NoError(t, do(t.Context(), r))
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			require.Equal(t, fault.Canceled, fault.CodeOf(do(ctx, r)))
			b.requireMetric(t, `dawsos_agent_refusals_total{agent_name="tester",reason="rate_limit"} 0`)
		})
	})
}

// occupy has t.do hang until the returned function is called, which waits for its end.
func (b *bundle) occupy(t *testing.T, r *Runtime) (leave func()) {
	t.Helper()
	finish, ended := make(chan struct{}), make(chan error)
	b.script.does(func(context.Context) error { <-finish; return nil })
	go func() { ended <- do(t.Context(), r) }()
	synctest.Wait()
	b.script.returns(nil)
	return func() {
		close(finish)
		require.NoError(t, <-ended)
	}
}

func TestBulkhead(t *testing.T) {
	t.Parallel()
	t.Run("refuses", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, b := setup(t, AgentConfig{Breaker: BreakerConfig{Failures: 1}, Bulkhead: &BulkheadConfig{Calls: 1}})
			leave := b.occupy(t, r)
			require.EqualValues(t, 1, r.States()[0].Calls.InFlight)
			err := do(t.Context(), r)
			require.Equal(t, fault.Unavailable, fault.CodeOf(err))
			require.Equal(t, "agent tester is busy with 1 calls, as many as it takes; try again later", fault.Detail(err))
			var refused *fault.Error
			require.ErrorAs(t, err, &refused)
			require.Equal(t, time.Second, refused.RetryAfter)
			b.requireState(t, "CLOSED", 0)
			b.requireMetric(t, `dawsos_agent_refusals_total{agent_name="tester",reason="bulkhead"} 1`)
			leave()
			require.NoError(t, do(t.Context(), r))
			require.Equal(t, Calls{Succeeded: 2, Refused: 1}, r.States()[0].Calls)
		})
	})
	t.Run("waits", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, b := setup(t, AgentConfig{Bulkhead: &BulkheadConfig{Calls: 1, Wait: 2 * time.Second}})
			leave := b.occupy(t, r)
			start := time.Now()
			require.Equal(t, fault.Unavailable, fault.CodeOf(do(t.Context(), r)))
			require.Equal(t, 2*time.Second, time.Since(start))
			waiting := make(chan error)
			go func() { waiting <- do(t.Context(), r) }()
			synctest.Wait()
			leave()
			require.NoError(t, <-waiting)
		})
	})
	t.Run("canceled while it waits", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, b := setup(t, AgentConfig{Bulkhead: &BulkheadConfig{Calls: 1, Wait: time.Minute}})
			leave := b.occupy(t, r)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			require.Equal(t, fault.Canceled, fault.CodeOf(do(ctx, r)))
			b.requireMetric(t, `dawsos_agent_refusals_total{agent_name="tester",reason="bulkhead"} 0`)
			leave()
		})
	})
	t.Run("a panic leaves its place", func(t *testing.T) {
		t.Parallel()
		r, b := setup(t, AgentConfig{Bulkhead: &BulkheadConfig{Calls: 1}})
		b.script.does(func(context.Context) error { panic("x") })
		require.Error(t, do(t.Context(), r))
		b.script.returns(nil)
		require.NoError(t, do(t.Context(), r))
	})
}

// A call that a limit refuses takes no trial's place: it would decide about the breaker without
// the agent having been asked.
func TestLimitsLeaveTrialsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, b := setup(t, AgentConfig{Breaker: BreakerConfig{Failures: 1}, RateLimit: &RateLimitConfig{Calls: 1, Per: 2 * time.Minute}})
		b.script.returns(errors.New("broken"))
		require.Error(t, do(t.Context(), r))
		b.script.returns(nil)
		advance(time.Minute)
		require.Equal(t, fault.Unavailable, fault.CodeOf(do(t.Context(), r)))
		require.True(t, r.directory.Load().guards["tester"].breaker.policy.IsOpen(), "the place of the trial is free")
		b.requireState(t, "HALF_OPEN", 2)
		advance(time.Minute)
		require.NoError(t, do(t.Context(), r))
		b.requireState(t, "CLOSED", 0)
	})
}

func TestTimeoutOfOneCapability(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, b := setupDeclared(t, AgentConfig{Timeout: time.Hour}, agent.Capability{Timeout: 2 * time.Second})
		b.script.does(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		start := time.Now()
		err := do(t.Context(), r)
		require.Equal(t, 2*time.Second, time.Since(start))
		require.Equal(t, fault.Timeout, fault.CodeOf(err))
		require.Equal(t, "agent tester did not finish t.do within 2s", fault.Detail(err))

		b.script.does(func(ctx context.Context) error { <-ctx.Done(); return nil })
		require.Equal(t, fault.Timeout, fault.CodeOf(do(t.Context(), r)), "an answer that comes too late is none")
	})
}

func TestDelegates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, b := setupDeclared(t, AgentConfig{Timeout: time.Second, Breaker: BreakerConfig{Failures: 1}}, agent.Capability{Delegates: true})
		for _, err := range []error{
			errors.New("x"), fault.New(fault.Unavailable, "x"), fault.New(fault.BreakerOpen, "x"), fault.New(fault.Timeout, "x"),
		} {
			b.script.returns(err)
			require.ErrorIs(t, do(t.Context(), r), err)
		}
		b.script.does(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		require.Equal(t, fault.Timeout, fault.CodeOf(do(t.Context(), r)))
		b.requireState(t, "CLOSED", 0)
		require.Nil(t, r.States()[0].LastError)
		require.EqualValues(t, 5, r.States()[0].Calls.Failed)

		b.script.does(func(context.Context) error { panic("a defect of its own") })
		require.Error(t, do(t.Context(), r))
		b.requireState(t, "OPEN", 1)
		advance(time.Minute)
		b.script.returns(nil)
		require.NoError(t, do(t.Context(), r))
		b.requireState(t, "CLOSED", 0)
	})
}

// A capability that asks others gives up on some of them by itself; that nobody waited for those
// says nothing about whether somebody waits for it.
func TestDelegatesGivingUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, b := setup(t, AgentConfig{Breaker: BreakerConfig{Failures: 1}})
		b.script.does(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		giveUp := func(ctx context.Context, _ agent.Request) (agent.Result, error) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return r.Run(ctx, agent.Request{Capability: "t.do"})
		}
		panics := func(context.Context, agent.Request) (agent.Result, error) { panic("x") }
		require.NoError(t, r.Replace(declaring{"asker", []agent.Capability{
			{Name: "a.give_up", Delegates: true, Run: giveUp}, {Name: "a.panic", Run: panics},
		}}))
		for range 5 {
			_, err := r.Run(t.Context(), agent.Request{Capability: "a.panic"})
			require.Error(t, err)
		}
		require.Equal(t, "OPEN", r.States()[0].Breaker.State)
		advance(time.Minute)
		_, err := r.Run(t.Context(), agent.Request{Capability: "a.give_up"})
		require.Equal(t, fault.Canceled, fault.CodeOf(err))
		require.Equal(t, "CLOSED", r.States()[0].Breaker.State)
		b.requireMetric(t, `dawsos_agent_refusals_total{agent_name="tester",reason="breaker"} 0`)
	})
}

func TestArguments(t *testing.T) {
	t.Parallel()
	declared := agent.Capability{Args: json.RawMessage(`{"type": "object", "additionalProperties": false, "required": ["id"], "properties": {
		"id": {"type": "string"}, "days": {"type": "integer", "minimum": 1}, "lines": {"type": "array", "items": {"type": "object"}}}}`)}
	for name, tc := range map[string]struct {
		args map[string]any
		want string // "" when they are good
	}{
		"good":              {map[string]any{"id": "x", "days": json.Number("5"), "lines": []any{map[string]any{}}}, ""},
		"null is left out":  {map[string]any{"id": "x", "days": nil, "more": nil}, ""},
		"none":              {nil, "t.do: argument /id is required"},
		"null is not there": {map[string]any{"id": nil}, "t.do: argument /id is required"},
		"several":           {map[string]any{"id": "x", "days": json.Number("0"), "dys": true}, "t.do: argument /days must be at least 1; argument /dys is not a field of this object"},
		"inside":            {map[string]any{"id": "x", "lines": []any{nil}}, "t.do: argument /lines/0 must be of type object, not null"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, b := setupDeclared(t, AgentConfig{Breaker: BreakerConfig{Failures: 1}}, declared)
			asked := b.counts()
			_, err := r.Run(t.Context(), agent.Request{Capability: "t.do", Args: tc.args})
			if tc.want == "" {
				require.NoError(t, err)
				require.Equal(t, 1, *asked)
				return
			}
			require.Equal(t, fault.Invalid, fault.CodeOf(err))
			require.Equal(t, tc.want, fault.Detail(err))
			var refused *fault.Error
			require.ErrorAs(t, err, &refused)
			require.Regexp(t, "^/args/", refused.Fields[0].Pointer)
			require.Zero(t, *asked, "the agent is not bothered")
			b.requireCalls(t, 0, 1)
			require.Zero(t, b.latencySamples(t))
			require.Equal(t, Calls{Failed: 1}, r.States()[0].Calls)
			require.Len(t, b.spans.Ended(), 1)
		})
	}
	t.Run("a list of wrong ones", func(t *testing.T) {
		t.Parallel()
		r, _ := setupDeclared(t, AgentConfig{}, declared)
		lines := make([]any, 100_000)
		_, err := r.Run(t.Context(), agent.Request{Capability: "t.do", Args: map[string]any{"id": "x", "lines": lines}})
		var refused *fault.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, 50, len(refused.Fields), "the caller gets the idea") //nolint:testifylint // Len would print them all
		require.True(t, strings.HasSuffix(refused.Detail, "; and 99950 more"), refused.Detail[len(refused.Detail)-60:])
		require.Equal(t, 50, strings.Count(refused.Detail, "must be of type object"))
	})
	t.Run("args as a whole", func(t *testing.T) {
		t.Parallel()
		r, _ := setupDeclared(t, AgentConfig{}, agent.Capability{Args: json.RawMessage(`{"type": "object", "minProperties": 1}`)})
		require.ErrorContains(t, do(t.Context(), r), "t.do: the arguments ")
	})
	t.Run("they are not changed", func(t *testing.T) {
		t.Parallel()
		r, _ := setupDeclared(t, AgentConfig{}, declared)
		args := map[string]any{"id": "x", "days": nil}
		_, err := r.Run(t.Context(), agent.Request{Capability: "t.do", Args: args})
		require.NoError(t, err)
		require.Equal(t, map[string]any{"id": "x", "days": nil}, args)
	})
}
