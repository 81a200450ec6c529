package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/store/db"
	"github.com/dawsos/dawsos/pkg/agent"
)

// lookupTimeout bounds one shared lookup. It is no request's own time: whoever has less of it
// leaves, and the others get their answer.
const lookupTimeout = 5 * time.Second

// Contexts is a patterns.ContextSource that shares lookups between requests. One lookup is under
// way at a time; requests that come meanwhile wait and are all answered by the next, in one
// statement whatever their portfolios and dates. So a lone request waits for nobody, n concurrent
// ones cost one statement instead of n, and nothing is ever stale: the statement that answers a
// request begins after the request has come, and sees all that was committed before.
//
// It is the arrangement of a database's group commit. Keeping answers for a while instead would be
// cheaper still, and would sometimes not show a caller the transaction that it has just booked.
//
// Pinned queries go by themselves: they are rare. Tenants have lookups of their own, one after the other.
type Contexts struct {
	store  *Store
	lookup func(context.Context, []contextKey) ([]db.CircumstancesRow, error)

	mu     sync.Mutex
	next   []*round // gather requests for the next lookups, one round for each tenant that waits
	active bool     // a goroutine makes lookups
}

// NewContexts returns a source that reads through s.
func NewContexts(s *Store) *Contexts { return &Contexts{store: s, lookup: s.circumstances} }

// round is the requests that one lookup answers. Its fields are guarded by Contexts.mu until the
// lookup begins, and don't change after done is closed.
type round struct {
	ctx   context.Context // of the request that opened the round, without its end
	of    caller
	keys  []contextKey
	index map[contextKey]int // of keys
	done  chan struct{}
	found []db.CircumstancesRow // by key
	err   error
}

// Resolve implements patterns.ContextSource.
func (c *Contexts) Resolve(ctx context.Context, q patterns.ContextQuery) (agent.Context, error) {
	if q.PackID != "" || q.LedgerVersion != "" {
		return c.store.Resolve(ctx, q)
	}
	key, err := keyOf(q)
	if err != nil {
		return agent.Context{}, err
	}
	r, i := c.join(ctx, key)
	select {
	case <-r.done:
	case <-ctx.Done():
		return agent.Context{}, ctx.Err()
	}
	if r.err != nil {
		return agent.Context{}, r.err
	}
	return c.store.contextOf(ctx, q, r.found[i])
}

// join puts a key among those of the next lookup and returns where its answer will be.
func (c *Contexts) join(ctx context.Context, key contextKey) (*round, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := callerOf(ctx)
	var r *round
	if at := slices.IndexFunc(c.next, func(r *round) bool { return r.of == of }); at >= 0 {
		r = c.next[at]
	} else {
		// The statement's span hangs below that of the request that needed it first.
		r = &round{ctx: context.WithoutCancel(ctx), of: of, index: make(map[contextKey]int, 1), done: make(chan struct{})}
		c.next = append(c.next, r)
		if !c.active {
			c.active = true
			go c.work()
		}
	}
	i, ok := r.index[key]
	if !ok {
		i = len(r.keys)
		r.index[key], r.keys = i, append(r.keys, key)
	}
	return r, i
}

// work makes lookups until nobody waits for one.
func (c *Contexts) work() {
	for {
		c.mu.Lock()
		if len(c.next) == 0 {
			c.active = false
			c.mu.Unlock()
			return
		}
		r := c.next[0]
		c.next = slices.Delete(c.next, 0, 1) // who comes from now on waits for the lookup after this one
		c.mu.Unlock()

		ctx, cancel := context.WithTimeout(r.ctx, lookupTimeout)
		r.found, r.err = c.lookup(ctx, r.keys)
		if r.err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			r.err = fault.Wrap(r.err, fault.Unavailable, "the database did not answer within %s", lookupTimeout)
		}
		cancel()
		close(r.done)
	}
}
