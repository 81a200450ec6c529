package patterns

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/agent"
)

// A run of pure steps is answered from the answer to the same question, and says so.
func TestAWholeAnswerIsKept(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	o, b := setupWith(t, &runner{
		funcs: map[string]capabilityFunc{"a.pure": func(_ context.Context, req agent.Request) (agent.Result, error) {
			return agent.Result{Value: req.Args, Warnings: []string{"w"}, Sources: []agent.Source{{Name: "s", Asof: asof}}}, nil
		}},
		declared: map[string]agent.Capability{"a.pure": {Purity: agent.Pure}},
	}, func(opts *Options) {
		opts.CacheBytes, opts.Tracer = 1<<20, nil
		opts.Now = func() time.Time { now = now.Add(time.Second); return now }
	}, `{"id": "overview", "name": "P", "inputs": {"n": {"type": "integer", "default": 1}}, "steps": [
		{"capability": "a.pure", "as": "x", "args": {"n": "{{inputs.n}}"}}, {"capability": "a.pure", "as": "y", "args": {"n": "{{x.n}}"}},
		{"capability": "a.pure", "as": "z", "condition": "x == null"}], "outputs": ["x", "y", "z"],
		"charts": [{"mark": "bar", "data": {"values": ["{{x}}"]}}]}`)
	first := execute(t, o, nil)
	require.Equal(t, []string{"x:success", "y:cached", "z:skipped"}, statuses(first.Trace.Steps))

	req := request(map[string]any{"n": json.Number("1.0")}) // the same, in other words
	req.RequestID = "req-2"
	again, err := o.Execute(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, []string{"x:cached", "y:cached", "z:skipped"}, statuses(again.Trace.Steps))
	require.Equal(t, "req-2", again.Trace.RequestID)
	require.Equal(t, "req-1", first.Trace.RequestID)
	require.True(t, again.Trace.Steps[0].StartedAt.After(first.Trace.Steps[0].StartedAt))
	require.Equal(t, 1, b.runner.count("a.pure"))
	for _, a := range []*Answer{first, again} { // all else is the same
		a.Trace.RequestID, a.Trace.DurationSeconds, a.Trace.Steps = "", 0, nil
	}
	require.Equal(t, first, again)

	// What keeps a step's result from being used keeps the answer from being used.
	execute(t, o, map[string]any{"n": json.Number("2")})
	require.Equal(t, 2, b.runner.count("a.pure"))
	req.Recompute = true
	_, err = o.Execute(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, 3, b.runner.count("a.pure"))
	events := 0
	req.Recompute, req.OnEvent = false, func(Event) { events++ }
	_, err = o.Execute(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, 6, events, "who listens sees each step")
	require.InDelta(t, 5, testutil.ToFloat64(o.serving.Load().programs["overview"].metrics.succeeded), 0)
}

func TestAnswersThatAreNotKept(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ step, more string }{
		"who asks":               {`{"capability": "a.pure", "as": "x", "args": {"id": "{{ctx.request_id}}"}}`, ``},
		"all of ctx":             {`{"capability": "a.pure", "as": "x", "args": {"id": "{{ctx}}"}}`, ``},
		"who asks, in an output": {`{"capability": "a.pure", "as": "x"}`, `"outputs": {"x": "{{ctx.user_id}}"}`},
		"a condition on ctx":     {`{"capability": "a.pure", "as": "x", "condition": "ctx.user_id == null"}`, ``},
		"not pure":               {`{"capability": "a.read", "as": "x"}`, ``},
		"cache false":            {`{"capability": "a.pure", "as": "x", "cache": false}`, ``},
		"passed over":            {`{"capability": "a.fail", "as": "x", "on_error": "continue"}`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			more := tc.more
			if more == "" {
				more = `"outputs": ["x"]`
			}
			o, _ := setupWith(t, &runner{
				funcs:    map[string]capabilityFunc{"a.pure": value(1), "a.read": value(1), "a.fail": failing(fault.New(fault.Unavailable, "away"))},
				declared: map[string]agent.Capability{"a.pure": {Purity: agent.Pure}, "a.fail": {Purity: agent.Pure}},
			}, cached(1<<20), patternOf(tc.step, more))
			execute(t, o, nil)
			for k, e := range o.cache.entries {
				require.Nil(t, e.Value.(*entry).result.answer, "%x", k)
			}
		})
	}
}

// An answer weighs about what it holds.
func TestKeptAnswersAreWeighed(t *testing.T) {
	t.Parallel()
	a := &Answer{Data: json.RawMessage(strings.Repeat("1", 10_000)), Charts: []json.RawMessage{json.RawMessage(strings.Repeat("2", 5000))}, Warnings: []string{strings.Repeat("w", 1000)}}
	require.InDelta(t, 18_048, weight(kept(a)), 0)
	c := newCache(40_000, prometheus.NewRegistry())
	c.add(key{1}, kept(&Answer{Data: json.RawMessage("1")}))
	c.add(key{2}, kept(a))
	require.Len(t, c.entries, 1, "too large for a cache of this size")
}
