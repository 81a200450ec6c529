package dbtest_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/store/migrate"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

func TestNewGivesMigratedDatabases(t *testing.T) {
	t.Parallel()
	require.NoError(t, migrate.Check(t.Context(), dbtest.New(t)))
}

func TestDatabasesAreApart(t *testing.T) {
	t.Parallel()
	a, b := dbtest.New(t), dbtest.New(t)
	_, err := a.Exec(t.Context(), "INSERT INTO tenants (id) VALUES ('other')")
	require.NoError(t, err)

	var rows int
	require.NoError(t, b.QueryRow(t.Context(), "SELECT count(*) FROM tenants").Scan(&rows))
	require.Equal(t, 1, rows, "what one test writes must not be seen by another")
}

func TestEmptyURLHasNoTables(t *testing.T) {
	t.Parallel()
	var rows int
	require.NoError(t, dbtest.Connect(t, dbtest.EmptyURL(t)).
		QueryRow(t.Context(), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&rows))
	require.Zero(t, rows)
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	for i := range 12 {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			pool := dbtest.New(t)
			_, err := pool.Exec(t.Context(), "INSERT INTO tenants (id) VALUES ('mine')")
			require.NoError(t, err, "a database shared with another test holds the row already")
		})
	}
}

func TestDatabaseGoesWithItsTest(t *testing.T) {
	t.Parallel()
	var gone string
	t.Run("uses one", func(t *testing.T) {
		pool := dbtest.New(t)
		require.NoError(t, pool.QueryRow(t.Context(), "SELECT current_database()").Scan(&gone))
	})
	var left int
	require.NoError(t, dbtest.New(t).
		QueryRow(t.Context(), "SELECT count(*) FROM pg_database WHERE datname = $1", gone).Scan(&left))
	require.Zero(t, left)
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		dbtest.URL(b)
	}
}
