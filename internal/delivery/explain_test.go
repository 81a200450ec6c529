package delivery_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/delivery"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	acceptedAt = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	hook       = delivery.Target{Channel: "webhook", URL: "https://example.org/hook"}
	chat       = delivery.Target{Channel: "chat", Destination: "ops-chat"}
)

func after(d time.Duration) *time.Time { return new(acceptedAt.Add(d)) }

func tried(n int, at, took time.Duration, o delivery.Outcome) delivery.Attempt {
	return delivery.Attempt{Number: n, StartedAt: acceptedAt.Add(at), Duration: took, Outcome: o}
}

var (
	taken       = delivery.Outcome{StatusCode: 204}
	unavailable = delivery.Outcome{Cause: delivery.HTTP5xx, StatusCode: 503, Retry: true, Detail: "the receiver answered 503"}
	gone        = delivery.Outcome{Cause: delivery.HTTP4xx, StatusCode: 410, Detail: "the receiver answered 410"}
)

func deadLetter(t delivery.Target, state delivery.State, change func(*delivery.DeadLetter)) *delivery.DeadLetter {
	l := &delivery.DeadLetter{
		ID: uuid.MustParse("01958a3c-7a1e-7bb0-9d3c-000000000001"), Event: delivery.Event{Targets: []delivery.Target{t}}, State: state,
		Cause: delivery.HTTP5xx, Error: "the receiver answered 503", Attempts: 1, CreatedAt: acceptedAt.Add(200 * time.Millisecond),
	}
	change(l)
	return l
}

func TestExplain(t *testing.T) {
	t.Parallel()
	first := uuid.MustParse("01958a3c-7a1e-7bb0-9d3c-00000000000f")
	for name, c := range map[string]struct {
		event   delivery.Event
		targets []delivery.TargetHistory
		now     time.Duration
	}{
		"one of two channels fails, then delivers": {now: 6 * time.Minute, targets: []delivery.TargetHistory{
			{Target: delivery.Target{Channel: "inapp"}, State: delivery.Delivered, DeliveredAt: after(4 * time.Millisecond), Attempts: []delivery.Attempt{
				tried(1, 2*time.Millisecond, 2*time.Millisecond, delivery.Outcome{}),
			}},
			{Target: hook, State: delivery.Delivered, DeliveredAt: after(5*time.Minute + 90*time.Millisecond), Attempts: []delivery.Attempt{
				tried(1, 3*time.Millisecond, 120*time.Millisecond, unavailable), tried(2, 5*time.Minute, 90*time.Millisecond, taken),
			}},
		}},
		"waits for its schedule": {now: 7 * time.Minute, targets: []delivery.TargetHistory{{
			Target: hook, State: delivery.Pending,
			Attempts: []delivery.Attempt{tried(1, 3*time.Millisecond, 10*time.Second, unavailable), tried(2, 5*time.Minute, 120*time.Millisecond, unavailable)},
			Letter: deadLetter(hook, delivery.Pending, func(l *delivery.DeadLetter) {
				l.Attempts, l.NextRetryAt = 2, after(35*time.Minute)
			}),
		}}},
		"is due and expires": {now: 36 * time.Minute, event: delivery.Event{Source: delivery.Rule, ExpiresAt: acceptedAt.Add(time.Hour)}, targets: []delivery.TargetHistory{{
			Target: hook, State: delivery.Pending, Attempts: []delivery.Attempt{tried(1, 0, time.Second, unavailable)},
			Letter: deadLetter(hook, delivery.Pending, func(l *delivery.DeadLetter) {
				l.NextRetryAt, l.Event.ExpiresAt = after(35*time.Minute), acceptedAt.Add(time.Hour)
			}),
		}}},
		"behind a breaker from the start": {now: time.Second, targets: []delivery.TargetHistory{{
			Target: chat, State: delivery.Pending,
			Letter: deadLetter(chat, delivery.Pending, func(l *delivery.DeadLetter) {
				l.Attempts, l.HeldBy, l.NextRetryAt, l.Cause = 0, delivery.HeldByBreaker, after(30*time.Second), delivery.BreakerOpen
				l.Error = "the endpoint has failed without a break"
			}),
		}}},
		"waits for its turn": {now: time.Second, targets: []delivery.TargetHistory{{
			Target: chat, State: delivery.Pending, Attempts: []delivery.Attempt{tried(1, 0, time.Millisecond, unavailable)},
			Letter: deadLetter(chat, delivery.Pending, func(l *delivery.DeadLetter) { l.HeldBy, l.NextRetryAt = delivery.HeldByRate, after(3*time.Second) }),
		}}},
		"refused for good": {now: time.Hour, targets: []delivery.TargetHistory{{
			Target: hook, State: delivery.Exhausted, Attempts: []delivery.Attempt{tried(1, time.Millisecond, 40*time.Millisecond, gone)},
			Letter: deadLetter(hook, delivery.Exhausted, func(l *delivery.DeadLetter) { l.Cause, l.Error = delivery.HTTP4xx, gone.Detail }),
		}}},
		"schedule spent": {now: 50 * time.Hour, targets: []delivery.TargetHistory{{
			Target: hook, State: delivery.Exhausted,
			Attempts: []delivery.Attempt{tried(1, 0, time.Second, unavailable), tried(2, 27*time.Hour, time.Second, unavailable)},
			Letter:   deadLetter(hook, delivery.Exhausted, func(l *delivery.DeadLetter) { l.Attempts = 2 }),
		}}},
		"interrupted too often": {now: time.Hour, targets: []delivery.TargetHistory{{
			Target: hook, State: delivery.Exhausted,
			Attempts: []delivery.Attempt{tried(1, 0, 0, delivery.Outcome{Cause: delivery.Interrupted, Detail: "the worker stopped"})},
			Letter: deadLetter(hook, delivery.Exhausted, func(l *delivery.DeadLetter) {
				l.Cause, l.Error, l.Interruptions = delivery.Interrupted, "the worker stopped", 5
			}),
		}}},
		"a duplicate, and one whose first attempt is under way": {now: time.Second, targets: []delivery.TargetHistory{
			{Target: hook, State: delivery.Duplicate, DuplicateOf: first}, {Target: chat, State: delivery.InFlight},
		}},
		"expired and delivered by its fallback": {now: time.Hour, event: delivery.Event{ExpiresAt: acceptedAt.Add(time.Minute)}, targets: []delivery.TargetHistory{
			{
				Target: delivery.Target{Channel: "inapp", Fallback: true}, State: delivery.Delivered, DeliveredAt: after(61 * time.Second),
				Attempts: []delivery.Attempt{tried(1, 61*time.Second, 2*time.Millisecond, delivery.Outcome{})},
			},
			{
				Target: hook, State: delivery.Expired, Attempts: []delivery.Attempt{tried(1, 0, time.Second, unavailable)},
				Letter: deadLetter(hook, delivery.Expired, func(l *delivery.DeadLetter) { l.ClosedAt = after(time.Minute) }),
			},
		}},
		"delivered without its fallback": {now: time.Hour, event: delivery.Event{Fallback: []delivery.Target{{Channel: "inapp"}}}, targets: []delivery.TargetHistory{{
			Target: hook, State: delivery.Delivered, DeliveredAt: after(90 * time.Millisecond), Attempts: []delivery.Attempt{tried(1, 0, 90*time.Millisecond, taken)},
		}}},
		"closed": {now: time.Hour, event: delivery.Event{Source: delivery.Alertmanager, Subject: "disk", Resolves: true}, targets: []delivery.TargetHistory{
			{
				Target: hook, State: delivery.Discarded, Attempts: []delivery.Attempt{tried(1, 0, time.Second, gone)},
				Letter: deadLetter(hook, delivery.Discarded, func(l *delivery.DeadLetter) { l.ClosedAt = after(30 * time.Minute) }),
			},
			{
				Target: chat, State: delivery.Superseded, Attempts: []delivery.Attempt{tried(1, 0, time.Second, unavailable)},
				Letter: deadLetter(chat, delivery.Superseded, func(l *delivery.DeadLetter) { l.ClosedAt = after(20 * time.Minute) }),
			},
			{
				Target: delivery.Target{Channel: "email"}, State: delivery.Expired,
				Letter: deadLetter(delivery.Target{Channel: "email"}, delivery.Expired, func(l *delivery.DeadLetter) {
					l.Attempts, l.ClosedAt, l.Cause, l.Error = 0, after(10*time.Minute), delivery.Timeout, "its time to live was over"
				}),
			},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.event.AcceptedAt = acceptedAt
			x := delivery.Explain(c.event, c.targets, acceptedAt.Add(c.now))
			var b strings.Builder
			for _, l := range x.Timeline {
				fmt.Fprintf(&b, "%s %-20s %s\n", l.At.Format("15:04:05.000"), l.Target, l.Text)
			}
			for _, s := range x.Targets {
				fmt.Fprintf(&b, "\n%s is %s\n  why:  %s\n  next: %s\n", s.Target, s.State, s.Why, s.Next)
				if s.NextAt != nil {
					fmt.Fprintf(&b, "  at:   %s\n", s.NextAt.Format(time.RFC3339))
				}
			}
			path := filepath.Join("testdata", "explain", strings.ReplaceAll(strings.ReplaceAll(name, ",", ""), " ", "_")+".txt")
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
				require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o600))
			}
			golden, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(golden), b.String())
		})
	}
}

// A page that is shown for long must not say how long it is from now until something.
func TestExplainWithoutANow(t *testing.T) {
	t.Parallel()
	l := deadLetter(hook, delivery.Pending, func(l *delivery.DeadLetter) { l.NextRetryAt = after(5 * time.Minute) })
	s := delivery.ExplainLetter(*l, time.Time{})
	require.Equal(t, "attempt 2 at 2026-05-01T12:05:00Z", s.Next)
	require.Equal(t, "attempt 2 at 2026-05-01T12:05:00Z, in 1 min", delivery.ExplainLetter(*l, acceptedAt.Add(4*time.Minute)).Next)
	x := delivery.Explain(delivery.Event{AcceptedAt: acceptedAt}, []delivery.TargetHistory{{Target: hook, State: delivery.Pending, Letter: l}}, time.Time{})
	require.Equal(t, s.Next, x.Targets[0].Next)
}
