package gate

import (
	"fmt"
	"time"

	"github.com/dawsos/dawsos/internal/delivery"
)

// state of a breaker; its number is the metric's value.
type state int

const (
	closed   state = 0
	open     state = 1
	halfOpen state = 2
)

// states are all, with the names that metrics have for them.
var states = map[state]string{closed: "closed", open: "open", halfOpen: "half_open"}

const (
	// maxBackoff is by how much the delay may grow over its first value.
	maxBackoff = 10
	// probeWait is after what time those who find a probe under way ask again at the earliest.
	probeWait = 5 * time.Second
)

// breaker is one endpoint's. The gate's lock guards it.
type breaker struct {
	failures int           // see Options
	after    time.Duration // see Options
	delay    time.Duration // see Options

	state   state
	era     int       // counts changes of state: what began in an earlier one has no say any more
	streak  int       // failures without a success between them
	since   time.Time // the first failure of the streak
	backoff time.Duration
	until   time.Time // when an open breaker lets a probe through
	scouted bool      // somebody has been told to come at until
	probe   *pass     // under way in half-open; nil: the next attempt is the probe

	tell func(from, to state, at time.Time, reason string) // nil when nobody listens
}

// verdict is what an outcome says of an endpoint's health.
type verdict int

const (
	healthy verdict = iota
	failing
	unknown
)

func judge(o delivery.Outcome) verdict {
	switch o.Cause {
	case delivery.DNS, delivery.Connect, delivery.TLS, delivery.Timeout,
		delivery.HTTP5xx, delivery.HTTP429, delivery.SMTP4xx:
		return failing
	case delivery.None, delivery.HTTP4xx, delivery.Rejected, delivery.Payload, delivery.SMTP5xx:
		return healthy
	}
	return unknown // interrupted, internal: ours
}

// open reports whether no attempt could be let through now, and when to ask again.
func (b *breaker) open(now time.Time, random func() float64) (time.Time, bool) {
	switch {
	case b.state == open && now.Before(b.until):
		if !b.scouted {
			b.scouted = true
			return b.until, true
		}
		return b.until.Add(time.Duration(random() * float64(b.backoff))), true
	case b.state == halfOpen && b.probe != nil && now.Before(b.probe.expires):
		wait := min(probeWait, b.delay)
		return now.Add(wait + time.Duration(random()*float64(wait))), true
	}
	return time.Time{}, false
}

// admit lets p through, as the probe where that is what is wanted, or says when to ask again. A probe
// that has not come back when its lease ends is given up.
func (b *breaker) admit(p *pass, now time.Time, random func() float64) (time.Time, bool) {
	if until, ok := b.open(now, random); ok {
		return until, false
	}
	if b.state == open {
		b.change(halfOpen, now, "The delay is over: this attempt probes.")
	}
	if b.state == halfOpen {
		b.probe = p
	}
	p.era = b.era
	return time.Time{}, true
}

// record takes an outcome into account.
func (b *breaker) record(p *pass, now time.Time, o delivery.Outcome) {
	if p.era != b.era || (b.state == halfOpen && b.probe != p) {
		return
	}
	v := judge(o)
	switch {
	case b.state == halfOpen && v == unknown:
		b.probe = nil
	case v == unknown:
	case v == healthy:
		b.streak, b.backoff = 0, 0
		if b.state == halfOpen {
			b.change(closed, now, "The probe reached the endpoint.")
		}
	case b.state == halfOpen:
		b.streak++
		b.trip(now, o, min(2*b.backoff, maxBackoff*b.delay), "The probe failed")
	default:
		if b.streak == 0 {
			b.since = now
		}
		b.streak++
		if b.streak >= b.failures && now.Sub(b.since) >= b.after {
			why := "An attempt failed"
			if b.streak > 1 {
				why = fmt.Sprintf("%d attempts in a row failed, the last one", b.streak)
			}
			b.trip(now, o, b.delay, why)
		}
	}
}

// trip opens the breaker for a time, or for as long as the receiver asks for within the same bound.
func (b *breaker) trip(now time.Time, o delivery.Outcome, d time.Duration, why string) {
	b.backoff, b.scouted = d, false
	b.until = now.Add(max(d, min(o.RetryAfter, maxBackoff*b.delay)))
	b.change(open, now, fmt.Sprintf("%s with the cause %s; the next probe comes after %v.", why, o.Cause, b.until.Sub(now)))
}

// shown is the state as of now: an open breaker whose time is over only waits for somebody who probes, and
// without anything to send that may be long.
func (b *breaker) shown(now time.Time) state {
	if b.state == open && !now.Before(b.until) {
		return halfOpen
	}
	return b.state
}

func (b *breaker) change(to state, at time.Time, reason string) {
	from := b.state
	b.state, b.probe = to, nil
	b.era++
	if b.tell != nil {
		b.tell(from, to, at, reason)
	}
}
