package store_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/internal/store/roles"
)

// A replay can take what one discard closed, and nothing else: so it is undone.
func TestADiscardIsUndone(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fill(3)
	first := q.start(delivery.Operation{Kind: delivery.Discard, PerSecond: 10})
	for q.slice(first.ID).More {
	}
	q.fill(2)
	second := q.start(delivery.Operation{Kind: delivery.Discard, PerSecond: 10})
	for q.slice(second.ID).More {
	}
	of := delivery.LetterFilter{State: delivery.Discarded, OperationID: second.ID}
	p, err := q.PreviewOperation(t.Context(), "default", delivery.Replay, of)
	require.NoError(t, err)
	require.Equal(t, 2, p.Total)
	require.Len(t, p.Sample, 2)

	undo := q.start(delivery.Operation{Kind: delivery.Replay, Filter: of, PerSecond: 10})
	require.Equal(t, 2, undo.Total)
	q.slice(undo.ID)
	require.Equal(t, 2, q.count(`SELECT count(*) FROM alert_dlq WHERE state = 'pending' AND operation_id = $1`, undo.ID))
	require.Equal(t, 3, q.count(`SELECT count(*) FROM alert_dlq WHERE state = 'discarded' AND operation_id = $1`, first.ID))
	kept, err := q.Operation(t.Context(), "default", undo.ID)
	require.NoError(t, err)
	require.Equal(t, of, kept.Filter)
}

func TestLettersAreCountedByStateAndCause(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fill(3)
	q.receiver.answer = failsForNow
	q.fill(1)
	oldest := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	exec(t, q.pool, `UPDATE alert_dlq SET created_at = $1`, oldest)
	_, err := q.DiscardDeadLetter(t.Context(), "default", q.letterOf(`SELECT id FROM alert_dlq WHERE state = 'exhausted' LIMIT 1`), operator)
	require.NoError(t, err)
	exhausted := delivery.LetterCount{State: delivery.Exhausted, Cause: delivery.HTTP4xx, Letters: 2, Oldest: oldest}
	discarded := delivery.LetterCount{State: delivery.Discarded, Cause: delivery.HTTP4xx, Letters: 1, Oldest: oldest}
	pending := delivery.LetterCount{State: delivery.Pending, Cause: delivery.HTTP5xx, Letters: 1, Oldest: oldest}
	for _, c := range []struct {
		filter delivery.LetterFilter
		want   []delivery.LetterCount
	}{
		{delivery.LetterFilter{}, []delivery.LetterCount{exhausted, discarded, pending}},
		{delivery.LetterFilter{Open: true}, []delivery.LetterCount{exhausted, pending}},
		{delivery.LetterFilter{State: delivery.Discarded, Open: true}, []delivery.LetterCount{discarded}},
		{delivery.LetterFilter{Cause: delivery.HTTP5xx}, []delivery.LetterCount{pending}},
		{delivery.LetterFilter{Search: "answered 503", Channel: "hook", AlertID: "nav-drop", UserID: "ada"}, []delivery.LetterCount{pending}},
		{delivery.LetterFilter{Destination: "ops"}, nil},
		{delivery.LetterFilter{CreatedAfter: oldest.Add(time.Second)}, nil},
		{delivery.LetterFilter{CreatedBefore: oldest}, nil},
		{delivery.LetterFilter{OperationID: uuid.New()}, nil},
	} {
		got, complete, err := q.LetterCounts(t.Context(), "default", c.filter)
		require.NoError(t, err)
		require.True(t, complete)
		require.Equal(t, c.want, got, "%+v", c.filter)
		n := 0
		for _, g := range c.want {
			n += g.Letters
		}
		listed, err := q.DeadLetters(t.Context(), "default", c.filter, uuid.Max, 50)
		require.NoError(t, err)
		require.Len(t, listed, n, "the list shows what was counted: %+v", c.filter)
	}
	other, _, err := q.LetterCounts(t.Context(), "other", delivery.LetterFilter{})
	require.NoError(t, err)
	require.Empty(t, other)
}

// However many letters there are, those of a cause, target or state are found by index, and the open ones
// are counted from one.
func TestLettersAreFoundByIndex(t *testing.T) {
	t.Parallel()
	config := dbtest.New(t).Config()
	listed := &listing{name: "DeadLetters"}
	counted := &listing{name: "LetterCounts"}
	pool := func(l *listing) *store.Deliveries {
		c := config.Copy()
		c.ConnConfig.Tracer = l
		p, err := pgxpool.NewWithConfig(t.Context(), c)
		require.NoError(t, err)
		t.Cleanup(p.Close)
		quiet := slog.New(slog.DiscardHandler)
		client, err := river.NewClient(riverpgxv5.New(p), &river.Config{Logger: quiet})
		require.NoError(t, err)
		return store.NewDeliveries(p, client, quiet, time.Now)
	}
	lists, counts := pool(listed), pool(counted)
	api, ctx := dbtest.As(t, config.ConnString(), roles.API), auth.With(t.Context(), auth.System("default"))
	// VACUUM marks pages as visible to all only once their commits are on disk.
	config.ConnConfig.RuntimeParams["synchronous_commit"] = "on"
	base, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(base.Close)
	exec(t, base, `
		INSERT INTO alert_dlq (id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, alert_data, state, cause, error_message, attempts, accepted_at, created_at)
		SELECT gen_random_uuid(), 'default', gen_random_uuid(), 'destination:d' || n % 200, 'webhook', 'a', 'u', '', jsonb_build_object('title', repeat('x', 1000)), 'exhausted',
			CASE WHEN n % 1000 = 0 THEN 'tls' ELSE 'http_5xx' END, '', 1, now(), now()
		FROM generate_series(1, 20000) AS n`)
	exec(t, base, `VACUUM ANALYZE alert_dlq`)
	for _, c := range []struct {
		filter delivery.LetterFilter
		found  int
		index  string
	}{
		{delivery.LetterFilter{Open: true, Cause: delivery.TLS}, 20, "alert_dlq_cause"},
		{delivery.LetterFilter{Open: true, Cause: delivery.Payload}, 0, "alert_dlq_cause"},
		{delivery.LetterFilter{Open: true, Destination: "d7"}, 50, "alert_dlq_target"},
		{delivery.LetterFilter{State: delivery.Superseded}, 0, "alert_dlq_(state|cause)"},
		{delivery.LetterFilter{Open: true}, 50, "alert_dlq_(list|pkey)"},
	} {
		found, err := lists.DeadLetters(t.Context(), "default", c.filter, uuid.Max, 50)
		require.NoError(t, err)
		require.Len(t, found, c.found)
		require.Regexp(t, `Scan (Backward )?(using|on) `+c.index+` `, planOf(t.Context(), t, base, *listed.last.Load()), "%+v", c.filter)
		require.Regexp(t, `Scan (Backward )?(using|on) `+c.index+` `, planOf(ctx, t, api, *listed.last.Load()), "with row level security: %+v", c.filter)
	}
	_, _, err = counts.LetterCounts(t.Context(), "default", delivery.LetterFilter{Open: true})
	require.NoError(t, err)
	require.Regexp(t, `Index Only Scan using alert_dlq_cause `, planOf(t.Context(), t, base, *counted.last.Load()))
}

// planOf is how a statement is executed that is planned for its arguments.
func planOf(ctx context.Context, t *testing.T, pool *pgxpool.Pool, s statements) string {
	t.Helper()
	require.Equal(t, pgx.QueryExecModeCacheDescribe, s.args[0], "it would be prepared by name")
	rows, err := pool.Query(ctx, "EXPLAIN "+s.sql, s.args...)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return strings.Join(lines, "\n")
}
