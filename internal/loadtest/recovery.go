package loadtest

import (
	"sync"
	"time"
)

// way is one through the system: which target has taken an event on, which receiver it went to, and
// whether its caller waited for the outcome. Who does not wait leaves the first attempt to a worker.
type way struct {
	target, receiver int
	async            bool
}

// recovery watches what is acknowledged after a fault until it has arrived, on every way.
type recovery struct {
	mu    sync.Mutex
	since time.Time
	acks  map[way][]Acknowledgement // posted after since
	ways  func(Acknowledgement) way
	all   int // number of ways
}

// note is told of every acknowledgement.
func (r *recovery) note(ack Acknowledgement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since.IsZero() || ack.Posted.Before(r.since) {
		return
	}
	w := r.ways(ack)
	r.acks[w] = append(r.acks[w], ack)
}

// begin forgets what was, and watches what is posted from now on.
func (r *recovery) begin(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since, r.acks = now, make(map[way][]Acknowledgement)
}

// arrived returns when the first events posted since begin had arrived on all ways; false before. A
// receiver tells when it has accepted an event.
func (r *recovery) arrived(accepted func(w way, ack Acknowledgement) (time.Time, bool)) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var last time.Time
	found := 0
	for w, acks := range r.acks {
		var first time.Time
		for _, ack := range acks {
			if at, ok := accepted(w, ack); ok && (first.IsZero() || at.Before(first)) {
				first = at
			}
		}
		if first.IsZero() {
			continue
		}
		found++
		if first.After(last) {
			last = first
		}
	}
	return last, found == r.all
}
