package loadtest

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
)

// ledger is a database with an event in each place: 1 delivered, 2 in flight, 3 pending, 4 exhausted, 5 a
// duplicate. The accounts keep themselves.
func ledger(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := dbtest.New(t)
	for n := byte(1); n <= 5; n++ {
		execute(t, pool, `INSERT INTO alert_events (id, tenant_id, alert_id, user_id, title, message, severity, data, channels, accepted_at)
			VALUES ($1, 'default', 'a', 'u', 't', 'm', 'info', '{}', '{"webhook": {}}', now())`, event(n))
		if n < 5 {
			execute(t, pool, `INSERT INTO alert_inflight (event_id, target, channel, tenant_id, accepted_at) VALUES ($1, 'webhook', 'webhook', 'default', now())`, event(n))
		}
	}
	execute(t, pool, `INSERT INTO alert_duplicates (event_id, target, channel, tenant_id, of_event_id, accepted_at)
		VALUES ($1, 'webhook', 'webhook', 'default', $2, now())`, event(5), event(1))
	execute(t, pool, `DELETE FROM alert_inflight WHERE event_id <> $1`, event(2))
	execute(t, pool, `INSERT INTO alert_deliveries (id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, delivery_methods, attempts, accepted_at, delivered_at)
		VALUES ($1, 'default', $1, 'webhook', 'webhook', 'a', 'u', 'h', '["webhook"]', 1, now(), now())`, event(1))
	execute(t, pool, letter, event(3), "pending", 77)
	execute(t, pool, letter, event(4), "exhausted", nil)
	for n := byte(1); n <= 4; n++ {
		execute(t, pool, `INSERT INTO alert_attempts (event_id, target, channel, attempt, tenant_id, started_at, duration_seconds, outcome)
			VALUES ($1, 'webhook', 'webhook', 1, 'default', now(), 0, 'failed')`, event(n))
	}
	return pool
}

// letter inserts a dead letter of event $1 in state $2 with job $3.
const letter = `INSERT INTO alert_dlq (id, tenant_id, event_id, target, channel, alert_id, user_id, content_hash, alert_data, state,
                                       cause, error_message, attempts, accepted_at, created_at, next_retry_at, job_id)
	VALUES ($1, 'default', $1, 'webhook', 'webhook', 'a', 'u', 'h', '{}', $2::text, 'timeout', 'no answer', 1, now(), now(),
	        CASE WHEN $2::text = 'pending' THEN now() END, $3::bigint)`

func execute(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	_, err := pool.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

func TestTestifyReadsTheDatabase(t *testing.T) {
	t.Parallel()
	pool := ledger(t)
	r, err := NewReceiver(Accepting)
	require.NoError(t, err)
	_, ok := r.note(event(1), "msg_1")
	require.True(t, ok)
	r.accept(event(1))
	e, err := testify(t.Context(), pool, Sent{Unanswered: 3}, r)
	require.NoError(t, err)
	require.Empty(t, e.Audits)
	require.Equal(t, Position{Place: "delivered"}, e.Positions[event(1)])
	require.Equal(t, Position{Place: "in_flight"}, e.Positions[event(2)])
	require.Equal(t, Position{Place: "pending", Reason: "timeout: no answer"}, e.Positions[event(3)])
	require.Equal(t, Position{Place: "exhausted", Reason: "timeout: no answer"}, e.Positions[event(4)])
	require.Equal(t, Position{Place: "duplicate"}, e.Positions[event(5)])
	require.Equal(t, Books{"accepted": 5, "delivered": 1, "in_flight": 1, "pending": 1, "exhausted": 1, "duplicate": 1}, e.Books)
	require.Equal(t, 3, e.Sent.Unanswered)
	require.Equal(t, 1, e.Received[event(1)].Accepted)
	inFlight, pending, err := open(t.Context(), pool)
	require.NoError(t, err)
	require.Equal(t, []int{1, 1}, []int{inFlight, pending})
}

// TestAuditsDetect spoils the tables in each way that the audits look for.
func TestAuditsDetect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, spoil string
		want        []string
	}{
		{
			"a dead letter is gone", `DELETE FROM alert_dlq WHERE state = 'exhausted'`,
			[]string{"accepted, but not in exactly one place: 00000000-0000-0000-0000-000000000004 on webhook stands in 0 places: "},
		},
		{
			"in two places", `INSERT INTO alert_inflight (event_id, target, channel, tenant_id, accepted_at)
				VALUES ('00000000-0000-0000-0000-000000000001', 'webhook', 'webhook', 'default', now())`,
			[]string{
				"accepted, but not in exactly one place: 00000000-0000-0000-0000-000000000001 on webhook stands in 2 places: ",
				"accounts that are not what the tables hold: accepted: 6 by the accounts, 5 by the tables",
			},
		},
		{
			"an event is gone", `DELETE FROM alert_events WHERE id = '00000000-0000-0000-0000-000000000002'`,
			[]string{
				"in a place without having been accepted: 00000000-0000-0000-0000-000000000002 on webhook: in_flight",
				"accounts that are not what the tables hold: accepted: 5 by the accounts, 4 by the tables",
			},
		},
		{
			"an attempt is gone", `UPDATE alert_attempts SET attempt = 2 WHERE event_id = '00000000-0000-0000-0000-000000000001'`,
			[]string{"attempts that are not numbered 1, 2, 3: 00000000-0000-0000-0000-000000000001 on webhook: 2"},
		},
		{
			"a letter has no job", `UPDATE alert_dlq SET job_id = NULL`,
			[]string{"pending without a job: 00000000-0000-0000-0000-000000000003"},
		},
		{
			"a change of the accounts is gone", `DELETE FROM alert_account_changes WHERE account = 'delivered'`,
			[]string{"accounts that are not what the tables hold: delivered: 0 by the accounts, 1 by the tables"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pool := ledger(t)
			execute(t, pool, c.spoil)
			e, err := testify(t.Context(), pool, Sent{})
			require.NoError(t, err)
			require.Len(t, e.Audits, len(c.want), "%v", e.Audits)
			for i, want := range c.want {
				require.Contains(t, e.Audits[i], want)
			}
			account := Settle(e)
			require.False(t, account.OK())
		})
	}
}

func TestDrainedGivesUp(t *testing.T) {
	t.Parallel()
	pool := ledger(t)
	empty, err := drained(t.Context(), pool, 10*time.Millisecond, t.Logf)
	require.NoError(t, err)
	require.False(t, empty)
	execute(t, pool, `DELETE FROM alert_inflight`)
	execute(t, pool, `DELETE FROM alert_dlq WHERE state = 'pending'`)
	empty, err = drained(t.Context(), pool, time.Minute, t.Logf)
	require.NoError(t, err)
	require.True(t, empty, "what is exhausted is not open")
}

// TestPeriodicJobsRunTwice: two workers that each see to a job show in the shortest gap, a job that went from
// hand to hand in how many have had it.
func TestPeriodicJobsRunTwice(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	insert := `INSERT INTO river_job (kind, args, max_attempts, metadata, created_at, attempted_by)
		VALUES ($1, '{}', 1, $2, '2026-01-02 00:00:00Z'::timestamptz + $3::float8 * interval '1 second', $4)`
	execute(t, pool, insert, "once", `{"periodic": true}`, 0, []string{"a"})
	execute(t, pool, insert, "often", `{"periodic": true}`, 0, []string{"a"})
	execute(t, pool, insert, "often", `{"periodic": true}`, 10, []string{"b"})
	execute(t, pool, insert, "often", `{"periodic": true}`, 10.25, []string{"a", "b"})
	execute(t, pool, insert, "other", `{}`, 0, []string{"a", "b"})
	jobs, err := periodic(t.Context(), pool)
	require.NoError(t, err)
	require.Equal(t, []PeriodicJob{{Kind: "often", Runs: 3, Shortest: 0.25, Shared: 1}, {Kind: "once", Runs: 1}}, jobs)
}
