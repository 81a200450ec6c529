package store_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/store"
)

// listing notes the last statement of a name.
type listing struct {
	name string // how it begins
	last atomic.Pointer[statements]
}

func (l *listing) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if strings.HasPrefix(q.SQL, "-- name: "+l.name) {
		l.last.Store(&statements{sql: q.SQL, args: q.Args})
	}
	return ctx
}

func (*listing) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// As with runs: the plans that statements keep must find their way through an index that holds what they
// look for and no more.
func TestEventsAreFoundByIndex(t *testing.T) {
	t.Parallel()
	config := dbtest.New(t).Config()
	listed := &listing{name: "EventSummaries"}
	config.ConnConfig.Tracer = listed
	config.ConnConfig.RuntimeParams["plan_cache_mode"] = "force_generic_plan"
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	exec(t, pool, `
		INSERT INTO alert_events (id, tenant_id, alert_id, user_id, title, message, severity, data, channels, accepted_at)
		SELECT gen_random_uuid(), CASE n % 5 WHEN 0 THEN 'default' ELSE 't' || n % 5 END, 'a' || n % 1000, 'u' || n % 100, '', '', 'info', '{}',
			'{"inapp": {"channel": "inapp"}}', now()
		FROM generate_series(1, 20000) AS n`)
	exec(t, pool, `ANALYZE alert_events`)
	quiet := slog.New(slog.DiscardHandler)
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Logger: quiet})
	require.NoError(t, err)
	s := store.NewDeliveries(pool, client, quiet, time.Now)
	for _, c := range []struct {
		filter delivery.EventFilter
		found  int
		index  string
	}{
		{delivery.EventFilter{}, 50, "alert_events_list"},
		{delivery.EventFilter{Source: delivery.Direct}, 50, "alert_events_list"},
		{delivery.EventFilter{AlertID: "a15"}, 20, "alert_events_of_alert"},
		{delivery.EventFilter{AlertID: "a15", UserID: "u15", Source: delivery.Direct}, 20, "alert_events_of_alert"},
		{delivery.EventFilter{AlertID: "a15", UserID: "u20"}, 0, "alert_events_of_alert"},
		{delivery.EventFilter{UserID: "u15"}, 50, "alert_events_of_user"},
		{delivery.EventFilter{UserID: "u15", Source: delivery.Rule}, 0, "alert_events_of_user"},
		{delivery.EventFilter{Source: delivery.Rule}, 0, "alert_events_source"},
		{delivery.EventFilter{AcceptedBefore: time.Now().Add(-time.Hour)}, 0, "alert_events_list"},
		{delivery.EventFilter{AcceptedAfter: time.Now().Add(time.Hour)}, 0, "alert_events_list"},
	} {
		found, err := s.Summaries(t.Context(), "default", c.filter, uuid.Max, 50)
		require.NoError(t, err)
		require.Len(t, found, c.found, "%+v", c.filter)
		for _, f := range found {
			require.Contains(t, []string{"", f.Event.AlertID}, c.filter.AlertID)
			require.Contains(t, []string{"", f.Event.UserID}, c.filter.UserID)
		}
		require.Regexp(t, `Index Scan (using|on) `+c.index+` `, plan(t, pool, *listed.last.Load()), "%+v", c.filter)
	}
}

// The trail is listed by whatever it is filtered by, through an index.
func TestAuditEntriesAreFoundByIndex(t *testing.T) {
	t.Parallel()
	config := dbtest.New(t).Config()
	listed := &listing{name: "AuditLog"}
	config.ConnConfig.Tracer = listed
	config.ConnConfig.RuntimeParams["plan_cache_mode"] = "force_generic_plan"
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	exec(t, pool, `
		INSERT INTO audit_log (id, tenant_id, at, actor, action, subject, subject_id, detail)
		SELECT gen_random_uuid(), CASE n % 5 WHEN 0 THEN 'default' ELSE 't' || n % 5 END, now(), 'actor' || n % 200, 'action' || n % 150, 'subject' || n % 100,
			'id' || n % 1000, '{}'
		FROM generate_series(1, 20000) AS n`)
	exec(t, pool, `ANALYZE audit_log`)
	s := store.New(pool, store.Options{})
	for _, c := range []struct {
		filter audit.Filter
		found  int
		index  string
	}{
		{audit.Filter{}, 50, "audit_log_list"},
		{audit.Filter{Actor: "actor15"}, 50, "audit_log_actor"},
		{audit.Filter{Actor: "actor15", Action: "action15"}, 34, "audit_log_actor"},
		{audit.Filter{Action: "action15"}, 50, "audit_log_action"},
		{audit.Filter{Action: "action15", Subject: "subject16"}, 0, "audit_log_action"},
		{audit.Filter{Subject: "subject15"}, 50, "audit_log_kind"},
		{audit.Filter{SubjectID: "id15"}, 20, "audit_log_subject_id"},
		{audit.Filter{SubjectID: "id15", Subject: "subject15", Actor: "actor15"}, 20, "audit_log_subject_id"},
	} {
		found, err := s.AuditLog(t.Context(), "default", c.filter, uuid.Max, 50)
		require.NoError(t, err)
		require.Len(t, found, c.found, "%+v", c.filter)
		require.Regexp(t, `Index Scan (using|on) `+c.index+` `, plan(t, pool, *listed.last.Load()), "%+v", c.filter)
	}
}

// plan returns how a statement is executed.
func plan(t *testing.T, pool *pgxpool.Pool, s statements) string {
	t.Helper()
	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	_, err = conn.Exec(t.Context(), "PREPARE list AS "+s.sql, pgx.QueryExecModeExec)
	require.NoError(t, err)
	rows, err := conn.Query(t.Context(), "EXPLAIN EXECUTE list ("+literals(s.args)+")", pgx.QueryExecModeExec)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "DEALLOCATE list")
	require.NoError(t, err)
	return strings.Join(lines, "\n")
}
