package patterns

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/pkg/agent"
)

// plainRunner calls functions and does nothing else, so that what is measured is the engine.
type plainRunner map[string]capabilityFunc

func (r plainRunner) Run(ctx context.Context, req agent.Request) (agent.Result, error) {
	return r[req.Capability](ctx, req)
}

func (r plainRunner) Capabilities() []string { return slices.Sorted(maps.Keys(r)) }

func (r plainRunner) Capability(name string) (string, agent.Capability, bool) {
	_, ok := r[name]
	return "agent", agent.Capability{Name: name}, ok
}

// chain returns a pattern of n steps, each of which hands on a field of the one before.
func chain(n int) string {
	var b strings.Builder
	b.WriteString(`{"id":"overview","name":"P","inputs":{"portfolio_id":{"type":"uuid"}},"steps":[` +
		`{"capability":"a.first","as":"s0","args":{"id":"{{inputs.portfolio_id}}"}}`)
	for i := 1; i < n; i++ {
		// n keeps the calls apart: equal ones would be made once.
		fmt.Fprintf(&b, `,{"capability":"a.first","as":"s%d","args":{"id":"{{s%d.id}}","n":%d}}`, i, i-1, i)
	}
	fmt.Fprintf(&b, `],"outputs":["s%d"]}`, n-1)
	return b.String()
}

func echoID(_ context.Context, req agent.Request) (agent.Result, error) {
	return agent.Result{Value: map[string]any{"id": req.Args["id"]}}, nil
}

func benchmarkPattern(b *testing.B, definition string, echo capabilityFunc) {
	b.Helper()
	o, err := New(writeFiles(b, map[string]string{"p.json": definition}), plainRunner{"a.first": echo}, &contexts{},
		Options{Registerer: prometheus.NewRegistry()})
	require.NoError(b, err)
	require.Empty(b, o.Problems())
	req := request(map[string]any{"portfolio_id": portfolioID})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := o.Execute(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTenSteps compares a pattern of ten no-op steps with calling the ten functions.
func BenchmarkTenSteps(b *testing.B) {
	b.Run("pattern", func(b *testing.B) { benchmarkPattern(b, chain(10), echoID) })
	b.Run("direct", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			id := any(portfolioID)
			for i := range 10 {
				result, err := echoID(b.Context(), agent.Request{Args: map[string]any{"id": id, "n": i}})
				if err != nil {
					b.Fatal(err)
				}
				id = result.Value.(map[string]any)["id"]
			}
			if _, err := json.Marshal(map[string]any{"id": id}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkTenIndependentSteps is the same without anything to wait for.
func BenchmarkTenIndependentSteps(b *testing.B) {
	var steps, outputs []string
	for i := range 10 {
		steps = append(steps, fmt.Sprintf(`{"capability":"a.first","as":"s%d","args":{"id":%d}}`, i, i))
		outputs = append(outputs, fmt.Sprintf(`"s%d"`, i))
	}
	benchmarkPattern(b, `{"id":"overview","name":"P","inputs":{"portfolio_id":{"type":"uuid"}},"steps":[`+
		strings.Join(steps, ",")+`],"outputs":[`+strings.Join(outputs, ",")+`]}`, echoID)
}

// BenchmarkCachedSteps is a chain of ten pure steps whose results are all in the cache.
func BenchmarkCachedSteps(b *testing.B) {
	r := &runner{
		funcs:    map[string]capabilityFunc{"a.first": echoID},
		declared: map[string]agent.Capability{"a.first": {Purity: agent.Pure}},
	}
	o, _ := setupWith(b, r, func(opts *Options) { opts.Now, opts.Tracer, opts.CacheBytes = nil, nil, 1<<20 }, chain(10))
	req := request(map[string]any{"portfolio_id": portfolioID})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := o.Execute(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSteps shows that time grows with the number of steps and no faster.
func BenchmarkSteps(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmarkPattern(b, chain(n), echoID) })
	}
}

// BenchmarkResultSize shows the same for the size of a result into which the next step looks.
func BenchmarkResultSize(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 15, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			rows := make([]map[string]any, size/64)
			for i := range rows {
				rows[i] = map[string]any{"symbol": fmt.Sprintf("%030d", i), "weight": 0.123456789}
			}
			b.SetBytes(int64(size))
			benchmarkPattern(b, chain(2), func(_ context.Context, req agent.Request) (agent.Result, error) {
				return agent.Result{Value: map[string]any{"id": req.Args["id"], "rows": rows}}, nil
			})
		})
	}
}

func BenchmarkLoadLargestPattern(b *testing.B) {
	dir := writeFiles(b, map[string]string{"p.json": chain(1000)})
	for b.Loop() {
		if c, err := loadDir(dir, plainRunner{"a.first": nil}); err != nil || len(c.problems) > 0 {
			b.Fatal(err, c.problems)
		}
	}
}
