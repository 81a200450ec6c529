package gate

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/dawsos/dawsos/internal/delivery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const tenant = "default"

var (
	ops  = delivery.Endpoint{ID: "destination:ops"}
	good = delivery.Outcome{}
	bad  = delivery.Outcome{Cause: delivery.HTTP5xx, Retry: true}
)

// wait lets the bubble's time pass.
func wait(d time.Duration) { <-time.After(d) }

type bundle struct {
	*Gate
	registry *prometheus.Registry
	log      *bytes.Buffer
	told     *[]Change
}

func setup(t testing.TB) bundle {
	t.Helper()
	b := bundle{registry: prometheus.NewRegistry(), log: new(bytes.Buffer), told: new([]Change)}
	b.Gate = New(Options{
		Failures: 5, After: 10 * time.Second, Delay: 30 * time.Second, Timeout: 10 * time.Second,
		Registerer: b.registry, Log: slog.New(slog.NewTextHandler(b.log, nil)),
		OnChange: func(c Change) { *b.told = append(*b.told, c) }, // within the gate's lock
		Rand:     rand.New(rand.NewPCG(1, 2)).Float64,
	})
	return b
}

// enter wants a pass.
func (b bundle) enter(t testing.TB, e delivery.Endpoint) delivery.Pass {
	t.Helper()
	p, hold := b.Enter(t.Context(), tenant, e, 0)
	require.Nil(t, hold)
	return p
}

// held wants none.
func (b bundle) held(t testing.TB, e delivery.Endpoint, reason delivery.HoldReason) time.Time {
	t.Helper()
	p, hold := b.Enter(t.Context(), tenant, e, 0)
	require.Nil(t, p)
	require.NotNil(t, hold)
	require.Equal(t, reason, hold.Reason)
	return hold.Until
}

// attempt makes one with an outcome.
func (b bundle) attempt(t testing.TB, e delivery.Endpoint, o delivery.Outcome) (recovered bool) {
	t.Helper()
	return b.enter(t, e).Leave(o)
}

// trip has the breaker of ops open at this moment.
func (b bundle) trip(t testing.TB) {
	t.Helper()
	for range 4 {
		b.attempt(t, ops, bad)
	}
	wait(b.After)
	b.attempt(t, ops, bad)
	require.Equal(t, open, b.state(ops))
}

func (b bundle) state(e delivery.Endpoint) state {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at(key{tenant, e.ID}).breaker.state
}

func TestBurstOfFailuresDoesNotOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		for range 5000 {
			b.attempt(t, ops, bad)
			wait(2 * time.Second / 5000)
		}
		require.False(t, b.attempt(t, ops, good), "recovered, though it had not opened")
		wait(time.Minute)
		b.attempt(t, ops, bad) // the time since a failure before the success does not count
		require.Equal(t, closed, b.state(ops))
	})
}

func TestFailuresAloneOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		start := time.Now()
		for b.state(ops) == closed {
			b.attempt(t, ops, bad)
			wait(100 * time.Millisecond)
		}
		require.Equal(t, 10*time.Second+100*time.Millisecond, time.Since(start))
		require.Contains(t, b.log.String(), "circuit breaker opened")
		require.Contains(t, b.log.String(), "endpoint=destination:ops")
		require.Equal(t, closed, b.state(delivery.Endpoint{ID: "destination:other"}))
		b.attempt(t, delivery.Endpoint{ID: "destination:other"}, good)
	})
}

func TestFewFailuresDoNotOpenHoweverLongTheyLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		for range 4 {
			b.attempt(t, ops, bad)
			wait(time.Hour)
		}
		require.Equal(t, closed, b.state(ops))
		b.attempt(t, ops, bad)
		require.Equal(t, open, b.state(ops))
	})
}

func TestRecovery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.trip(t)
		end := time.Now().Add(b.Delay)

		require.Equal(t, end, b.held(t, ops, delivery.HeldByBreaker), "the first is to be the probe")
		told := map[time.Time]bool{}
		for range 100 {
			until := b.held(t, ops, delivery.HeldByBreaker)
			require.False(t, until.Before(end))
			require.True(t, until.Before(end.Add(b.Delay)))
			require.False(t, told[until], "two were told the same time")
			told[until] = true
		}

		wait(time.Until(end))
		probe := b.enter(t, ops)
		require.Equal(t, halfOpen, b.state(ops))
		until := b.held(t, ops, delivery.HeldByBreaker)
		require.True(t, until.After(time.Now()))
		require.True(t, until.Before(time.Now().Add(2*probeWait)))

		require.True(t, probe.Leave(good))
		require.False(t, probe.Leave(good), "recovered twice")
		require.Equal(t, closed, b.state(ops))
		require.False(t, b.attempt(t, ops, good), "recovered twice")
		require.Contains(t, b.log.String(), "circuit breaker closed")
	})
}

func TestChangesAreTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.trip(t)
		opened := time.Now()
		wait(b.Delay)
		b.attempt(t, ops, bad)
		wait(2 * b.Delay)
		b.attempt(t, ops, good)
		b.attempt(t, ops, good)
		probed, closed := opened.Add(b.Delay), opened.Add(3*b.Delay)
		require.Equal(t, []Change{
			{tenant, "destination:ops", "closed", "open", opened, "5 attempts in a row failed, the last one with the cause http_5xx; the next probe comes after 30s."},
			{tenant, "destination:ops", "open", "half_open", probed, "The delay is over: this attempt probes."},
			{tenant, "destination:ops", "half_open", "open", probed, "The probe failed with the cause http_5xx; the next probe comes after 1m0s."},
			{tenant, "destination:ops", "open", "half_open", closed, "The delay is over: this attempt probes."},
			{tenant, "destination:ops", "half_open", "closed", closed, "The probe reached the endpoint."},
		}, *b.told)
	})
}

func TestFailedProbesDoubleTheDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.trip(t)
		for _, seconds := range []int{30, 60, 120, 240, 300, 300} {
			end := time.Now().Add(time.Duration(seconds) * time.Second)
			require.Equal(t, end, b.held(t, ops, delivery.HeldByBreaker))
			wait(time.Until(end) - 1)
			b.held(t, ops, delivery.HeldByBreaker)
			wait(1)
			require.False(t, b.attempt(t, ops, bad))
		}
		wait(5 * time.Minute)
		require.True(t, b.attempt(t, ops, good))
		b.trip(t)
		require.Equal(t, time.Now().Add(b.Delay), b.held(t, ops, delivery.HeldByBreaker), "a recovery begins anew")
	})
}

func TestReceiverSaysWhenToProbe(t *testing.T) {
	t.Parallel()
	for asked, want := range map[time.Duration]time.Duration{
		time.Second: 30 * time.Second, time.Minute: time.Minute, 24 * time.Hour: 5 * time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			for range 4 {
				b.attempt(t, ops, bad)
			}
			wait(b.After)
			b.attempt(t, ops, delivery.Outcome{Cause: delivery.HTTP429, Retry: true, RetryAfter: asked})
			require.Equal(t, time.Now().Add(want), b.held(t, ops, delivery.HeldByBreaker))
		})
	}
}

func TestCauses(t *testing.T) {
	t.Parallel()
	for cause, want := range map[delivery.Cause]struct {
		fromClosed, fromProbe state // after five of them over ten seconds; after one on a probe
		recovered             bool
	}{
		delivery.None:        {closed, closed, true},
		delivery.DNS:         {open, open, false},
		delivery.Connect:     {open, open, false},
		delivery.TLS:         {open, open, false},
		delivery.Timeout:     {open, open, false},
		delivery.HTTP5xx:     {open, open, false},
		delivery.HTTP429:     {open, open, false},
		delivery.SMTP4xx:     {open, open, false},
		delivery.HTTP4xx:     {closed, closed, true},
		delivery.SMTP5xx:     {closed, closed, true},
		delivery.Rejected:    {closed, closed, true},
		delivery.Payload:     {closed, closed, true},
		delivery.Interrupted: {closed, halfOpen, false},
		delivery.Internal:    {closed, halfOpen, false},
	} {
		t.Run("cause "+string(cause), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				for range 4 {
					b.attempt(t, ops, delivery.Outcome{Cause: cause})
				}
				wait(b.After)
				b.attempt(t, ops, delivery.Outcome{Cause: cause})
				require.Equal(t, want.fromClosed, b.state(ops))

				b = setup(t)
				b.trip(t)
				wait(b.Delay)
				require.Equal(t, want.recovered, b.attempt(t, ops, delivery.Outcome{Cause: cause}))
				require.Equal(t, want.fromProbe, b.state(ops))
				if want.fromProbe == halfOpen { // its place is free
					require.True(t, b.attempt(t, ops, good))
				}
			})
		})
	}
}

func TestUnknownOutcomesDoNotBreakAStreak(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		for range 5 {
			b.attempt(t, ops, delivery.Outcome{Cause: delivery.Internal})
			b.attempt(t, ops, bad)
			wait(3 * time.Second)
		}
		require.Equal(t, open, b.state(ops))
	})
}

func TestForgottenProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.trip(t)
		wait(b.Delay)
		forgotten := b.enter(t, ops)
		wait(2*b.Timeout - 1)
		b.held(t, ops, delivery.HeldByBreaker)
		wait(1)
		probe := b.enter(t, ops)
		require.False(t, forgotten.Leave(good), "it was given up")
		b.held(t, ops, delivery.HeldByBreaker)
		require.True(t, probe.Leave(good))
	})
}

func TestOutcomesOfAnEarlierEraDoNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		slow, slower := b.enter(t, ops), b.enter(t, ops)
		b.trip(t)
		require.False(t, slow.Leave(good))
		require.Equal(t, open, b.state(ops))
		wait(b.Delay)
		probe := b.enter(t, ops)
		require.False(t, slower.Leave(bad))
		require.Equal(t, halfOpen, b.state(ops))
		require.True(t, probe.Leave(good))
	})
}

func TestInboxIsNeverHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		for range 100 {
			require.False(t, b.attempt(t, delivery.Endpoint{ID: "inapp", Limits: delivery.Limits{Concurrency: 1}}, bad))
			wait(time.Second)
		}
	})
}

func TestTenantsAreApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.trip(t)
		p, hold := b.Enter(t.Context(), "other", ops, 0)
		require.Nil(t, hold)
		p.Leave(good)
	})
}

func TestRate(t *testing.T) {
	t.Parallel()
	for _, perSecond := range []float64{0.5, 2, 25, 1000} {
		t.Run(fmt.Sprint(perSecond), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				e := delivery.Endpoint{ID: "destination:ops", Limits: delivery.Limits{Rate: perSecond}}
				start := time.Now()
				n := 0
				for time.Since(start) < 20*time.Second {
					p, hold := b.Enter(t.Context(), tenant, e, time.Minute)
					require.Nil(t, hold)
					p.Leave(good)
					n++
				}
				most := perSecond*20 + max(1, perSecond/10) + 1
				require.LessOrEqual(t, float64(n), most)
				require.GreaterOrEqual(t, float64(n), perSecond*20)
			})
		})
	}
}

func TestTooLongAWaitForTheRateIsAHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		e := delivery.Endpoint{ID: "destination:ops", Limits: delivery.Limits{Rate: 2}}
		start := time.Now()
		b.attempt(t, e, good)
		for i := range 6 { // turns come one after the other, at the rate
			require.Equal(t, start.Add(time.Duration(i+2)*500*time.Millisecond), b.held(t, e, delivery.HeldByRate))
		}
		require.Equal(t, start, time.Now(), "a hold was waited for")

		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		_, hold := b.Enter(ctx, tenant, e, time.Minute)
		require.Equal(t, delivery.HeldByRate, hold.Reason)
		require.Equal(t, 100*time.Millisecond, time.Since(start))
		p, hold := b.Enter(t.Context(), tenant, e, time.Second) // the moment was given back
		require.Nil(t, hold)
		p.Leave(good)
		require.Equal(t, 500*time.Millisecond, time.Since(start))
	})
}

func TestConcurrency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		e := delivery.Endpoint{ID: "destination:ops", Limits: delivery.Limits{Concurrency: 2}}
		first, second := b.enter(t, e), b.enter(t, e)
		require.True(t, b.held(t, e, delivery.HeldByConcurrency).After(time.Now()))

		order := make(chan int, 2)
		for i := range 2 { // who waits longest comes first
			go func() {
				p, hold := b.Enter(t.Context(), tenant, e, time.Second)
				if hold == nil {
					order <- i
					p.Leave(good)
				}
			}()
			synctest.Wait()
		}
		first.Leave(good)
		require.Equal(t, 0, <-order)
		require.Equal(t, 1, <-order)
		second.Leave(good)

		b.enter(t, e) // both forgotten
		b.enter(t, e)
		start := time.Now()
		_, hold := b.Enter(t.Context(), tenant, e, time.Second)
		require.Equal(t, delivery.HeldByConcurrency, hold.Reason)
		require.Equal(t, time.Second, time.Since(start))
		wait(2 * b.Timeout)
		b.attempt(t, e, good)

		third, fourth := b.enter(t, e), b.enter(t, e)
		waited := make(chan bool)
		go func() {
			p, hold := b.Enter(t.Context(), tenant, e, time.Minute)
			if hold == nil {
				p.Leave(good)
			}
			waited <- hold == nil
		}()
		synctest.Wait()
		e.Limits.Concurrency = 0 // changed by an operator: whoever waits goes on
		b.attempt(t, e, good)
		require.True(t, <-waited)
		third.Leave(good)
		fourth.Leave(good)
	})
}

func TestHeldAttemptsUseNothingUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.trip(t)
		e := ops
		e.Limits = delivery.Limits{Rate: 1, Concurrency: 1}
		for range 100 {
			b.held(t, e, delivery.HeldByBreaker)
		}
		wait(b.Delay)
		require.True(t, b.attempt(t, e, good))
		wait(time.Second)
		b.attempt(t, e, good)
		require.InDelta(t, 100, testutil.ToFloat64(b.holds.WithLabelValues("breaker")), 0)
	})
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.trip(t)
		gone := delivery.Endpoint{ID: "webhook:gone"}
		for range 5 {
			b.attempt(t, gone, bad)
			wait(b.After / 4)
		}
		require.Equal(t, open, b.state(gone))
		*b.told = nil
		busy := b.enter(t, delivery.Endpoint{ID: "webhook:busy"})
		for i := range 2 * maxEndpoints {
			b.attempt(t, delivery.Endpoint{ID: fmt.Sprintf("webhook:%d", i)}, bad)
			if i%1000 == 0 { // whoever is asked for stays
				b.held(t, ops, delivery.HeldByBreaker)
			}
		}
		require.LessOrEqual(t, len(b.endpoints), maxEndpoints)
		require.Equal(t, len(b.endpoints), b.recent.Len())
		require.Contains(t, b.endpoints, key{tenant, "webhook:busy"})
		require.NotContains(t, b.endpoints, key{tenant, "webhook:0"})
		require.Equal(t, []Change{{
			TenantID: tenant, Endpoint: "webhook:gone", From: "open", At: time.Now(),
			Reason: "Forgotten: more than 10000 endpoints were in use after it.",
		}}, *b.told, "of those that never changed nothing was told")
		busy.Leave(good)
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		require.NoError(t, testutil.GatherAndCompare(b.registry, strings.NewReader(`
# HELP dawsos_delivery_holds_total Attempts that were due and not made, by reason (breaker, rate_limit, concurrency). No attempt is used up by them.
# TYPE dawsos_delivery_holds_total counter
dawsos_delivery_holds_total{reason="breaker"} 0
dawsos_delivery_holds_total{reason="concurrency"} 0
dawsos_delivery_holds_total{reason="rate_limit"} 0
# HELP dawsos_endpoint_breakers Endpoints whose circuit breaker is in a state in this process, addresses given with events included.
# TYPE dawsos_endpoint_breakers gauge
dawsos_endpoint_breakers{state="closed"} 0
dawsos_endpoint_breakers{state="half_open"} 0
dawsos_endpoint_breakers{state="open"} 0
`)))

		b.trip(t)
		p, _ := b.Enter(t.Context(), "other", ops, 0) // of the same name, and closed
		p.Leave(good)
		b.attempt(t, delivery.Endpoint{ID: "webhook:1234"}, good)
		require.NoError(t, testutil.GatherAndCompare(b.registry, strings.NewReader(`
# HELP dawsos_destination_breaker_state State of a named destination's circuit breaker in this process: 0 closed, 1 open, 2 half-open: the next attempt probes. The first 200 by name.
# TYPE dawsos_destination_breaker_state gauge
dawsos_destination_breaker_state{destination="ops"} 1
# HELP dawsos_endpoint_breakers Endpoints whose circuit breaker is in a state in this process, addresses given with events included.
# TYPE dawsos_endpoint_breakers gauge
dawsos_endpoint_breakers{state="closed"} 2
dawsos_endpoint_breakers{state="half_open"} 0
dawsos_endpoint_breakers{state="open"} 1
`), "dawsos_destination_breaker_state", "dawsos_endpoint_breakers"))

		// Its time is over, and nobody has anything to send.
		<-time.After(maxBackoff * time.Minute)
		require.NoError(t, testutil.GatherAndCompare(b.registry, strings.NewReader(`
# HELP dawsos_destination_breaker_state State of a named destination's circuit breaker in this process: 0 closed, 1 open, 2 half-open: the next attempt probes. The first 200 by name.
# TYPE dawsos_destination_breaker_state gauge
dawsos_destination_breaker_state{destination="ops"} 2
`), "dawsos_destination_breaker_state"))

		for i := range 2 * maxNamed {
			b.attempt(t, delivery.Endpoint{ID: fmt.Sprintf("destination:n%03d", i)}, good)
		}
		n, err := testutil.GatherAndCount(b.registry, "dawsos_destination_breaker_state")
		require.NoError(t, err)
		require.Equal(t, maxNamed, n)
	})
}

// Many at once, with an endpoint that comes and goes: never more attempts than places, never a second
// probe, and as many recoveries told as there were.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.Rand = rand.Float64
		e := delivery.Endpoint{ID: "destination:ops", Limits: delivery.Limits{Rate: 200, Concurrency: 8}}
		start := time.Now()
		var under, most, recovered, passed atomic.Int64
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				for time.Since(start) < 10*time.Minute {
					p, hold := b.Enter(t.Context(), tenant, e, 100*time.Millisecond)
					if hold != nil {
						wait(time.Until(hold.Until) + time.Millisecond)
						continue
					}
					passed.Add(1)
					for now := under.Add(1); ; {
						was := most.Load()
						if now <= was || most.CompareAndSwap(was, now) {
							break
						}
					}
					o := good
					if time.Since(start)%(3*time.Minute) > 90*time.Second {
						o = bad
					}
					wait(time.Duration(rand.IntN(200)) * time.Millisecond)
					under.Add(-1)
					if p.Leave(o) {
						recovered.Add(1)
					}
				}
			})
		}
		wg.Wait()
		require.Equal(t, int64(8), most.Load())
		require.Equal(t, int64(3), recovered.Load(), "outages end after 3, 6 and 9 minutes")
		require.Greater(t, passed.Load(), int64(1000))
		require.Equal(t, 3, strings.Count(b.log.String(), "circuit breaker closed"))
	})
}

// FuzzBreaker runs a sequence of attempts, overlapping as they may, against what must hold of any.
func FuzzBreaker(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 1, 1, 1, 1, 200, 1, 0, 210, 0, 2})
	f.Add(bytes.Repeat([]byte{0, 1, 130}, 60))
	f.Fuzz(func(t *testing.T, ops []byte) {
		now := time.Unix(1000, 0)
		var log bytes.Buffer
		g := New(Options{
			Failures: 3, After: 10 * time.Second, Delay: 30 * time.Second, Timeout: 10 * time.Second,
			Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now },
			Rand: func() float64 { return 0.5 },
		})
		causes := []delivery.Cause{
			delivery.None, delivery.Connect, delivery.Timeout, delivery.HTTP5xx, delivery.HTTP4xx, delivery.Interrupted,
		}
		endpoint := delivery.Endpoint{ID: "destination:x"}
		e := func() *endpointView { return view(g, key{tenant, endpoint.ID}) }
		var under []*pass
		var recoveries, opened int
		for _, op := range ops {
			before := e()
			switch {
			case op < 64: // enter
				p, hold := g.Enter(t.Context(), tenant, endpoint, 0)
				if hold != nil {
					require.Equal(t, delivery.HeldByBreaker, hold.Reason)
					require.True(t, hold.Until.After(now), "told to come at once")
					require.Equal(t, before.counted(), e().counted(), "a hold counted")
					require.NotEqual(t, closed, before.state, "held by a closed breaker")
					continue
				}
				mine, ok := p.(*pass)
				require.True(t, ok)
				under = append(under, mine)
				if e().state == halfOpen {
					require.Same(t, mine, e().probe)
					if before.probe != nil {
						require.False(t, now.Before(before.probe.expires), "a second probe")
					}
				} else {
					require.Equal(t, closed, e().state, "let through an open breaker")
				}
			case op < 128 && len(under) > 0: // leave
				i := int(op) % len(under)
				p, cause := under[i], causes[int(op)%len(causes)]
				under = append(under[:i], under[i+1:]...)
				wasProbe := before.probe == p
				recovered := p.Leave(delivery.Outcome{Cause: cause})
				after := e()
				require.Equal(t, recovered, before.state != closed && after.state == closed)
				if recovered {
					recoveries++
					require.True(t, wasProbe, "something but the probe closed it")
					require.Equal(t, healthy, judge(delivery.Outcome{Cause: cause}))
				}
				if before.state != open && after.state == open {
					opened++
					require.Equal(t, failing, judge(delivery.Outcome{Cause: cause}))
					if before.state == closed {
						require.GreaterOrEqual(t, after.streak, 3)
						require.GreaterOrEqual(t, now.Sub(before.since), 10*time.Second)
					} else {
						require.True(t, wasProbe)
					}
					require.True(t, after.until.After(now))
					require.LessOrEqual(t, after.until.Sub(now), 10*30*time.Second)
				}
				require.False(t, p.Leave(delivery.Outcome{}), "left twice")
				require.Equal(t, after.counted(), e().counted(), "leaving twice counted")
			default:
				now = now.Add(time.Duration(op) * 50 * time.Millisecond)
			}
			require.LessOrEqual(t, recoveries, opened)
		}
		// Whatever happened, it is not wedged: after the longest delay and lease it lets a probe through.
		now = now.Add(10*30*time.Second + 20*time.Second)
		p, hold := g.Enter(t.Context(), tenant, endpoint, 0)
		require.Nil(t, hold)
		p.Leave(delivery.Outcome{})
		require.Equal(t, closed, e().state)
	})
}

// endpointView is a breaker at one moment.
type endpointView struct{ breaker }

// counted is what outcomes change, and holds must not.
func (v endpointView) counted() any {
	return [...]any{v.state, v.era, v.streak, v.since, v.backoff, v.until, v.probe}
}

func view(g *Gate, k key) *endpointView {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e, ok := g.endpoints[k]; ok {
		return &endpointView{e.breaker}
	}
	return new(endpointView)
}
