package store_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/store"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// setup returns a store on a database where two tenants, "default" and "other", have the same
// securities: AAA and BBB in USD, CAL in CHF, which is the calendar of "default" only.
func setup(t *testing.T) (*store.Store, *pgxpool.Pool) {
	t.Helper()
	pool := dbtest.New(t)
	exec(t, pool, `INSERT INTO tenants (id) VALUES ('other')`)
	exec(t, pool, `
		INSERT INTO securities (id, tenant_id, symbol, name, asset_class, sector, currency, role)
		SELECT gen_random_uuid(), tenants.id, s.symbol, s.symbol || ' Inc.', 'equity', 'Tech', s.currency, 'holding'
		FROM tenants
		CROSS JOIN (VALUES ('AAA', 'USD'), ('BBB', 'USD'), ('CAL', 'CHF')) AS s (symbol, currency)`)
	exec(t, pool, `UPDATE tenants SET calendar = 'CAL' WHERE id = 'default'`)
	exec(t, pool, `
		INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash)
		SELECT id, revision, 'test', 0, 'hash' FROM tenants CROSS JOIN generate_series(1, 3) AS revision`)
	return store.New(pool, store.Options{}), pool
}

func exec(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	_, err := pool.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

func date(t *testing.T, s string) time.Time {
	t.Helper()
	d, err := time.Parse(time.DateOnly, s)
	require.NoError(t, err)
	return d
}

func dec(t *testing.T, s string) decimal.Decimal {
	t.Helper()
	d, err := decimal.NewFromString(s)
	require.NoError(t, err)
	return d
}
