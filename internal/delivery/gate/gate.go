// Package gate decides whether an attempt may be made at an endpoint now. For every endpoint it keeps
// a circuit breaker, a rate and a number of attempts at the same time, in the memory of this process:
// two workers and an API each learn for themselves that a receiver is down, and each sends up to the
// limits. What must be one for all of them, the drain of a recovered endpoint's letters, is stored.
//
// The breaker:
//
//	          failures without a break: enough of them, for long enough
//	┌────────┐ ────────────────────────────────────────────────────────▶ ┌──────┐ ◀─┐
//	│ closed │                                                           │ open │   │ the probe fails:
//	└────────┘ ◀─┐                                                       └──────┘   │ open for twice
//	             │ the probe succeeds: recovered                            │       │ as long
//	             │                                         the delay ended, │       │
//	             │                                     one attempt may pass ▼       │
//	             │                                                  ┌───────────┐   │
//	             └───────────────────────────────────────────────── │ half-open │ ──┘
//	                                                                └───────────┘
//
// failsafe-go's breaker, which agents have, is not used here: it opens on a count or a rate of
// failures. Deliveries come in bursts. Five thousand failures within two seconds, which the next
// retry cures, must not put a receiver off for half a minute; ten seconds of nothing but failures
// must. So it takes a number of failures in a row and a time since the first of them.
//
// Only causes that speak of an endpoint's health are failures. A receiver that refuses a message is
// alive, and what ends for reasons of our own (interrupted, internal) says nothing: a probe that ends
// so gives its place to the next attempt.
//
// Whoever is held back learns when to ask again. Nobody is told the same time: the first to be held by
// a breaker gets the end of its delay and so will be the probe, the others are spread behind it; those
// who wait for the rate or for a free place are told when their turn would be.
package gate

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dawsos/dawsos/internal/delivery"
)

const (
	// maxEndpoints bounds the memory. Beyond it those that were asked for least recently are
	// forgotten: their breakers begin anew.
	maxEndpoints = 10_000
	// maxScan bounds the search for an endpoint that can be forgotten. Those with attempts under way
	// can't, and they are bounded by what a process does at the same time.
	maxScan = 64
	// inbox is the endpoint that is our own database. It is never held back: the letters would be held
	// in the same database.
	inbox = "inapp"
)

// Options for a Gate.
type Options struct {
	Failures   int           // in a row, for a breaker to open; at least 1
	After      time.Duration // since the first of them, for a breaker to open
	Delay      time.Duration // how long a breaker stays open the first time; positive
	Timeout    time.Duration // of an attempt at an endpoint that has none of its own; positive
	Registerer prometheus.Registerer
	Log        *slog.Logger
	// OnChange is told each change of a breaker, in their order for each breaker. It is called while
	// attempts wait for the gate, so it must return at once. Nil means that nobody is told.
	OnChange func(Change)
	Now      func() time.Time // nil: time.Now
	Rand     func() float64   // uniform in [0, 1), safe for concurrent use; nil: rand.Float64
}

// Change is a breaker that went from one state to another.
type Change struct {
	TenantID, Endpoint string // Endpoint.ID
	From, To           string // closed, open or half_open; To is "" when the breaker was forgotten
	At                 time.Time
	Reason             string // without addresses and secrets
}

// Gate implements [delivery.Gate]. It is safe for concurrent use.
type Gate struct {
	Options
	holds *prometheus.CounterVec // reason

	// mu guards everything below, endpoints' insides included. Nothing slow is done in it.
	mu        sync.Mutex
	endpoints map[key]*endpoint
	recent    *list.List // of *endpoint, the latest first
}

type key struct{ tenant, id string }

// endpoint is what is known of one.
type endpoint struct {
	key     key
	place   *list.Element // in Gate.recent
	breaker breaker
	rate    rate
	slots   slots
}

// New returns a gate that knows of no endpoint yet.
func New(o Options) *Gate {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	g := &Gate{Options: o, endpoints: make(map[key]*endpoint), recent: list.New()}
	g.register(o.Registerer)
	return g
}

var _ delivery.Gate = (*Gate)(nil)

// Enter asks to make an attempt. It waits for the endpoint's rate and for a free place, together up to
// patience and no longer than ctx; it never waits for a breaker.
func (g *Gate) Enter(ctx context.Context, tenantID string, e delivery.Endpoint, patience time.Duration) (delivery.Pass, *delivery.Hold) {
	if e.ID == inbox {
		return free{}, nil
	}
	p, hold := g.enter(ctx, key{tenantID, e.ID}, e, patience)
	if hold != nil {
		g.holds.WithLabelValues(string(hold.Reason)).Inc()
		return nil, hold
	}
	return p, nil
}

func (g *Gate) enter(ctx context.Context, k key, e delivery.Endpoint, patience time.Duration) (*pass, *delivery.Hold) {
	p := &pass{gate: g}
	deadline := g.Now().Add(patience)

	g.mu.Lock()
	defer g.mu.Unlock()
	// Before any waiting: behind an open breaker there is nothing to wait for.
	p.endpoint = g.at(k)
	p.endpoint.limit(e.Limits, g.Now())
	if until, ok := p.endpoint.breaker.open(g.Now(), g.Rand); ok {
		return nil, &delivery.Hold{Reason: delivery.HeldByBreaker, Until: until}
	}
	if !g.takeSlot(ctx, p, deadline) {
		return nil, &delivery.Hold{Reason: delivery.HeldByConcurrency, Until: p.endpoint.slots.turn(g.Now(), g.Rand())}
	}
	if !g.takeToken(ctx, p, deadline) {
		g.giveSlot(p)
		return nil, &delivery.Hold{Reason: delivery.HeldByRate, Until: p.endpoint.rate.turn(g.Now())}
	}
	// It may have opened while we waited, and a probe must be one that is really made.
	now := g.Now()
	p.started, p.expires = now, now.Add(2*cmp.Or(e.Timeout, g.Timeout))
	if until, ok := p.endpoint.breaker.admit(p, now, g.Rand); !ok {
		g.giveSlot(p)
		p.endpoint.rate.refund()
		return nil, &delivery.Hold{Reason: delivery.HeldByBreaker, Until: until}
	}
	p.endpoint.slots.start(p)
	return p, nil
}

// at returns an endpoint, forgetting another one when there are too many. g.mu is held.
func (g *Gate) at(k key) *endpoint {
	if e, ok := g.endpoints[k]; ok {
		g.recent.MoveToFront(e.place)
		return e
	}
	e := &endpoint{key: k, breaker: breaker{failures: g.Failures, after: g.After, delay: g.Delay}}
	if g.OnChange != nil {
		e.breaker.tell = func(from, to state, at time.Time, reason string) {
			g.OnChange(Change{k.tenant, k.id, states[from], states[to], at, reason})
		}
	}
	e.slots.init()
	e.place = g.recent.PushFront(e)
	g.endpoints[k] = e
	for at, n := g.recent.Back(), 0; len(g.endpoints) > maxEndpoints && at != nil && n < maxScan; n++ {
		old, _ := at.Value.(*endpoint)
		at = at.Prev()
		if old != e && old.idle(g.Now()) {
			g.recent.Remove(old.place)
			delete(g.endpoints, old.key)
			if g.OnChange != nil && old.breaker.era > 0 { // its changes were told
				g.OnChange(Change{
					TenantID: old.key.tenant, Endpoint: old.key.id, From: states[old.breaker.state], At: g.Now(),
					Reason: fmt.Sprintf("Forgotten: more than %d endpoints were in use after it.", maxEndpoints),
				})
			}
		}
	}
	return e
}

// idle reports whether no attempt is under way or waits.
func (e *endpoint) idle(now time.Time) bool {
	e.slots.sweep(now)
	return e.slots.taken.Len() == 0 && e.slots.waiting.Len() == 0
}

// limit puts the endpoint's present limits in force; a stored destination can change at any time.
func (e *endpoint) limit(l delivery.Limits, now time.Time) {
	e.rate.perSecond = l.Rate
	e.slots.limit = l.Concurrency
	e.slots.sweep(now)
	e.slots.fill()
}

// pass implements [delivery.Pass].
type pass struct {
	gate     *Gate
	endpoint *endpoint
	started  time.Time
	era      int           // of the breaker, once it let the attempt through
	slot     *list.Element // in slots.taken; nil once it was given back
	expires  time.Time     // when its place, and the probe if it is one, are given up; zero while it waits
	left     bool
}

// Leave takes the attempt's outcome into account, the first time that it is called.
func (p *pass) Leave(o delivery.Outcome) (recovered bool) {
	g, e := p.gate, p.endpoint
	g.mu.Lock()
	if p.left {
		g.mu.Unlock()
		return false
	}
	p.left = true
	now := g.Now()
	e.slots.learn(now.Sub(p.started))
	g.giveSlot(p)
	before := e.breaker.state
	e.breaker.record(p, now, o)
	after, failures, until := e.breaker.state, e.breaker.streak, e.breaker.until
	g.mu.Unlock()

	switch {
	case after == open && before != open:
		g.Log.Warn("circuit breaker opened: its endpoint has failed without a break",
			"endpoint", e.key.id, "failures", failures, "cause", o.Cause, "probe_at", until.UTC())
	case after == closed && before != closed:
		g.Log.Info("circuit breaker closed: its endpoint has recovered", "endpoint", e.key.id)
		return true
	}
	return false
}

// free is the pass of what is never held back.
type free struct{}

func (free) Leave(delivery.Outcome) bool { return false }
