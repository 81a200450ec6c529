package loadtest

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// event is an id to tell in a failure.
func event(n byte) uuid.UUID { return uuid.UUID{15: n} }

// sound is evidence of one event in each honest place: delivered, in flight, pending, exhausted.
func sound() Evidence {
	return Evidence{
		Sent: Sent{Acknowledged: []Acknowledgement{{EventID: event(1)}, {EventID: event(2)}, {EventID: event(3)}, {EventID: event(4)}}, Unanswered: 1},
		Received: map[uuid.UUID]Message{
			event(1): {ID: "msg_1", Attempts: 2, Accepted: 1},
			event(3): {ID: "msg_3", Attempts: 1},
			event(5): {ID: "msg_5", Attempts: 1, Accepted: 1}, // its caller got no answer
		},
		Positions: map[uuid.UUID]Position{
			event(1): {Place: "delivered"}, event(2): {Place: "in_flight"}, event(3): {Place: "pending", Reason: "timeout: no answer"},
			event(4): {Place: "exhausted", Reason: "http_4xx: the receiver answered 404"}, event(5): {Place: "delivered"},
		},
		Books: Books{"accepted": 5, "delivered": 2, "in_flight": 1, "pending": 1, "exhausted": 1},
	}
}

func TestSettleFindsNothingWhereAllIsWell(t *testing.T) {
	t.Parallel()
	a := Settle(sound())
	require.True(t, a.OK(), "%v %v", a.Lost, a.Wrong)
	require.Equal(t, Account{
		Acknowledged: 4, Unacknowledged: 1, Received: 2, ReceivedUnacknowledged: 1, Attempts: 4, DeadLetters: 1, Open: 2,
		Books: sound().Books, Lost: []string{},
	}, a)
}

// TestSettleDetects has each way to lose or to be wrong done by itself.
func TestSettleDetects(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		spoil func(*Evidence)
		lost  string
		wrong string
	}{
		{"an acknowledged event without a trace", func(e *Evidence) { delete(e.Positions, event(2)) }, "the database does not know it", ""},
		{"delivered by the database's word only", func(e *Evidence) { delete(e.Received, event(1)) }, "the receiver never accepted it", ""},
		{"delivered though every attempt failed", func(e *Evidence) {
			e.Received[event(1)] = Message{ID: "msg_1", Attempts: 2}
		}, "the receiver never accepted it", ""},
		{"taken for a duplicate", func(e *Evidence) { e.Positions[event(2)] = Position{Place: "duplicate"} }, "it was taken for a duplicate", ""},
		{"given up without a reason", func(e *Evidence) { e.Positions[event(4)] = Position{Place: "exhausted", Reason: ": "} }, "exhausted without a reason", ""},
		{"sent but unknown", func(e *Evidence) { delete(e.Positions, event(5)) }, "", "was sent, and the database does not know it"},
		{"two message ids", func(e *Evidence) {
			e.Received[event(1)] = Message{ID: "msg_1", OtherID: "msg_1b", Attempts: 2, Accepted: 2}
		}, "", "came as msg_1 and as msg_1b"},
		{"one event for two callers", func(e *Evidence) { e.Sent.Acknowledged[1].EventID = event(1) }, "", "acknowledged to two callers"},
		{"books that do not balance", func(e *Evidence) { e.Books["delivered"]-- }, "", "do not balance: accepted 5, the others 4"},
		{"an answer that none should be", func(e *Evidence) { e.Sent.Unexpected, e.Sent.Problems = 1, []string{"answered 500: oh"} }, "", "answered 500: oh"},
		{"what the audits found", func(e *Evidence) { e.Audits = []string{"in two places"} }, "", "in two places"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := sound()
			c.spoil(&e)
			a := Settle(e)
			require.False(t, a.OK())
			if c.lost != "" {
				require.Len(t, a.Lost, 1)
				require.Contains(t, a.Lost[0], c.lost)
			}
			if c.wrong != "" {
				require.Len(t, a.Wrong, 1)
				require.Contains(t, a.Wrong[0], c.wrong)
			}
			require.Equal(t, c.lost == "", len(a.Lost) == 0)
			require.Equal(t, c.wrong == "", len(a.Wrong) == 0)
			var text table
			a.write(&text)
			require.Contains(t, text.String(), c.lost+c.wrong, "the report says so")
		})
	}
}

func TestSettleCountsRepetitions(t *testing.T) {
	t.Parallel()
	e := sound()
	e.Received[event(1)] = Message{ID: "msg_1", Attempts: 4, Accepted: 3}
	a := Settle(e)
	require.True(t, a.OK(), "a repetition under the same id is to be expected after a kill")
	require.Equal(t, 1, a.Repeated)
	require.Equal(t, 2, a.Repetitions)
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	require.Zero(t, quantile[int](nil, 0.5))
	values := []int{5, 1, 4, 2, 3, 6, 7, 8, 10, 9}
	for q, want := range map[float64]int{0: 1, 0.1: 1, 0.5: 5, 0.95: 10, 0.9: 9, 1: 10} {
		require.Equal(t, want, quantile(values, q), "%v", q)
	}
	require.Equal(t, []int{5, 1, 4, 2, 3, 6, 7, 8, 10, 9}, values, "left as they were")
}

func TestOutageIsJudged(t *testing.T) {
	t.Parallel()
	flat := MemoryCurve{Process: "api-1"}
	steep := MemoryCurve{Process: "worker-1"}
	for i := range 20 {
		flat.Samples = append(flat.Samples, 40<<20+int64(i%3)<<20)
		steep.Samples = append(steep.Samples, 40<<20+int64(i)*(4<<20))
	}
	good := OutageReport{Before: Latencies{P50: 0.01}, During: Latencies{P50: 0.012}, Processes: []MemoryCurve{flat}}
	good.judge(OutageOptions{}, true)
	require.True(t, good.OK(), "%v", good.Account.Wrong)

	bad := OutageReport{Before: Latencies{P50: 0.01}, During: Latencies{P50: 0.1}, Processes: []MemoryCurve{flat, steep}}
	bad.Account.Repeated = 2
	bad.judge(OutageOptions{Drain: time.Minute}, false)
	require.Equal(t, []string{
		"not drained 1m0s after the receiver's return",
		"2 events were delivered twice without a kill",
		"worker-1 grew by 64.0 MiB during the outage",
		"the other receiver's events took 100 ms at the median during the outage, 10 ms before",
	}, bad.Account.Wrong)
	require.Contains(t, bad.String(), "grown by 64.0 MiB")
}
