package loadtest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testShape() Shape {
	return Shape{APIs: 2, Workers: 2, Receivers: 2, Shortest: time.Second, Longest: 6 * time.Second, Calm: time.Second}
}

// TestScheduleIsAFunctionOfItsSeed: the same seed is the same schedule, in every run of every machine; that it
// stays so is held by a line of one.
func TestScheduleIsAFunctionOfItsSeed(t *testing.T) {
	t.Parallel()
	shape := testShape()
	one, two := Schedule(7, shape, 500), Schedule(7, shape, 500)
	require.Equal(t, one, two)
	require.Equal(t, one[:40], Schedule(7, shape, 40), "a shorter one is its beginning")
	require.NotEqual(t, one, Schedule(8, shape, 500))
	require.Equal(t, "fault 5: disk_full, postgres, for 2.0 s (0.41)", shape.Describe(one[4]))
	require.Equal(t, "fault 18: kill_api, api-2, for 2.5 s (0.26)", shape.Describe(one[17]))
}

func TestScheduleHasEveryKindInEveryRound(t *testing.T) {
	t.Parallel()
	shape := testShape()
	faults := Schedule(1, shape, 20*len(kinds))
	names := map[string]bool{}
	for round := range 20 {
		seen := map[Kind]bool{}
		for _, f := range faults[round*len(kinds):][:len(kinds)] {
			seen[f.Kind] = true
			require.GreaterOrEqual(t, f.Lasts, shape.Shortest)
			require.LessOrEqual(t, f.Lasts, shape.Longest)
			require.LessOrEqual(t, f.Calm, shape.Calm)
			names[shape.whom(f)] = true
		}
		require.Len(t, seen, len(kinds))
	}
	require.Equal(t, map[string]bool{
		"api-1": true, "api-2": true, "worker-1": true, "worker-2": true, "receiver-1": true, "receiver-2": true, "postgres": true,
	}, names, "everybody is hit")

	shape.Only = []Kind{DiskFull, KillAPI}
	for _, f := range Schedule(1, shape, 50) {
		require.Contains(t, shape.Only, f.Kind)
		if f.Kind == KillAPI {
			require.Less(t, f.Victim, 2)
		}
	}
}

// TestEveryKindCanBeDone: no kind is only a name.
func TestEveryKindCanBeDone(t *testing.T) {
	t.Parallel()
	r, err := NewReceiver(Accepting)
	require.NoError(t, err)
	f := &field{receivers: []*Receiver{r}}
	for _, k := range kinds {
		require.NotEmpty(t, k.about)
		fault := Fault{Kind: k.kind}
		switch k.hits {
		case aReceiver:
			if _, ok := receiverToxic(fault); !ok {
				_, err := f.misbehave(fault)
				require.NoError(t, err, k.kind)
			}
		case aProcess:
			_, ok := databaseToxic(fault)
			require.True(t, ok || k.kind == ClockAhead || k.kind == ClockBehind, k.kind)
		case anAPI, aWorker, theDatabase: // TestCampaignSmall
		}
	}
	_, err = f.misbehave(Fault{Kind: "rain"})
	require.ErrorContains(t, err, "no fault is called rain")
	for _, o := range []CampaignOptions{{}, {Only: []Kind{"rain"}}} {
		require.Error(t, o.Check())
	}
}

func TestRecoveryNeedsEveryWay(t *testing.T) {
	t.Parallel()
	ended := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	after := func(ms int) time.Time { return ended.Add(time.Duration(ms) * time.Millisecond) }
	r := &recovery{all: 2, ways: func(a Acknowledgement) way { return way{target: a.Target} }}
	r.note(Acknowledgement{EventID: event(9), Posted: ended}) // before anything was to be watched
	r.begin(ended)
	arrivals := map[byte]time.Time{1: after(50), 2: after(90), 3: after(70), 4: after(400)}
	arrived := func() (time.Time, bool) {
		return r.arrived(func(_ way, a Acknowledgement) (time.Time, bool) {
			at, ok := arrivals[a.EventID[15]]
			return at, ok
		})
	}
	r.note(Acknowledgement{EventID: event(1), Posted: after(-10), Target: 1}) // posted in the fault
	r.note(Acknowledgement{EventID: event(2), Posted: after(10), Target: 0})
	r.note(Acknowledgement{EventID: event(3), Posted: after(20), Target: 0})
	_, ok := arrived()
	require.False(t, ok, "nothing new has come through the other")
	r.note(Acknowledgement{EventID: event(5), Posted: after(25), Target: 1}) // not arrived
	_, ok = arrived()
	require.False(t, ok)
	r.note(Acknowledgement{EventID: event(4), Posted: after(30), Target: 1})
	at, ok := arrived()
	require.True(t, ok)
	require.Equal(t, after(400), at, "the first of the slowest way counts")
}

func TestReportIsWrittenBetweenItsMarks(t *testing.T) {
	t.Parallel()
	r := &CampaignReport{
		Seed: 7, Command: "go run ./cmd/dev chaos --campaign", NotRun: map[Kind]string{DiskFull: "no mount"},
		Faults:  []FaultResult{{Kind: KillAPI, Recovery: 1}, {Kind: KillAPI, Recovery: 4}, {Kind: KillAPI, Recovery: 2}},
		Account: Settle(sound()),
	}
	text, err := r.WriteInto("before\n<!-- campaign -->\nold\n<!-- /campaign -->\nafter\n")
	require.NoError(t, err)
	require.NotContains(t, text, "old")
	require.Contains(t, text, "| `kill_api` | `kill -9` of an API, which is started again at the fault's end | 3 | 2.00 s | 4.00 s |")
	require.Contains(t, text, "not run: no mount")
	require.Contains(t, text, "| **lost** | **0** |")
	require.Contains(t, text, "| verdict | all is as it must be |")
	again, err := r.WriteInto(text)
	require.NoError(t, err)
	require.Equal(t, text, again)
	for _, document := range []string{"", "<!-- campaign -->", "<!-- /campaign -->"} {
		_, err := r.WriteInto(document)
		require.Error(t, err)
	}
	r.Account.lost(event(1), "gone")
	require.Contains(t, r.Markdown(), "**NOT as it must be**")
	require.Contains(t, r.Markdown(), "gone")
}
