package gate

import (
	"container/list"
	"context"
	"time"
)

// maxTurn is how far ahead somebody who is held back for the rate or for a place is sent at most.
const maxTurn = time.Hour

// rate paces attempts (the generic cell rate algorithm). It saves up a tenth of a second, so that
// high rates don't depend on how exactly timers fire.
type rate struct {
	perSecond float64 // 0: no limit
	next      time.Time
	promised  time.Time // until when turns have been given to those who were held back
}

// interval is the time between two attempts.
func (r *rate) interval() time.Duration {
	return time.Duration(min(float64(time.Second)/r.perSecond, float64(maxTurn)))
}

// take reserves the next free moment up to latest and returns how long it is until then.
func (r *rate) take(now, latest time.Time) (time.Duration, bool) {
	if r.perSecond <= 0 {
		return 0, true
	}
	const saved = time.Second / 10
	if earliest := now.Add(r.interval() - max(saved, r.interval())); r.next.Before(earliest) {
		r.next = earliest
	}
	if r.next.After(latest) {
		return 0, false
	}
	wait := max(r.next.Sub(now), 0)
	r.next = r.next.Add(r.interval())
	return wait, true
}

// refund gives back a moment that was not used. Whoever has a later one keeps it, so that for once two
// attempts may come together; never more in all.
func (r *rate) refund() {
	if r.perSecond > 0 {
		r.next = r.next.Add(-r.interval())
	}
}

// turn gives out moments behind those that are reserved, one after the other.
func (r *rate) turn(now time.Time) time.Time {
	if r.perSecond <= 0 { // the limit went away meanwhile
		return now
	}
	r.promised = earliest(later(r.promised, r.next).Add(r.interval()), now.Add(maxTurn))
	return later(r.promised, now)
}

// slots are the places for attempts at the same time.
type slots struct {
	limit    int           // 0: no limit
	taken    *list.List    // of *pass, the oldest first
	waiting  *list.List    // of *waiter, the longest first
	usual    time.Duration // what an attempt takes, lately
	promised time.Time
}

// waiter waits for a place: given is closed once it has one.
type waiter struct {
	pass  *pass
	given chan struct{}
}

func (s *slots) init() { s.taken, s.waiting = list.New(), list.New() }

// sweep frees the places of attempts that can't be under way any more: somebody forgot to leave.
func (s *slots) sweep(now time.Time) {
	for at := s.taken.Front(); at != nil; at = s.taken.Front() {
		p, _ := at.Value.(*pass)
		if p.expires.IsZero() || now.Before(p.expires) {
			return
		}
		s.taken.Remove(at)
		p.slot = nil
	}
}

// fill gives free places to those who have waited longest.
func (s *slots) fill() {
	for at := s.waiting.Front(); at != nil && !s.full(); at = s.waiting.Front() {
		w, _ := at.Value.(*waiter)
		s.waiting.Remove(at)
		s.put(w.pass)
		close(w.given)
	}
}

func (s *slots) full() bool { return s.limit > 0 && s.taken.Len() >= s.limit }

func (s *slots) put(p *pass) { p.slot = s.taken.PushBack(p) }

// start puts p behind those whose attempts began before.
func (s *slots) start(p *pass) { s.taken.MoveToBack(p.slot) }

// learn keeps up with what an attempt takes: a moving average.
func (s *slots) learn(d time.Duration) { s.usual += (d - s.usual) / 8 }

// turn gives out moments one after the other, at the pace at which places become free.
func (s *slots) turn(now time.Time, random float64) time.Time {
	if s.limit <= 0 {
		return now
	}
	const least = 10 * time.Millisecond
	pace := max(s.usual, least) / time.Duration(s.limit)
	soon := now.Add(time.Second + time.Duration(random*float64(time.Second)))
	s.promised = earliest(later(s.promised, now).Add(pace), now.Add(maxTurn))
	return later(s.promised, soon)
}

// takeSlot gets p a place up to the deadline. g.mu is held, and let go while it waits.
func (g *Gate) takeSlot(ctx context.Context, p *pass, deadline time.Time) bool {
	s := &p.endpoint.slots
	if !s.full() { // then nobody waits: places that become free go to those first
		s.put(p)
		return true
	}
	patience := deadline.Sub(g.Now())
	if patience <= 0 {
		return false
	}
	w := &waiter{pass: p, given: make(chan struct{})}
	at := s.waiting.PushBack(w)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	g.mu.Unlock()
	select {
	case <-w.given:
	case <-timer.C:
	case <-ctx.Done():
	}
	g.mu.Lock()
	s.waiting.Remove(at) // nothing, once it was given its place
	return p.slot != nil
}

// giveSlot frees p's place for those who wait. g.mu is held.
func (g *Gate) giveSlot(p *pass) {
	s := &p.endpoint.slots
	if p.slot == nil {
		return
	}
	s.taken.Remove(p.slot)
	p.slot = nil
	s.fill()
}

// takeToken waits for p's moment of the rate up to the deadline. g.mu is held, and let go while it
// waits.
func (g *Gate) takeToken(ctx context.Context, p *pass, deadline time.Time) bool {
	r := &p.endpoint.rate
	now := g.Now()
	wait, ok := r.take(now, later(deadline, now))
	if !ok || wait <= 0 {
		return ok
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	g.mu.Unlock()
	select {
	case <-timer.C:
		ok = true
	case <-ctx.Done():
		ok = false
	}
	g.mu.Lock()
	if !ok {
		r.refund()
	}
	return ok
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
