package httpapi

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/pkg/api"
)

// What is written by hand is what the generated type is written as.
func TestAppendAnswer(t *testing.T) {
	t.Parallel()
	when := time.Date(2026, 3, 2, 9, 30, 0, 120, time.UTC)
	nested := patterns.StepTrace{Index: 1, As: "inner", Status: patterns.StatusCached, StartedAt: when, DurationSeconds: 12.5}
	answers := map[string]patterns.Answer{
		"empty": {Data: json.RawMessage(`{}`)},
		"full": {
			RunID: "id", PatternID: "p", Data: json.RawMessage(`{"b":1.50,"a":"\u003c"}`),
			Charts: []json.RawMessage{json.RawMessage(`{"mark":"bar"}`), json.RawMessage(`{}`)}, Warnings: []string{"old", `"quoted" <b> & é`},
			Trace: patterns.Trace{
				RequestID: "r", TraceID: "t", PatternID: "p", PricingPackID: "pack", LedgerVersion: "v", Asof: "2007-05-08",
				DurationSeconds: 1.25, AgentsUsed: []string{"a"}, CapabilitiesUsed: []string{"a.b", "a.c"}, Sources: []string{"prices:Ä\u2028\n"},
				Steps: []patterns.StepTrace{
					{Index: 0, Capability: "a.b", Agent: "a", As: "x", Status: patterns.StatusError, StartedAt: when, DurationSeconds: 1e-7, Error: "no\tluck"},
					{Index: 1, Status: patterns.StatusSkipped, Reason: "not wanted", StartedAt: when},
					{Index: 2, Status: patterns.StatusSuccess, Items: 7, StartedAt: when, Steps: []patterns.StepTrace{nested, nested}},
					{Index: 3, Status: patterns.StatusSuccess, StartedAt: when, Steps: []patterns.StepTrace{}},
				},
				Staleness: []patterns.Staleness{{As: "x", Capability: "a.b", Asof: "2007-05-08", OldestSource: "s", OldestAsof: "2007-05-01", AgeDays: 7}, {}},
			},
			DataHash: "h",
		},
	}
	for name, a := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := appendAnswer(nil, &a)
			want, err := json.Marshal(toAnswer(&a))
			require.NoError(t, err)
			require.JSONEq(t, string(want), string(got))
			require.Contains(t, string(got), string(a.Data), "byte for byte")
			var read api.ExecuteAnswer
			require.NoError(t, json.Unmarshal(got, &read))
			require.Equal(t, toAnswer(&a), read)
		})
	}
}

func FuzzAppend(f *testing.F) {
	for _, s := range []string{"", "plain", `"`, `\`, "<&>", "\x00\x1f\x7f", "é\u2028\U0001f600", "\xff\xc3", "{{state.x}}"} {
		f.Add(s, 0.0)
	}
	for _, n := range []float64{1e-7, 1e-6, 0.000123, 1, 12.5, 1e20, 1e21, 1e300, -3, math.Copysign(0, -1), 5e-324} {
		f.Add("", n)
	}
	f.Fuzz(func(t *testing.T, s string, n float64) {
		want, err := json.Marshal(s)
		require.NoError(t, err)
		require.Equal(t, string(want), string(appendString(nil, s)))
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return
		}
		var read float64
		require.NoError(t, json.Unmarshal(appendFloat(nil, n), &read))
		require.InDelta(t, n, read, 0)
	})
}

func TestWantsEvents(t *testing.T) {
	t.Parallel()
	tests := []struct {
		accept []string
		want   bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{"*/*"}, false},
		{[]string{"text/*"}, false},
		{[]string{"application/json"}, false},
		{[]string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, false},
		{[]string{"text/event-stream"}, true},
		{[]string{"Text/Event-Stream ; charset=utf-8"}, true},
		{[]string{"text/event-stream, */*"}, true},
		{[]string{"text/event-stream, application/*"}, true},
		{[]string{"text/event-stream, */*;q=0.1"}, true},
		{[]string{"text/event-stream;q=0.5, */*"}, false},
		{[]string{"application/json, text/event-stream"}, false},
		{[]string{"text/event-stream, application/json"}, false},
		{[]string{"text/event-stream, application/json;q=0.9"}, true},
		{[]string{"text/event-stream;q=0.9, application/json"}, false},
		{[]string{"text/event-stream;q=0.9, application/json;q=0.5, */*"}, true},
		{[]string{"text/event-stream;q=0"}, false},
		{[]string{"text/event-stream;q=0, application/json;q=0"}, false},
		{[]string{"text/event-stream;q=2"}, false},
		{[]string{"text/event-stream;q=NaN"}, false},
		{[]string{"text/event-stream;q="}, false},
		{[]string{"application/json;q=0.1", "text/event-stream"}, true},
		{[]string{"text/event-stream-of-mine"}, false},
		{[]string{",,;;,text/event-stream,"}, true},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, wantsEvents(tt.accept), "%q", tt.accept)
	}
}

func FuzzWantsEvents(f *testing.F) {
	for _, s := range []string{"", "*/*", "text/event-stream;q=0.5, */*", "application/json;q=,text/event-stream;q=1e-9", `a/b;c="text/event-stream,"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		require.Equal(t, wantsEvents([]string{accept}), wantsEvents([]string{accept, "text/html"}), "what is neither does not count")
		require.False(t, wantsEvents([]string{accept, "application/json"}), "JSON in full is as good as anything")
		if wantsEvents([]string{accept}) {
			require.True(t, wantsEvents([]string{accept, "text/event-stream"}), "who wants them still does when saying so again")
		}
	})
}
