package store

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/store/db"
	"github.com/dawsos/dawsos/pkg/agent"
)

// lookups stands between Contexts and the database: it tells what is looked up, and each lookup
// takes a second.
type lookups struct {
	mu   sync.Mutex
	keys [][]contextKey
	err  func(lookup int) error // nil: none fails
}

func (l *lookups) lookup(ctx context.Context, keys []contextKey) ([]db.CircumstancesRow, error) {
	l.mu.Lock()
	l.keys = append(l.keys, keys)
	n := len(l.keys)
	l.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.err != nil {
		if err := l.err(n); err != nil {
			return nil, err
		}
	}
	found := make([]db.CircumstancesRow, len(keys))
	for i, k := range keys {
		id, version, seq := uuid.New(), "version of "+k.portfolioID.String(), int64(n)
		found[i] = db.CircumstancesRow{LedgerVersion: &version, LedgerSeq: &seq, PackID: &id, PackDate: &k.asof}
	}
	return found, nil
}

// answer is what one request got.
type answer struct {
	context agent.Context
	err     error
	after   time.Duration
}

// ask begins a request; its answer is there when the bubble is idle and the lookup over.
func ask(ctx context.Context, c *Contexts, q patterns.ContextQuery) *answer {
	a := &answer{}
	go func() {
		begun := time.Now()
		a.context, a.err = c.Resolve(ctx, q)
		a.after = time.Since(begun)
	}()
	synctest.Wait()
	return a
}

// pass lets a bubble's time go on, and what is due then happen.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func about(portfolioID string) patterns.ContextQuery {
	return patterns.ContextQuery{TenantID: "default", PortfolioID: portfolioID}
}

const (
	portfolioA = "11111111-1111-1111-1111-111111111111"
	portfolioB = "22222222-2222-2222-2222-222222222222"
)

// The one that comes alone is answered by its own lookup; those that come while it is under way are
// not, for it may have read before they came, and share the next.
func TestContextsShareTheNextLookup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &lookups{}
		c := &Contexts{lookup: l.lookup}
		first := ask(t.Context(), c, about(portfolioA))
		pass(400 * time.Millisecond)
		var late []*answer
		for range 20 {
			late = append(late, ask(t.Context(), c, about(portfolioA)))
		}
		other := ask(t.Context(), c, about(portfolioB))
		pass(3 * time.Second)

		require.NoError(t, first.err)
		require.Equal(t, time.Second, first.after)
		require.Equal(t, int64(1), first.context.Portfolio.LedgerSeq)
		for _, a := range late {
			require.NoError(t, a.err)
			require.Equal(t, 1600*time.Millisecond, a.after)
			require.Equal(t, int64(2), a.context.Portfolio.LedgerSeq, "answered by a lookup that began after it came")
			require.Equal(t, portfolioA, a.context.Portfolio.ID)
		}
		require.Equal(t, "version of "+portfolioB, other.context.Portfolio.LedgerVersion)
		require.Len(t, l.keys, 2)
		require.Len(t, l.keys[1], 2, "equal questions are asked once")

		again := ask(t.Context(), c, about(portfolioA))
		pass(2 * time.Second)
		require.NoError(t, again.err)
		require.Len(t, l.keys, 3, "nothing is kept")
	})
}

func TestContextsOfOneWhoLeavesAreOfNoConcernToTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &lookups{}
		c := &Contexts{lookup: l.lookup}
		opener, leave := context.WithCancel(t.Context())
		impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		gone := ask(opener, c, about(portfolioA)) // its lookup, opened under its context, goes on
		second := ask(opener, c, about(portfolioA))
		third := ask(impatient, c, about(portfolioA))
		stays := ask(t.Context(), c, about(portfolioA))
		leave()
		pass(5 * time.Second)
		require.ErrorIs(t, gone.err, context.Canceled)
		require.ErrorIs(t, second.err, context.Canceled)
		require.ErrorIs(t, third.err, context.DeadlineExceeded)
		require.Equal(t, 100*time.Millisecond, third.after)
		require.NoError(t, stays.err)
		require.Len(t, l.keys, 2)
	})
}

func TestContextsTellEachWaiterOfAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		l := &lookups{err: func(n int) error {
			if n == 2 {
				return boom
			}
			return nil
		}}
		c := &Contexts{lookup: l.lookup}
		first := ask(t.Context(), c, about(portfolioA))
		second, third := ask(t.Context(), c, about(portfolioA)), ask(t.Context(), c, about(portfolioB))
		pass(1500 * time.Millisecond)
		next := ask(t.Context(), c, about(portfolioA))
		pass(5 * time.Second)
		require.NoError(t, first.err)
		require.ErrorIs(t, second.err, boom)
		require.ErrorIs(t, third.err, boom)
		require.NoError(t, next.err, "those of the next lookup are not concerned")
	})
}

func TestContextsEndALookupThatTakesTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &Contexts{lookup: func(ctx context.Context, _ []contextKey) ([]db.CircumstancesRow, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		a := ask(t.Context(), c, about(portfolioA))
		pass(2 * lookupTimeout)
		require.Equal(t, fault.Unavailable, fault.CodeOf(a.err))
		require.Equal(t, lookupTimeout, a.after)
	})
}

func TestContextsRefuseWithoutALookup(t *testing.T) {
	t.Parallel()
	c := &Contexts{lookup: func(context.Context, []contextKey) ([]db.CircumstancesRow, error) {
		t.Error("looked up")
		return nil, nil
	}}
	_, err := c.Resolve(t.Context(), about("mine"))
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
}
