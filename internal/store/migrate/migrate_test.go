package migrate_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/store/migrate"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// objects lists what a database holds, with definitions: columns, indexes and constraints.
func objects(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `
		SELECT format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default)
		FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'goose_db_version'
		UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'goose_db_version'
		UNION ALL SELECT format('%s %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint
			WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'goose_db_version'
		UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype = 'e'
		UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
		ORDER BY 1`)
	require.NoError(t, err)
	var all []string
	for rows.Next() {
		var one string
		require.NoError(t, rows.Scan(&one))
		all = append(all, one)
	}
	require.NoError(t, rows.Err())
	return all
}

func TestUpDownUp(t *testing.T) {
	t.Parallel()
	address := dbtest.EmptyURL(t)
	pool := dbtest.Connect(t, address)
	schema, river, err := migrate.Latest()
	require.NoError(t, err)

	first, err := migrate.Up(t.Context(), address)
	require.NoError(t, err)
	require.Equal(t, []int64{schema, river}, []int64{first.Schema, first.River})
	require.Len(t, first.Applied, int(schema+river), "each step is reported")
	require.Equal(t, migrate.Step{Part: "schema", Version: 1, Name: "00001_market_data_and_ledger.sql"}, first.Applied[0])
	require.Equal(t, river, first.Applied[len(first.Applied)-1].Version)
	before := objects(t, pool)
	require.NotEmpty(t, before)

	again, err := migrate.Up(t.Context(), address)
	require.NoError(t, err)
	require.Equal(t, migrate.Report{Schema: schema, River: river}, again, "nothing left to do")

	require.NoError(t, migrate.Down(t.Context(), address))
	require.Empty(t, objects(t, pool), "a down migration leaves something")

	_, err = migrate.Up(t.Context(), address)
	require.NoError(t, err)
	require.Equal(t, before, objects(t, pool))
}

func TestUpAtOnceOnAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	address := dbtest.EmptyURL(t)
	schema, river, err := migrate.Latest()
	require.NoError(t, err)
	const runs = 6
	reports := make([]migrate.Report, runs)
	errs := make([]error, runs)
	var wg sync.WaitGroup
	for i := range runs {
		wg.Go(func() { reports[i], errs[i] = migrate.Up(t.Context(), address) })
	}
	wg.Wait()
	steps := 0
	for i := range runs {
		require.NoError(t, errs[i])
		require.Equal(t, []int64{schema, river}, []int64{reports[i].Schema, reports[i].River})
		steps += len(reports[i].Applied)
	}
	require.Equal(t, int(schema+river), steps, "each migration ran once")
}

func TestUpWaitsNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	address := dbtest.EmptyURL(t)
	conn, err := dbtest.Connect(t, address).Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	_, err = conn.Exec(t.Context(), "SELECT pg_advisory_lock($1)", migrate.LockKey)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 5*migrate.LockPoll)
	defer cancel()
	_, err = migrate.Up(ctx, address)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Empty(t, objects(t, dbtest.Connect(t, address)))
}

func TestUpReportsAnAddressWithoutItsPassword(t *testing.T) {
	t.Parallel()
	_, err := migrate.Up(t.Context(), "postgres://someone:hunter2@127.0.0.1:1/nowhere?connect_timeout=2")
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestCheck(t *testing.T) {
	t.Parallel()
	schema, river, err := migrate.Latest()
	require.NoError(t, err)
	for _, c := range []struct {
		name    string
		migrate bool
		change  string
		want    *migrate.BehindError
		text    string
	}{
		{name: "current", migrate: true},
		{
			name: "empty",
			want: &migrate.BehindError{SchemaNeeded: schema, RiverNeeded: river},
			text: fmt.Sprintf("schema is at 0, this binary needs %d; River's schema is at 0, this binary needs %d: run `api migrate`", schema, river),
		},
		{
			name: "ours is behind", migrate: true,
			change: "DELETE FROM goose_db_version WHERE version_id > 1",
			want: &migrate.BehindError{
				Schema: 1, SchemaNeeded: schema, River: river, RiverNeeded: river,
			},
			text: fmt.Sprintf("schema is at 1, this binary needs %d: run `api migrate`", schema),
		},
		{
			name: "River is behind", migrate: true,
			change: "DELETE FROM river_migration WHERE version > 3",
			want: &migrate.BehindError{
				Schema: schema, SchemaNeeded: schema, River: 3, RiverNeeded: river,
			},
			text: fmt.Sprintf("River's schema is at 3, this binary needs %d: run `api migrate`", river),
		},
		{
			name: "newer, in a rolling upgrade", migrate: true,
			change: "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true);" +
				"INSERT INTO river_migration (line, version) VALUES ('main', 9999)",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := dbtest.EmptyURL(t)
			pool := dbtest.Connect(t, address)
			if c.migrate {
				_, err := migrate.Up(t.Context(), address)
				require.NoError(t, err)
			}
			_, err := pool.Exec(t.Context(), c.change)
			require.NoError(t, err)

			err = migrate.Check(t.Context(), pool)
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			var behind *migrate.BehindError
			require.ErrorAs(t, err, &behind)
			require.Equal(t, c.want, behind)
			require.EqualError(t, err, c.text)
		})
	}
}

func TestCheckWithoutADatabase(t *testing.T) {
	t.Parallel()
	pool := dbtest.Connect(t, "postgres://someone@127.0.0.1:1/nowhere")
	err := migrate.Check(t.Context(), pool)
	require.ErrorContains(t, err, "read the schema's version")
}

// TestPoliciesBesideAnOlderRelease: a transaction that has changed one table and goes on to another one, which already
// has its policies, is neither in the way of row level security nor stopped by it.
func TestPoliciesBesideAnOlderRelease(t *testing.T) {
	t.Parallel()
	const before = 20 // the last version without
	address := dbtest.EmptyURL(t)
	pool := dbtest.Connect(t, address)
	_, err := migrate.Up(t.Context(), address)
	require.NoError(t, err)
	require.NoError(t, migrate.DownTo(t.Context(), address, before))

	older, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = older.Rollback(context.WithoutCancel(t.Context())) }()
	_, err = older.Exec(t.Context(), `UPDATE portfolios SET name = name`)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := migrate.Up(t.Context(), address)
		ended <- err
	}()
	require.Eventually(t, func() bool {
		var waits bool
		err := pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'portfolios'::regclass)`).Scan(&waits)
		require.NoError(t, err)
		return waits
	}, 30*time.Second, 5*time.Millisecond, "the migration comes to the table")
	_, err = older.Exec(t.Context(), `SET LOCAL lock_timeout = '1s'; UPDATE alert_events SET title = title`)
	require.NoError(t, err)
	require.NoError(t, older.Commit(t.Context()))
	require.NoError(t, <-ended)
	var without int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_class
		WHERE relname IN ('alert_events', 'portfolios') AND NOT relrowsecurity`).Scan(&without))
	require.Zero(t, without)
}

// TestLockedTableIsNamed: a migration that gives up on a table says on which, and goes on from there the next time.
func TestLockedTableIsNamed(t *testing.T) {
	t.Parallel()
	address := dbtest.EmptyURL(t)
	pool := dbtest.Connect(t, address)
	_, err := migrate.Up(t.Context(), address)
	require.NoError(t, err)
	require.NoError(t, migrate.DownTo(t.Context(), address, 21))
	_, err = pool.Exec(t.Context(), "DROP POLICY api ON portfolios")
	require.NoError(t, err)
	holder, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = holder.Rollback(context.WithoutCancel(t.Context())) }()
	_, err = holder.Exec(t.Context(), "LOCK TABLE portfolios IN ACCESS SHARE MODE")
	require.NoError(t, err)

	_, err = migrate.Up(t.Context(), address)
	require.ErrorContains(t, err, "lock timeout")
	require.ErrorContains(t, err, "portfolios")
	require.Error(t, migrate.Check(t.Context(), pool), "processes wait for what is missing")
	require.NoError(t, holder.Commit(t.Context()))
	_, err = migrate.Up(t.Context(), address)
	require.NoError(t, err)
	require.NoError(t, migrate.Check(t.Context(), pool))
}

// TestOwnersRightsAreNobodyElses: a dump that is restored without privileges, as documented, has functions that run
// with their owner's rights and that everybody may call. The end of the migrations takes that back, from new ones too.
func TestOwnersRightsAreNobodyElses(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	pool := dbtest.Connect(t, address)
	open := func() (names []string) {
		rows, err := pool.Query(t.Context(), `SELECT proname::text FROM pg_proc
			WHERE pronamespace = 'public'::regnamespace AND (prosecdef OR starts_with(proname, 'grant_'))
				AND has_function_privilege('public', oid, 'EXECUTE') ORDER BY 1`)
		require.NoError(t, err)
		names, err = pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		return names
	}
	ours := []string{"count_alert_rules"} // whoever calls it learns a number
	require.Equal(t, ours, open())
	_, err := pool.Exec(t.Context(), "GRANT EXECUTE ON ALL ROUTINES IN SCHEMA public TO PUBLIC")
	require.NoError(t, err)
	require.Greater(t, len(open()), 8)
	_, err = migrate.Up(t.Context(), address)
	require.NoError(t, err)
	require.Equal(t, ours, open())
	var granted bool
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT has_function_privilege('dawsos_api', 'use_api_key(text, bytea, timestamptz)', 'EXECUTE')
		AND has_function_privilege('dawsos_worker', 'analyze_table(text)', 'EXECUTE')`).Scan(&granted))
	require.True(t, granted)
}
