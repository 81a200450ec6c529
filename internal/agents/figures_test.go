package agents

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

func TestFigures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		b := newBundle(&scripted{})
		var took time.Duration
		slow := func(context.Context, agent.Request) (agent.Result, error) {
			advance(took)
			return agent.Result{}, nil
		}
		broken := func(context.Context, agent.Request) (agent.Result, error) {
			return agent.Result{}, fault.New(fault.NotFound, "none")
		}
		r, err := New(Config{}, []agent.Agent{
			declaring{"tester", []agent.Capability{{Name: "t.slow", Run: slow}, {Name: "t.broken", Run: broken}, {Name: "t.idle", Run: nothing}}},
			declaring{"other", []agent.Capability{{Name: "o.slow", Run: slow}}},
		}, b.options())
		require.NoError(t, err)
		call := func(capability string, d time.Duration) error {
			took = d
			_, err := r.Run(t.Context(), agent.Request{Capability: capability})
			return err
		}

		f, err := r.Figures("tester")
		require.NoError(t, err)
		require.Equal(t, Figures{Capabilities: map[string]CallFigures{"t.slow": {}, "t.broken": {}, "t.idle": {}}}, f, "nothing was called")

		// Spread over four decades: 100 µs to 1 s.
		var all []time.Duration
		for i := range 200 {
			d := 100 * time.Microsecond * time.Duration(1+i*i*i/800)
			all = append(all, d)
			require.NoError(t, call("t.slow", d))
			require.NoError(t, call("o.slow", 5*time.Second))
		}
		for range 5 {
			require.Error(t, call("t.broken", 0))
		}
		f, err = r.Figures("tester")
		require.NoError(t, err)
		one := f.Capabilities["t.slow"]
		require.Equal(t, CallFigures{Succeeded: 200, Timed: 200, P50: one.P50, P95: one.P95, Since: one.Since}, one)
		require.InEpsilon(t, all[99], one.P50, 0.05)
		require.InEpsilon(t, all[189], one.P95, 0.05)
		require.Equal(t, begun.UTC(), one.Since)
		require.Equal(t, CallFigures{Failed: 5, Timed: 5, Since: begun.UTC()}, f.Capabilities["t.broken"], "they took no time in the bubble")
		require.Equal(t, CallFigures{}, f.Capabilities["t.idle"])

		slices.Sort(all)
		require.Equal(t, CallFigures{Succeeded: 200, Failed: 5, Timed: 205, P50: f.Agent.P50, P95: f.Agent.P95, Since: begun.UTC()}, f.Agent)
		require.InEpsilon(t, all[102-5], f.Agent.P50, 0.05, "five calls that took no time are among them")
		require.InEpsilon(t, all[194-5], f.Agent.P95, 0.05)
		require.Less(t, f.Agent.P95, 5*time.Second, "another agent's calls are not in it")
	})
}

func TestRecentErrorsAreBounded(t *testing.T) {
	t.Parallel()
	var r recentErrors
	require.Empty(t, r.newestFirst())
	for i := range 3 * keptErrors {
		r.add(LastError{At: time.Unix(int64(i), 0)})
	}
	got := r.newestFirst()
	require.Len(t, got, keptErrors)
	require.Equal(t, time.Unix(3*keptErrors-1, 0), got[0].At)
	require.Equal(t, time.Unix(2*keptErrors, 0), got[keptErrors-1].At)
}
