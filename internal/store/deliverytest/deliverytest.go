// Package deliverytest audits the delivery tables for tests: whatever happened, an accepted event
// stands in exactly one place on each of its channels.
package deliverytest

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// Accounts counts the rows of the delivery tables.
type Accounts struct {
	Events        int
	InFlight      int
	Delivered     int
	Pending       int
	Exhausted     int
	Attempts      int
	Notifications int
	Jobs          int // retry jobs that River has not finished
}

// Count returns how many rows stand where.
func Count(t testing.TB, pool *pgxpool.Pool) Accounts {
	t.Helper()
	rows, err := pool.Query(context.Background(), `
		SELECT (SELECT count(*) FROM alert_events),
		       (SELECT count(*) FROM alert_inflight),
		       (SELECT count(*) FROM alert_deliveries),
		       (SELECT count(*) FROM alert_dlq WHERE state = 'pending'),
		       (SELECT count(*) FROM alert_dlq WHERE state = 'exhausted'),
		       (SELECT count(*) FROM alert_attempts),
		       (SELECT count(*) FROM notifications),
		       (SELECT count(*) FROM river_job WHERE kind = 'retry_delivery' AND finalized_at IS NULL)`)
	require.NoError(t, err)
	a, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Accounts])
	require.NoError(t, err)
	return a
}

// audits find rows that must not be; each yields their descriptions.
var audits = map[string]string{
	"accepted, but not in exactly one place": `
		SELECT e.id || ' on ' || c.channel || ' stands in ' || places
		FROM alert_events e
		CROSS JOIN jsonb_object_keys(e.channels) AS c (channel)
		CROSS JOIN LATERAL (
			SELECT (SELECT count(*) FROM alert_inflight i WHERE (i.event_id, i.channel) = (e.id, c.channel))
			     + (SELECT count(*) FROM alert_deliveries d WHERE (d.event_id, d.channel) = (e.id, c.channel))
			     + (SELECT count(*) FROM alert_dlq l WHERE (l.event_id, l.channel) = (e.id, c.channel)) AS places
		) p
		WHERE places <> 1`,
	"in a place without having been accepted": `
		SELECT r.event_id || ' on ' || r.channel
		FROM (SELECT event_id, channel, tenant_id FROM alert_inflight
		      UNION ALL SELECT event_id, channel, tenant_id FROM alert_deliveries
		      UNION ALL SELECT event_id, channel, tenant_id FROM alert_dlq
		      UNION ALL SELECT event_id, channel, tenant_id FROM alert_attempts) r
		LEFT JOIN alert_events e ON e.id = r.event_id AND e.tenant_id = r.tenant_id AND e.channels ? r.channel
		WHERE e.id IS NULL`,
	"pending without a next time and job, or exhausted with one": `
		SELECT id::text FROM alert_dlq
		WHERE (state = 'pending') <> (next_retry_at IS NOT NULL) OR (state = 'pending') <> (job_id IS NOT NULL)`,
	"attempts that are not numbered 1, 2, 3": `
		SELECT event_id || ' on ' || channel || ': ' || string_agg(attempt::text, ', ' ORDER BY attempt)
		FROM alert_attempts GROUP BY event_id, channel HAVING max(attempt) <> count(*)`,
	"a number of attempts that is not that of the attempts": `
		SELECT r.event_id || ' on ' || r.channel
		FROM (SELECT event_id, channel, attempts FROM alert_deliveries
		      UNION ALL SELECT event_id, channel, attempts FROM alert_dlq) r
		WHERE attempts <> (SELECT count(*) FROM alert_attempts a WHERE (a.event_id, a.channel) = (r.event_id, r.channel))`,
	"a delivered attempt of what is not delivered, or the reverse": `
		SELECT r.event_id || ' on ' || r.channel
		FROM (SELECT event_id, channel, true AS delivered FROM alert_deliveries
		      UNION ALL SELECT event_id, channel, false FROM alert_dlq) r
		WHERE delivered <> EXISTS (SELECT FROM alert_attempts a
		                           WHERE (a.event_id, a.channel, a.outcome) = (r.event_id, r.channel, 'delivered'))`,
	"more retries than attempts after the first": `
		SELECT id::text FROM alert_dlq WHERE retry_count > attempts - 1`,
}

// RequireBalanced fails the test when an event is lost, stands in two places, or has a history
// that does not fit to where it stands.
func RequireBalanced(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	for name, query := range audits {
		rows, err := pool.Query(context.Background(), query)
		require.NoError(t, err, name)
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err, name)
		require.Empty(t, found, name)
	}
}
