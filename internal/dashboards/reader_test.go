package dashboards_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dashboards"
	"github.com/dawsos/dawsos/internal/dbtest"
	sqlfiles "github.com/dawsos/dawsos/sql"
)

// login makes a login as configs/grafana/README.md tells deployments to, and connects as it.
func login(t *testing.T, address string, owner *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	name, password := "grafana_"+strings.ToLower(rand.Text()[:10]), rand.Text()
	exec(t, owner, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s' IN ROLE dawsos_reader", name, password))
	t.Cleanup(func() {
		_, err := owner.Exec(context.Background(), fmt.Sprintf("DROP OWNED BY %[1]s; DROP ROLE %[1]s", name))
		require.NoError(t, err)
	})
	u, err := url.Parse(address)
	require.NoError(t, err)
	u.User = url.UserPassword(name, password)
	return dbtest.Connect(t, u.String())
}

func exec(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	_, err := pool.Exec(t.Context(), sql)
	require.NoError(t, err, sql)
}

// rows runs a query and returns what it yields.
func rows(t *testing.T, pool *pgxpool.Pool, sql string) []map[string]any {
	t.Helper()
	got, err := pool.Query(t.Context(), sql)
	require.NoError(t, err, sql)
	all, err := pgx.CollectRows(got, pgx.RowToMap)
	require.NoError(t, err, sql)
	return all
}

// panels are the queries of PostgreSQL by panel.
func panels(t *testing.T) map[string]string {
	t.Helper()
	byTitle := map[string]string{}
	for _, q := range dashboards.Queries() {
		if q.Datasource == "postgres" {
			text, err := q.Interpolate(dashboards.Values{})
			require.NoError(t, err)
			byTitle[q.Panel] = text
		}
	}
	require.NotEmpty(t, byTitle)
	return byTitle
}

// letters inserts n dead letters. The first are the oldest; of a hundred pending ones the oldest have
// most retries behind them.
const letters = `
INSERT INTO alert_dlq (id, tenant_id, event_id, channel, target, endpoint, alert_id, user_id, content_hash, alert_data, state, cause,
    error_message, retry_count, attempts, accepted_at, created_at, last_retry_at, next_retry_at)
SELECT lpad(to_hex(i + %[2]d), 32, '0')::uuid, %[3]s, gen_random_uuid(), 'webhook', 'webhook', 'webhook:' || i %% 7, 'alert ' || i, 'u', '', '{}', '%[4]s', 'connect',
    'refused', CASE '%[4]s' WHEN 'pending' THEN (%[1]d - i) * 5 / %[1]d ELSE 5 END, 1, now() - interval '10 s', now(), now(),
    CASE '%[4]s' WHEN 'pending' THEN now() END
FROM generate_series(0, %[1]d - 1) AS i`

const deliveries = `
INSERT INTO alert_deliveries (id, tenant_id, event_id, channel, target, alert_id, user_id, content_hash, delivery_methods, attempts, accepted_at, delivered_at)
SELECT gen_random_uuid(), 'default', gen_random_uuid(), 'inapp', 'inapp', 'alert ' || i, 'u', '', '{}', 1,
    now() - interval '1 s' * (i + 2), now() - interval '1 s' * i
FROM generate_series(1, %d) AS i`

func TestPanelsOfAnIdleSystem(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	reader := login(t, address, dbtest.Connect(t, address))
	for title, sql := range panels(t) {
		got := rows(t, reader, sql)
		switch title {
		case "Average Retry Count":
			require.Equal(t, []map[string]any{{"retries": 0.0}}, got)
		case "Time to Exhaustion":
			require.Equal(t, []map[string]any{{"seconds": 0.0}}, got)
		default:
			require.Empty(t, got, title)
		}
	}
}

func TestPanelsShowOneTenantAndTheStateOfTheirTitle(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	owner := dbtest.Connect(t, address)
	reader := login(t, address, owner)
	exec(t, owner, fmt.Sprintf(letters, 20, 0, "'default'", "pending"))
	exec(t, owner, fmt.Sprintf(letters, 3, 100, "'default'", "exhausted"))
	exec(t, owner, fmt.Sprintf(letters, 30, 200, "'another'", "pending"))
	exec(t, owner, fmt.Sprintf(letters, 30, 300, "'another'", "exhausted"))
	exec(t, owner, fmt.Sprintf(deliveries, 30))
	exec(t, owner, "UPDATE alert_deliveries SET tenant_id = 'another' WHERE alert_id = 'alert 1'")
	all := panels(t)

	require.InDelta(t, 2.25, rows(t, reader, all["Average Retry Count"])[0]["retries"], 1e-9) // one of 5, four each of 4, 3, 2 and 1, three of 0
	require.InDelta(t, 10, rows(t, reader, all["Time to Exhaustion"])[0]["seconds"], 0.001)

	var failed []string
	for _, r := range rows(t, reader, all["Failed Alerts"]) {
		failed = append(failed, fmt.Sprint(r["state"], " ", r["retry_count"], " ", r["alert_id"]))
	}
	require.Len(t, failed, 10)
	require.Equal(t, []string{"exhausted 5 alert 2", "exhausted 5 alert 1", "exhausted 5 alert 0"}, failed[:3])
	require.Equal(t, "pending 5 alert 0", failed[3])

	recent := rows(t, reader, all["Recent Successful Deliveries"])
	require.Len(t, recent, 10)
	require.Equal(t, "alert 2", recent[0]["alert_id"], "the newest is of another tenant")
	require.InDelta(t, 2, recent[0]["took"], 0.001)

	backlog := rows(t, reader, all["Backlog by Destination"])
	require.Len(t, backlog, 7)
	require.Equal(t, map[string]any{"endpoint": "webhook:0", "waiting": int64(3)}, backlog[0])
}

// TestPanelsAtScale: no panel reads a table from end to end, and each is quick.
func TestPanelsAtScale(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	owner := dbtest.Connect(t, address)
	reader := login(t, address, owner)
	exec(t, owner, fmt.Sprintf(letters, 30_000, 0, "'default'", "pending"))
	exec(t, owner, fmt.Sprintf(letters, 30_000, 100_000, "'default'", "exhausted"))
	exec(t, owner, fmt.Sprintf(deliveries, 30_000))
	exec(t, owner, `INSERT INTO river_job (state, kind, queue, args, max_attempts, priority)
		SELECT 'available', 'x', 'delivery', '{}', 1, 1 FROM generate_series(1, 30000)`)
	exec(t, owner, `INSERT INTO river_queue (name, updated_at) VALUES ('delivery', now())`)
	for _, table := range []string{"alert_dlq", "alert_deliveries", "river_job"} {
		exec(t, owner, "VACUUM ANALYZE "+table)
	}
	for title, sql := range panels(t) {
		var plan []string
		for _, r := range rows(t, reader, "EXPLAIN ANALYZE "+sql) {
			plan = append(plan, r["QUERY PLAN"].(string))
		}
		whole := strings.Join(plan, "\n")
		require.NotContains(t, whole, "Seq Scan on alert", title)
		took := regexp.MustCompile(`Execution Time: ([0-9.]+) ms`).FindStringSubmatch(whole)
		require.NotNil(t, took)
		d, err := time.ParseDuration(took[1] + "ms")
		require.NoError(t, err)
		require.Less(t, d, 2*time.Second, "%s\n%s", title, whole)
	}
	depth := rows(t, reader, panels(t)["Queue Depth"])
	require.Contains(t, depth, map[string]any{"queue": "delivery", "state": "available", "jobs": int64(30_000)})
}

func TestReaderReadsNothingElse(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	owner := dbtest.Connect(t, address)
	reader := login(t, address, owner)

	// What it may read is this and no more, whatever tables there will be.
	got := rows(t, owner, `
		SELECT c.relname || '.' || a.attname AS readable
		FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
		  AND has_column_privilege('dawsos_reader', c.oid, a.attnum, 'SELECT')
		ORDER BY 1`)
	var readable []string
	for _, r := range got {
		readable = append(readable, r["readable"].(string))
	}
	require.Equal(t, []string{
		"alert_deliveries.accepted_at", "alert_deliveries.alert_id", "alert_deliveries.attempts", "alert_deliveries.delivered_at",
		"alert_deliveries.target", "alert_deliveries.tenant_id", "alert_deliveries.trace_id",
		"alert_dlq.accepted_at", "alert_dlq.alert_id", "alert_dlq.created_at", "alert_dlq.endpoint", "alert_dlq.error_message",
		"alert_dlq.id", "alert_dlq.last_retry_at", "alert_dlq.retry_count", "alert_dlq.state", "alert_dlq.target", "alert_dlq.tenant_id",
	}, readable)
	require.Empty(t, rows(t, owner, `
		SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
		  AND (has_any_column_privilege('dawsos_reader', c.oid, 'INSERT, UPDATE, REFERENCES')
		       OR (c.relkind <> 'S' AND has_table_privilege('dawsos_reader', c.oid, 'DELETE, TRUNCATE, TRIGGER')))`), "it may write")

	for _, sql := range []string{
		"SELECT sealed FROM destinations",
		"SELECT answer FROM idempotency_keys",
		"SELECT message FROM alert_events",
		"SELECT alert_data FROM alert_dlq",
		"SELECT * FROM alert_dlq",
		"SELECT delivery_methods FROM alert_deliveries",
		"SELECT args FROM river_job",
		"SELECT response_excerpt FROM alert_attempts",
		"SELECT message FROM notifications",
		"UPDATE alert_dlq SET state = 'pending'",
		"DELETE FROM alert_deliveries",
		"CALL grant_dawsos_reader()",
	} {
		_, err := reader.Exec(t.Context(), sql)
		var pgErr *pgconn.PgError
		require.ErrorAs(t, err, &pgErr, sql)
		require.Equal(t, "42501", pgErr.Code, sql)
	}
}

// TestQueueDepthCallsNobodysCode: the function runs with its owner's rights, which a temporary view
// named like its table would get hold of.
func TestQueueDepthCallsNobodysCode(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	owner := dbtest.Connect(t, address)
	exec(t, owner, `INSERT INTO river_queue (name, updated_at) VALUES ('delivery', now())`)
	conn, err := login(t, address, owner).Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	_, err = conn.Exec(t.Context(), "CREATE TEMP VIEW river_queue AS SELECT current_user::text AS name")
	require.NoError(t, err)
	var name string
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT min(queue) FROM queue_depth()").Scan(&name))
	require.Equal(t, "delivery", name)
}

// TestMigrationWithoutTheRightToMakeRoles: it goes through and says what is left to do, which can be
// done later. The role of all tests is there already: the migration runs once more, in a schema and
// for a role of its own.
func TestMigrationWithoutTheRightToMakeRoles(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	owner := dbtest.Connect(t, address)
	suffix, password := strings.ToLower(rand.Text()[:10]), rand.Text()
	migrating, reading := "migrates_"+suffix, "reads_"+suffix
	exec(t, owner, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", migrating, password))
	exec(t, owner, fmt.Sprintf("CREATE SCHEMA own AUTHORIZATION %s", migrating))
	exec(t, owner, fmt.Sprintf("ALTER TABLE alert_dlq OWNER TO %s", migrating))
	exec(t, owner, fmt.Sprintf("ALTER TABLE alert_deliveries OWNER TO %s", migrating))
	t.Cleanup(func() {
		_, err := owner.Exec(context.Background(), fmt.Sprintf("DROP OWNED BY %s CASCADE", migrating))
		require.NoError(t, err)
		_, err = owner.Exec(context.Background(), "DROP ROLE IF EXISTS "+migrating+", "+reading)
		require.NoError(t, err)
	})

	config, err := pgx.ParseConfig(address)
	require.NoError(t, err)
	config.User, config.Password = migrating, password
	var warnings []*pgconn.Notice
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { warnings = append(warnings, n) }
	config.RuntimeParams["search_path"] = "own, public"
	conn, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	defer conn.Close(context.Background())

	migration, err := sqlfiles.Migrations.ReadFile("migrations/00010_dawsos_reader.sql")
	require.NoError(t, err)
	up, _, found := strings.Cut(strings.ReplaceAll(string(migration), "dawsos_reader", reading), "-- +goose Down")
	require.True(t, found)
	_, err = conn.PgConn().Exec(t.Context(), up).ReadAll()
	require.NoError(t, err)
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0].Message, migrating)
	require.Contains(t, warnings[0].Hint, "CALL grant_"+reading)

	exec(t, owner, "CREATE ROLE "+reading+" NOLOGIN")
	_, err = conn.Exec(t.Context(), "CALL grant_"+reading+"()")
	require.NoError(t, err)
	require.Equal(t, []map[string]any{{"may": true}}, rows(t, owner, fmt.Sprintf("SELECT has_column_privilege('%s', 'alert_dlq', 'error_message', 'SELECT') AS may", reading)))
}
