package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dawsos/dawsos/internal/auth"
)

// group lets callers who come at the same time share one transaction: what each of them wants
// written waits while the batch before it is being written, and then goes along with all that has
// come meanwhile. Nobody waits for company: a caller who is alone is written at once. No caller is
// told that something is written before it is durable.
//
// A batch that fails is written again item by item, so that one that can't be written fails alone; not so
// where the database is why: each would fail after a time of its own, with all others waiting. A batch whose
// connection ended under way may have been written, and is written once more: write has to bear that. Callers
// who may see other rows than each other are in different batches.
type group[T, R any] struct {
	write func(ctx context.Context, items []T) ([]R, error) // one result an item, all written or none
	// apart reports whether two items must not be in one batch; nil means that any may.
	apart func(a, b T) bool

	mu      sync.Mutex
	waiting []*waiter[T, R]
	writers int
}

type waiter[T, R any] struct {
	ctx    context.Context // of the caller: whose trace the write belongs to
	item   T
	caller caller
	taken  bool // guarded by the group's mutex: it is in a batch
	done   chan struct{}
	result R
	err    error
}

const (
	// groupMost bounds the items of one batch.
	groupMost = 256
	// groupWriters is how many batches of a kind are written at the same time. While one is under way the
	// next one gathers: with 32 callers on two cores one writer does a fifth more than two, whose batches are
	// half as large (task bench-delivery). Batches of other kinds keep the database at work meanwhile.
	groupWriters = 1
	// groupTime bounds one write. Callers have bounds of their own.
	groupTime = 10 * time.Second
)

// do returns once item is written, or was not. When ctx ends before its batch has begun, it is not.
func (g *group[T, R]) do(ctx context.Context, item T) (R, error) {
	w := &waiter[T, R]{ctx: ctx, item: item, caller: callerOf(ctx), done: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, w)
	if g.writers < groupWriters {
		g.writers++
		go g.drain()
	}
	g.mu.Unlock()
	select {
	case <-w.done:
		return w.result, w.err
	case <-ctx.Done():
	}
	if g.withdraw(w) {
		var none R
		return none, ctx.Err()
	}
	<-w.done // under way: only now it is known what came of it
	return w.result, w.err
}

// withdraw takes w back, unless it is in a batch already.
func (g *group[T, R]) withdraw(w *waiter[T, R]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.taken {
		return false
	}
	for i, other := range g.waiting {
		if other == w {
			g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
			break
		}
	}
	return true
}

// drain writes batches until nobody waits.
func (g *group[T, R]) drain() {
	for {
		batch := g.take()
		if batch == nil {
			return
		}
		if err := g.writeTwice(batch); err != nil && len(batch) > 1 && !down(err) {
			g.writeEach(batch)
		}
		for _, w := range batch {
			close(w.done)
		}
	}
}

// down reports whether err is the database's, whatever is written.
func down(err error) bool { return Unavailable(err) || isContextEnd(err) }

// writeTwice writes a batch, and once more where its connection ended under way.
func (g *group[T, R]) writeTwice(batch []*waiter[T, R]) error {
	err := g.writeAll(batch)
	if cutShort(err) {
		err = g.writeAll(batch)
	}
	return err
}

// writeEach writes a batch item by item, as long as the database is there.
func (g *group[T, R]) writeEach(batch []*waiter[T, R]) {
	for i := range batch {
		if err := g.writeTwice(batch[i : i+1]); down(err) {
			for _, w := range batch[i+1:] {
				w.err = err
			}
			return
		}
	}
}

func (g *group[T, R]) take() []*waiter[T, R] {
	g.mu.Lock()
	defer g.mu.Unlock()
	var batch, rest []*waiter[T, R]
	for _, w := range g.waiting {
		if len(batch) == groupMost || g.clashes(batch, w) {
			rest = append(rest, w)
			continue
		}
		w.taken = true
		batch = append(batch, w)
	}
	g.waiting = rest
	if batch == nil {
		g.writers--
	}
	return batch
}

func (g *group[T, R]) clashes(batch []*waiter[T, R], w *waiter[T, R]) bool {
	if len(batch) > 0 && batch[0].caller != w.caller {
		return true
	}
	if g.apart == nil {
		return false
	}
	for _, other := range batch {
		if g.apart(other.item, w.item) {
			return true
		}
	}
	return false
}

// caller is whose rows are seen.
type caller struct{ tenant, user string }

func callerOf(ctx context.Context) caller {
	p, _ := auth.From(ctx)
	return caller{p.TenantID, p.Personal()}
}

// writeAll writes a batch. Its statements are in the trace of the first who waited for it, and it ends
// with nobody's context: whoever leaves must not take it from the others.
func (g *group[T, R]) writeAll(batch []*waiter[T, R]) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(batch[0].ctx), groupTime)
	defer cancel()
	items := make([]T, len(batch))
	for i, w := range batch {
		items[i] = w.item
	}
	results, err := g.write(ctx, items)
	if err == nil && len(results) != len(batch) {
		err = errors.New("a group was not answered item by item")
	}
	for i, w := range batch {
		w.err = err
		if err == nil {
			w.result = results[i]
		}
	}
	return err
}
