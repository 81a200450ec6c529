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
		       (SELECT count(*) FROM river_job WHERE kind IN ('retry_delivery', 'deliver') AND finalized_at IS NULL)`)
	require.NoError(t, err)
	a, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Accounts])
	require.NoError(t, err)
	return a
}

// audits find rows that must not be; each yields their descriptions.
var audits = map[string]string{
	"accepted, but not in exactly one place": `
		SELECT e.id || ' on ' || c.target || ' stands in ' || places
		FROM alert_events e
		CROSS JOIN jsonb_object_keys(e.channels) AS c (target)
		CROSS JOIN LATERAL (
			SELECT (SELECT count(*) FROM alert_inflight i WHERE (i.event_id, i.target) = (e.id, c.target))
			     + (SELECT count(*) FROM alert_deliveries d WHERE (d.event_id, d.target) = (e.id, c.target))
			     + (SELECT count(*) FROM alert_duplicates u WHERE (u.event_id, u.target) = (e.id, c.target))
			     + (SELECT count(*) FROM alert_dlq l WHERE (l.event_id, l.target) = (e.id, c.target)) AS places
		) p
		WHERE places <> 1`,
	"in a place without having been accepted": `
		SELECT r.event_id || ' on ' || r.target
		FROM (SELECT event_id, target, tenant_id FROM alert_inflight
		      UNION ALL SELECT event_id, target, tenant_id FROM alert_deliveries
		      UNION ALL SELECT event_id, target, tenant_id FROM alert_duplicates
		      UNION ALL SELECT event_id, target, tenant_id FROM alert_dlq
		      UNION ALL SELECT event_id, target, tenant_id FROM alert_attempts) r
		LEFT JOIN alert_events e ON e.id = r.event_id AND e.tenant_id = r.tenant_id AND e.channels ? r.target
		WHERE e.id IS NULL`,
	"pending without a next time and job, or exhausted with one": `
		SELECT id::text FROM alert_dlq
		WHERE (state = 'pending') <> (next_retry_at IS NOT NULL) OR (state = 'pending') <> (job_id IS NOT NULL)`,
	"attempts that are not numbered 1, 2, 3": `
		SELECT event_id || ' on ' || target || ': ' || string_agg(attempt::text, ', ' ORDER BY attempt)
		FROM alert_attempts GROUP BY event_id, target HAVING max(attempt) <> count(*)`,
	"a number of attempts that is not that of the attempts": `
		SELECT r.event_id || ' on ' || r.target
		FROM (SELECT event_id, target, attempts FROM alert_deliveries
		      UNION ALL SELECT event_id, target, attempts FROM alert_dlq) r
		WHERE attempts <> (SELECT count(*) FROM alert_attempts a WHERE (a.event_id, a.target) = (r.event_id, r.target))`,
	"a delivered attempt of what is not delivered, or the reverse": `
		SELECT r.event_id || ' on ' || r.target
		FROM (SELECT event_id, target, true AS delivered FROM alert_deliveries
		      UNION ALL SELECT event_id, target, false FROM alert_dlq) r
		WHERE delivered <> EXISTS (SELECT FROM alert_attempts a
		                           WHERE (a.event_id, a.target, a.outcome) = (r.event_id, r.target, 'delivered'))`,
	"more retries than attempts after the first": `
		SELECT id::text FROM alert_dlq WHERE retry_count > greatest(attempts - 1, 0)`,
	"an account that is not the number of rows": `
		SELECT channel || ' ' || account || ': ' || coalesce(balance, 0) || ', but ' || coalesce(present, 0) || ' rows'
		FROM (SELECT tenant_id, channel, account, sum(balance) AS balance
		      FROM (SELECT * FROM alert_accounts UNION ALL SELECT * FROM alert_account_changes) b
		      GROUP BY tenant_id, channel, account) a
		FULL JOIN (SELECT tenant_id, channel, account, count(*) AS present
		           FROM (SELECT tenant_id, channel, 'in_flight' AS account FROM alert_inflight
		                 UNION ALL SELECT tenant_id, channel, 'delivered' FROM alert_deliveries
		                 UNION ALL SELECT tenant_id, channel, 'duplicate' FROM alert_duplicates
		                 UNION ALL SELECT tenant_id, channel, state FROM alert_dlq) r
		           GROUP BY tenant_id, channel, account) p USING (tenant_id, channel, account)
		WHERE account <> 'accepted' AND coalesce(balance, 0) <> coalesce(present, 0)`,
	"accounts that don't add up": `
		SELECT tenant_id || ' ' || channel
		FROM (SELECT * FROM alert_accounts UNION ALL SELECT * FROM alert_account_changes) b
		GROUP BY tenant_id, channel
		HAVING sum(balance) FILTER (WHERE account = 'accepted') IS DISTINCT FROM sum(balance) FILTER (WHERE account <> 'accepted')`,
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
