package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/store/deliverytest"
)

// inOneBatch has items written together, as those of callers who came while another batch was being written.
func inOneBatch[T, R any](t *testing.T, g *group[T, R], items ...T) []*waiter[T, R] {
	t.Helper()
	all := make([]*waiter[T, R], len(items))
	for i, item := range items {
		all[i] = &waiter[T, R]{ctx: t.Context(), item: item, done: make(chan struct{})}
	}
	g.mu.Lock()
	g.waiting = append(g.waiting, all...)
	idle := g.writers < groupWriters // else who writes has yet to see that nobody waits, and takes them
	if idle {
		g.writers++
	}
	g.mu.Unlock()
	if idle {
		g.drain()
	}
	for _, w := range all {
		<-w.done
	}
	return all
}

func TestWhatABatchThatFailsComesTo(t *testing.T) {
	t.Parallel()
	boom, lost := errors.New("boom"), fmt.Errorf("read: %w", io.ErrUnexpectedEOF)
	_, refused := pgx.Connect(t.Context(), "postgres://nobody@127.0.0.1:1/none?sslmode=disable")
	require.Error(t, refused)
	always := func(err error) func(int, []int) error { return func(int, []int) error { return err } }
	for _, c := range []struct {
		name   string
		write  func(call int, items []int) error
		calls  []int // the sizes of what was written
		failed int
	}{
		{"one item is bad", func(_ int, items []int) error {
			if items[0] == 0 {
				return boom
			}
			return nil
		}, []int{3, 1, 1, 1}, 1},
		{"the connection ended under way", func(call int, _ []int) error {
			if call == 0 {
				return lost
			}
			return nil
		}, []int{3, 3}, 0},
		{"one item is bad, and the next one's connection ends", func(call int, items []int) error {
			switch {
			case items[0] == 0:
				return boom
			case call == 2:
				return lost
			}
			return nil
		}, []int{3, 1, 1, 1, 1}, 1},
		{"one item is bad, and then the database goes", func(_ int, items []int) error {
			if items[0] == 0 {
				return boom
			}
			return refused
		}, []int{3, 1, 1}, 3},
		{"and so did the next", always(lost), []int{3, 3}, 3},
		{"the database is away", always(refused), []int{3}, 3},
		{"it has no room", always(&pgconn.PgError{Code: "53100"}), []int{3}, 3},
		{"it was too slow", always(context.DeadlineExceeded), []int{3}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var calls []int
			g := &group[int, int]{write: func(_ context.Context, items []int) ([]int, error) {
				calls = append(calls, len(items))
				return items, c.write(len(calls)-1, items)
			}}
			failed := 0
			for i, w := range inOneBatch(t, g, 0, 1, 2) {
				if w.err != nil {
					failed++
					continue
				}
				require.Equal(t, i, w.result)
			}
			require.Equal(t, c.failed, failed)
			require.Equal(t, c.calls, calls)
		})
	}
}

// cutOff ends connections in the moment in which the database answers a statement: it was carried out, and nobody
// is told.
type cutOff struct {
	statement string
	armed     atomic.Bool
	cut       atomic.Int32
}

type cutOffConn struct {
	net.Conn
	by *cutOff
}

func (c *cutOff) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	return &cutOffConn{conn, c}, err
}

func (c *cutOff) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if strings.HasPrefix(q.SQL, c.statement) && c.cut.Load() == 0 {
		c.armed.Store(true)
	}
	return ctx
}

func (c *cutOff) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (c *cutOffConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.by.armed.CompareAndSwap(true, false) {
		c.by.cut.Add(1)
		_ = c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// A batch was committed, and its callers' connection ended before they were told: the events are accepted, and so
// they are told, once.
func TestACommitThatWasNotConfirmed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, statement string
		later           bool
		batch           int
	}{
		{"a statement", "-- name: AcceptEvents ", false, 3},
		{"a statement of one caller", "-- name: AcceptEvents ", false, 1},
		{"a transaction", "commit", true, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			config, err := pgxpool.ParseConfig(dbtest.URL(t))
			require.NoError(t, err)
			cut := &cutOff{statement: "none"}
			config.MaxConns, config.ConnConfig.DialFunc, config.ConnConfig.Tracer = 1, cut.dial, cut
			pool, err := pgxpool.NewWithConfig(t.Context(), config)
			require.NoError(t, err)
			t.Cleanup(pool.Close)
			quiet := slog.New(slog.DiscardHandler)
			client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Logger: quiet})
			require.NoError(t, err)
			s := NewDeliveries(pool, client, quiet, time.Now)
			wanted := func(key byte) delivery.Acceptance {
				now := time.Now().UTC()
				return delivery.Acceptance{
					Event: delivery.Event{
						ID: uuid.Must(uuid.NewV7()), TenantID: "default", Source: delivery.Direct, AlertID: "nav-drop", UserID: "ada", Title: "NAV fell",
						Severity: delivery.Warning, Data: []byte(`{}`), Targets: []delivery.Target{{Channel: "inapp"}}, AcceptedAt: now,
					},
					Keys: [][]byte{{key}}, KeepUntil: now.Add(time.Hour), Later: c.later,
				}
			}
			first := wanted(0) // its statements are prepared from here on
			_, _, err = s.Accept(t.Context(), []delivery.Acceptance{first}, nil)
			require.NoError(t, err)

			var as []delivery.Acceptance
			for i := range c.batch {
				as = append(as, wanted(byte(i)))
			}
			cut.statement = c.statement
			for i, w := range inOneBatch(t, s.accepting, as...) {
				require.NoError(t, w.err)
				want := uuid.Nil
				if i == 0 {
					want = first.Event.ID
				}
				require.Equal(t, []uuid.UUID{want}, w.result.Duplicates)
			}
			require.EqualValues(t, 1, cut.cut.Load())
			counts := deliverytest.Count(t, pool)
			require.Equal(t, c.batch+1, counts.Events)
			require.Equal(t, c.batch, counts.InFlight)
			deliverytest.RequireBalanced(t, pool)
		})
	}
}
