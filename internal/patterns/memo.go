package patterns

import (
	"container/list"
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// flight is a call that is under way or has ended.
type flight struct {
	done   chan struct{} // closed at its end; what follows is set by then
	result *result
	err    error
	// called tells that the capability was asked, and not only a cache.
	called bool
	// abandoned tells that whoever made the call went away before it ended: the next who wants it
	// makes it again.
	abandoned bool
}

// flights makes each call once: who comes while it is under way waits for it and shares its outcome.
//
// The call runs under the context of the first who wants it. When that one leaves, one of the others
// makes the call anew, so that nobody fails because of somebody else's timeout.
type flights struct {
	mu sync.Mutex
	m  map[key]*flight
}

// peek returns the flight of a call that has ended well.
func (f *flights) peek(k key) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl := f.m[k]
	if fl == nil {
		return nil
	}
	select {
	case <-fl.done:
		if fl.err == nil {
			return fl
		}
	default:
	}
	return nil
}

// put adds a call that has ended.
func (f *flights) put(k key, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m == nil {
		f.m = make(map[key]*flight)
	}
	f.m[k] = fl
}

// do makes a call, or waits for the one that is under way. With keep the outcome stays; without, it is
// forgotten once those who wait have it. The error is the flight's, or ctx's when that ends the wait.
func (f *flights) do(ctx context.Context, k key, keep bool, call func() (r *result, called bool, err error)) (fl *flight, joined bool, err error) {
	for {
		f.mu.Lock()
		fl, joined = f.m[k]
		if !joined {
			fl = &flight{done: make(chan struct{})}
			if f.m == nil {
				f.m = make(map[key]*flight)
			}
			f.m[k] = fl
		}
		f.mu.Unlock()
		if !joined {
			f.fly(ctx, k, fl, keep, call)
			return fl, false, fl.err
		}
		select {
		case <-fl.done:
			if !fl.abandoned {
				return fl, true, fl.err
			}
		case <-ctx.Done():
			return nil, true, ctx.Err()
		}
	}
}

func (f *flights) fly(ctx context.Context, k key, fl *flight, keep bool, call func() (*result, bool, error)) {
	fl.abandoned = true // unless the call returns
	defer func() {
		if !keep || fl.abandoned {
			f.mu.Lock()
			delete(f.m, k)
			f.mu.Unlock()
		}
		close(fl.done)
	}()
	fl.result, fl.called, fl.err = call()
	fl.abandoned = fl.err != nil && ctx.Err() != nil
}

// cache keeps results of pure capabilities over runs, up to a number of bytes; what was not used for
// longest goes first. Nothing is ever wrong in it, since keys name everything that a result was
// computed from.
//
// It is a list and a map under one lock: at the rate of requests that the process can serve, the lock
// is not what they wait for.
type cache struct {
	most    int64
	flights flights

	mu      sync.Mutex
	entries map[key]*list.Element // of *entry
	order   list.List             // the most recently used first
	size    int64

	metrics cacheMetrics
}

type entry struct {
	key    key
	result *result
	size   int64
}

type cacheMetrics struct {
	hits, misses, shared, evictions prometheus.Counter
}

// newCache returns nil when most is 0.
func newCache(most int64, reg prometheus.Registerer) *cache {
	factory := promauto.With(reg)
	requests := factory.NewCounterVec(prometheus.CounterOpts{
		Name: "dawsos_pattern_cache_requests_total",
		Help: "Looks into the cache of pure capabilities' results: hit, miss, or shared with a call of another request under way.",
	}, []string{"outcome"})
	c := &cache{most: most, entries: make(map[key]*list.Element), metrics: cacheMetrics{
		hits: requests.WithLabelValues("hit"), misses: requests.WithLabelValues("miss"), shared: requests.WithLabelValues("shared"),
		evictions: factory.NewCounter(prometheus.CounterOpts{
			Name: "dawsos_pattern_cache_evictions_total",
			Help: "Results that had to make room in the cache.",
		}),
	}}
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dawsos_pattern_cache_bytes",
		Help: "Estimated bytes of the results in the cache; PATTERN_CACHE_SIZE is the most.",
	}, func() float64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return float64(c.size)
	})
	if most <= 0 {
		return nil
	}
	return c
}

// weight estimates the memory that a result holds: its JSON and, once a template and a condition have
// looked into it, the decoded value and the conditions' operands. Those weigh by what they are made of:
// an empty object of two letters is a map in each. TestResultMemory and BenchmarkResultMemory hold it
// against what is really taken.
func weight(r *result) int64 {
	const (
		fixed  = 1024
		object = 2 * 48  // an empty map, in both
		room   = 2 * 280 // for up to eight fields
		array  = 2 * 24  // its header
		value  = 72      // an element or field: its place and its box in both
		field  = 110     // each beyond an object's eighth: the map's growth, in both
	)
	if r.size > 0 {
		return r.size
	}
	size := int64(fixed + value + len(r.raw))
	var objects, fields int64
	quoted := false
	for i := 0; i < len(r.raw); i++ {
		switch c := r.raw[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
			size++ // the text, which both share
			if c == '\\' {
				i++
			}
		case c == '{':
			size += object
			if i+1 < len(r.raw) && r.raw[i+1] != '}' {
				objects++
				size += room
			}
		case c == '[':
			size += array
			if i+1 < len(r.raw) && r.raw[i+1] != ']' {
				size += value // the first element has no comma
			}
		case c == ',':
			size += value
		case c == ':':
			fields++
			size += 16 + value // its name and, what a comma adds once more, its value
		default:
			size++
		}
	}
	size += max(fields-8*objects, 0) * field
	for _, source := range r.sources {
		size += int64(64 + len(source.Name))
	}
	for _, warning := range r.warnings {
		size += int64(16 + len(warning))
	}
	return size
}

// peek returns a result, and counts when there is one.
func (c *cache) peek(k key) *result {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[k]
	if !ok {
		return nil
	}
	c.order.MoveToFront(e)
	c.metrics.hits.Inc()
	return e.Value.(*entry).result
}

// get returns the result under a key, or makes it. called tells that call was.
func (c *cache) get(ctx context.Context, k key, call func() (*result, error)) (r *result, called bool, err error) {
	if r := c.peek(k); r != nil {
		return r, false, nil
	}
	fl, joined, err := c.flights.do(ctx, k, false, func() (*result, bool, error) {
		// Another request's call may have ended since we looked.
		if r := c.peek(k); r != nil {
			return r, false, nil
		}
		c.metrics.misses.Inc()
		r, err := call()
		if err == nil {
			c.add(k, r)
		}
		return r, true, err
	})
	if joined {
		c.metrics.shared.Inc()
	}
	if err != nil {
		return nil, !joined, err
	}
	return fl.result, !joined && fl.called, nil
}

func (c *cache) add(k key, r *result) {
	size := weight(r)
	if size > c.most/4 {
		return // one result must not push out everything else
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.entries[k]; there {
		return
	}
	c.entries[k] = c.order.PushFront(&entry{key: k, result: r, size: size})
	c.size += size
	for c.size > c.most {
		last := c.order.Back()
		e := last.Value.(*entry)
		c.order.Remove(last)
		delete(c.entries, e.key)
		c.size -= e.size
		c.metrics.evictions.Inc()
	}
}
