package loadtest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOpenLoopCountsEveryAnswer(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch n.Add(1) % 5 {
		case 0:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable) // does not say when
		case 2:
			w.WriteHeader(http.StatusInternalServerError)
		case 3:
			panic(http.ErrAbortHandler)
		default:
			fmt.Fprint(w, `{"event_id": "01958a3c-7a1e-7bb0-9d3c-2f5a8e6b4c10"}`)
		}
	}))
	t.Cleanup(server.Close)
	loop := openLoop{targets: []string{server.URL}, body: func(int) ([]byte, error) { return []byte("{}"), nil }, events: true}
	p := loop.offer(t.Context(), "all", 200, 500*time.Millisecond)
	require.Equal(t, 100, p.Offered)
	// Connections that are cut may be tried again by the client, so the shares are not exactly fifths.
	require.NotZero(t, p.Statuses[0])
	require.NotZero(t, p.Statuses[500])
	require.Len(t, p.acknowledged, p.Statuses[200])
	require.Equal(t, p.Statuses[503], p.Unannounced)
	require.Equal(t, p.Statuses[429]+p.Statuses[503], p.Refused.Events)
	sum := 0
	for _, count := range p.Statuses {
		sum += count
	}
	require.Equal(t, 100, sum)

	r := &OverloadReport{Targets: []OverloadTarget{{Name: "t", Phases: []Phase{*p}}}}
	r.judge(OverloadOptions{Memory: 1})
	require.Len(t, r.Account.Wrong, 3, "no answer, 500, and refusals without Retry-After: %v", r.Account.Wrong)
	require.False(t, r.OK())
}

func TestRecovered(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	phase := func(seconds ...[]timed) *Phase {
		p := &Phase{started: begun}
		for i, second := range seconds {
			for _, a := range second {
				a.due = begun.Add(time.Duration(i) * time.Second)
				p.answers = append(p.answers, a)
			}
		}
		p.Accepted, p.Refused = p.quantiles(func(s int) bool { return s == 200 }), p.quantiles(shed)
		return p
	}
	all := func(n int, a timed) []timed { return slices.Repeat([]timed{a}, n) }
	took := func(ms int) timed { return timed{took: time.Duration(ms) * time.Millisecond, status: 200} }
	refused, failed := timed{took: time.Millisecond, status: 503}, timed{took: time.Millisecond, status: 504}
	usual := phase(all(100, took(100)))
	good, slow := all(20, took(150)), all(20, took(300))
	one := func(a timed) []timed { return append(all(19, took(150)), a) }
	for name, test := range map[string]struct {
		usual, phase *Phase
		want         float64
	}{
		"at once":                     {usual, phase(good, good, good), 0},
		"one is slow":                 {usual, phase(good, good, one(took(900))), 0},
		"slow for a second":           {usual, phase(slow, good, good), 1},
		"some are slow for a second":  {usual, phase(append(all(10, took(150)), all(10, took(300))...), good, good), 1},
		"refused again":               {usual, phase(good, one(refused), good), 2},
		"as much refused as before":   {phase(one(refused)), phase(one(refused), one(refused)), 0},
		"more refused than before":    {phase(one(refused)), phase(append(all(10, took(150)), all(10, refused)...), one(refused)), 1},
		"one fails":                   {usual, phase(good, one(failed), good), 2},
		"never":                       {usual, phase(good, good, slow), -1},
		"never, as all is refused":    {usual, phase(good, all(20, refused)), -1},
		"never, as nothing was there": {usual, phase(), -1},
	} {
		require.InDelta(t, test.want, test.phase.recovered(test.usual), 0, name)
	}
}

func TestSlope(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 2, slope([]float64{0, 1, 2, 3}, []float64{5, 7, 9, 11}), 1e-9)
	require.InDelta(t, 0, slope([]float64{0, 1, 2, 3}, []float64{1, -1, -1, 1}), 1e-9)
	require.Zero(t, slope([]float64{1}, []float64{1}))
	require.Zero(t, slope([]float64{1, 1}, []float64{1, 2}))
}

func TestSoakJudges(t *testing.T) {
	t.Parallel()
	series := func(name string, slope, bound float64, values ...float64) Series {
		return Series{Name: name, Slope: slope, Bound: bound, Values: values}
	}
	calm := []Series{
		series("api-1, goroutines", 10, maxGoroutineSlope, 1, 2, 3),
		series("alert_dlq, rows", 0, 0, 90_000, 90_000, 90_000), series("alert_dlq, dead rows", 0, 0, 0, 80_000, 20_000),
	}
	r := &SoakReport{Series: calm, Statuses: map[string]int{"GET /v1/dlq 200": 5, "POST /v1/jobs/prune_runs/run 409": 1}}
	r.judge()
	require.True(t, r.OK(), "%v", r.Account.Wrong)

	leaking := []Series{
		series("api-1, goroutines", 100, maxGoroutineSlope, 1, 2, 3),
		series("alert_dlq, rows", 0, 0, 1000, 1000, 1000), series("alert_dlq, dead rows", 0, 0, 9000, 9000, 90_000),
	}
	r = &SoakReport{Series: leaking, Statuses: map[string]int{"GET /v1/dlq 500": 1}}
	r.judge()
	require.Len(t, r.Account.Wrong, 3, "%v", r.Account.Wrong)

	r = &SoakReport{Series: leaking, Statuses: map[string]int{}, Short: true}
	r.judge()
	require.True(t, r.OK(), "too short to judge")
}
