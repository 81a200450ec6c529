package delivery

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	u0    = 0.0
	uMid  = 0.5
	uLast = 0.9999999999999999 // the largest float64 below 1
)

func TestScheduleWait(t *testing.T) {
	t.Parallel()
	contract := []time.Duration{5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 12 * time.Hour, 24 * time.Hour}
	tests := []struct {
		name     string
		schedule Schedule
		failures int
		u        float64
		want     time.Duration
		more     bool
	}{
		{"after the first send", Schedule{Delays: contract}, 1, uMid, 5 * time.Minute, true},
		{"after the first retry", Schedule{Delays: contract}, 2, uMid, 30 * time.Minute, true},
		{"the last wait", Schedule{Delays: contract}, 5, uMid, 24 * time.Hour, true},
		{"spent", Schedule{Delays: contract}, 6, uMid, 0, false},
		{"far beyond", Schedule{Delays: contract}, 1 << 30, uMid, 0, false},
		{"nothing failed yet", Schedule{Delays: contract}, 0, uMid, 0, false},
		{"nonsense", Schedule{Delays: contract}, -1, uMid, 0, false},
		{"no retries at all", Schedule{}, 1, uMid, 0, false},
		{"shortest", Schedule{Delays: contract, Jitter: 0.1}, 1, u0, 4*time.Minute + 30*time.Second, true},
		{"in the middle jitter adds nothing", Schedule{Delays: contract, Jitter: 0.1}, 1, uMid, 5 * time.Minute, true},
		{"full jitter never goes below zero", Schedule{Delays: contract, Jitter: 1}, 1, u0, 0, true},
		{"no wait is a wait", Schedule{Delays: []time.Duration{0}, Jitter: 1}, 1, uLast, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, more := tt.schedule.Wait(tt.failures, tt.u)
			require.Equal(t, tt.more, more)
			require.Equal(t, tt.want, got)
		})
	}
}

// Whatever the schedule: as many waits as delays, each within the jitter around its own delay.
func TestScheduleWaitStaysWithinItsJitter(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		s := Schedule{Delays: make([]time.Duration, random.IntN(8)), Jitter: random.Float64()}
		for i := range s.Delays {
			s.Delays[i] = time.Duration(random.Int64N(int64(7 * 24 * time.Hour)))
		}
		waits := 0
		for failures := 1; ; failures++ {
			u := random.Float64()
			wait, more := s.Wait(failures, u)
			if !more {
				require.Zero(t, wait)
				break
			}
			waits++
			delay := s.Delays[failures-1]
			spread := s.Jitter*float64(delay) + 1 // one nanosecond for rounding
			require.GreaterOrEqual(t, wait, time.Duration(0))
			require.InDelta(t, float64(delay), float64(wait), spread, "%+v after %d failures, u = %v", s, failures, u)
		}
		require.Equal(t, len(s.Delays), waits)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	schedule := Schedule{Delays: []time.Duration{time.Second, time.Minute}, Jitter: 0.5}
	again := Outcome{Cause: HTTP5xx, Retry: true}
	tests := []struct {
		name     string
		outcome  Outcome
		failures int
		u        float64
		state    State
		next     time.Time
	}{
		{"delivered by the first send", Outcome{}, 0, uMid, Delivered, time.Time{}},
		{"delivered by the last retry", Outcome{}, 2, uMid, Delivered, time.Time{}},
		{"delivered, whatever Retry says", Outcome{Retry: true, StatusCode: 204}, 1, uMid, Delivered, time.Time{}},
		{"the first send failed", again, 0, uMid, Pending, now.Add(time.Second)},
		{"jitter shortens", again, 0, u0, Pending, now.Add(500 * time.Millisecond)},
		{"the first retry failed", again, 1, uMid, Pending, now.Add(time.Minute)},
		{"the last retry failed", again, 2, uMid, Exhausted, time.Time{}},
		{"refused for good by the first send", Outcome{Cause: HTTP4xx}, 0, uMid, Exhausted, time.Time{}},
		{"refused for good by a retry", Outcome{Cause: Rejected}, 1, uMid, Exhausted, time.Time{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := Delivery{Target: Target{Channel: "webhook"}, Attempt: tt.failures + 1}
			a := Attempt{Number: tt.failures + 1, StartedAt: now.Add(-time.Second), Duration: time.Second, Outcome: tt.outcome}
			want := Verdict{Delivery: d, Attempt: a, State: tt.state, NextRetryAt: tt.next, DecidedAt: now}
			require.Equal(t, want, schedule.judge(d, a, tt.failures, now, tt.u))
		})
	}
}
