package packs_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/packs"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// market is a small tenant: the calendar CAL and the shares AAA (CHF) and UUU (USD), ten days of closes.
type market struct {
	t     testing.TB
	pool  *pgxpool.Pool
	shelf *store.Packs
}

var days = []string{
	"2005-01-03", "2005-01-04", "2005-01-05", "2005-01-06", "2005-01-07",
	"2005-01-10", "2005-01-11", "2005-01-12", "2005-01-13", "2005-01-14",
}

func day(t testing.TB, s string) time.Time {
	t.Helper()
	d, err := time.Parse(time.DateOnly, s)
	require.NoError(t, err)
	return d
}

func newMarket(t testing.TB) *market {
	t.Helper()
	pool := dbtest.New(t)
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{})
	require.NoError(t, err)
	m := &market{t: t, pool: pool, shelf: store.NewPacks(pool, client, time.Now)}
	m.exec(`INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash) VALUES ('default', 1, 'test', 30, 'h1')`)
	for symbol, currency := range map[string]string{"CAL": "CHF", "AAA": "CHF", "UUU": "USD", "NOP": "CHF"} {
		m.exec(`INSERT INTO securities (id, tenant_id, symbol, name, asset_class, sector, currency, role)
			VALUES ($1, 'default', $2, $2, 'equity', 'x', $3, 'holding')`, uuid.New(), symbol, currency)
	}
	m.exec(`UPDATE tenants SET calendar = 'CAL'`)
	for i, d := range days {
		m.price("CAL", d, 1, decimal.NewFromInt(int64(100+i)))
		m.price("AAA", d, 1, decimal.NewFromFloat(50).Add(decimal.New(int64(i*37), -2)))
		m.price("UUU", d, 1, decimal.NewFromFloat(20).Sub(decimal.New(int64(i*13), -2)))
		m.exec(`INSERT INTO fx_rates (tenant_id, base, quote, date, revision, rate) VALUES ('default', 'USD', 'CHF', $1, 1, $2)`,
			day(t, d), decimal.New(int64(11500+i*7), -4))
	}
	return m
}

func (m *market) exec(sql string, args ...any) {
	m.t.Helper()
	_, err := m.pool.Exec(m.t.Context(), sql, args...)
	require.NoError(m.t, err)
}

func (m *market) price(symbol, on string, revision int64, close decimal.Decimal) {
	m.t.Helper()
	m.exec(`INSERT INTO prices (tenant_id, security_id, date, revision, close)
		SELECT 'default', id, $2, $3, $4 FROM securities WHERE symbol = $1`, symbol, day(m.t, on), revision, close)
}

func (m *market) portfolio(base string, txs ...portfolio.Transaction) portfolio.Portfolio {
	m.t.Helper()
	p, err := m.shelf.CreatePortfolio(m.t.Context(), store.DefaultTenant, portfolio.Portfolio{Name: "p", BaseCurrency: base})
	require.NoError(m.t, err)
	if len(txs) > 0 {
		p, _, err = m.shelf.AppendTransactions(m.t.Context(), store.DefaultTenant, p.ID, txs)
		require.NoError(m.t, err)
	}
	return p
}

func (m *market) tx(on string, kind portfolio.Type, symbol, quantity, price, currency, amount string) portfolio.Transaction {
	number := func(s string) decimal.Decimal {
		if s == "" {
			return decimal.Zero
		}
		return decimal.RequireFromString(s)
	}
	return portfolio.Transaction{
		Date: day(m.t, on), Type: kind, Symbol: symbol, Quantity: number(quantity), Price: number(price), Currency: currency, Amount: number(amount),
	}
}

// mixed holds a share in each currency, books on a weekend, and sells more than it has.
func (m *market) mixed() portfolio.Portfolio {
	m.t.Helper()
	return m.portfolio(
		"CHF",
		m.tx("2005-01-03", portfolio.Deposit, "", "", "", "CHF", "10000"),
		m.tx("2005-01-04", portfolio.Buy, "AAA", "20", "50.37", "CHF", "-1007.4"),
		m.tx("2005-01-04", portfolio.FX, "USD/CHF", "1000", "1.1507", "CHF", "-1150.7"),
		m.tx("2005-01-05", portfolio.Buy, "UUU", "10.5", "19.74", "USD", "-207.27"),
		m.tx("2005-01-08", portfolio.Fee, "", "", "", "CHF", "-12.35"), // a Saturday
		m.tx("2005-01-11", portfolio.Sell, "UUU", "4.25", "19.22", "USD", "81.685"),
	)
}

// build makes and checks packs, as the job does.
func (m *market) build() []packs.Pack {
	m.t.Helper()
	ctx := m.t.Context()
	_, err := m.shelf.RetirePacks(ctx, store.DefaultTenant)
	require.NoError(m.t, err)
	_, err = m.shelf.MakePacks(ctx, store.DefaultTenant)
	require.NoError(m.t, err)
	_, _, err = m.shelf.CheckPacks(ctx, store.DefaultTenant, 1000)
	require.NoError(m.t, err)
	list, err := m.shelf.UnreconciledPacks(ctx, store.DefaultTenant)
	require.NoError(m.t, err)
	return list
}

func (m *market) reconcile(list []packs.Pack) packs.Reconciled {
	m.t.Helper()
	r, err := packs.Reconcile(m.t.Context(), m.shelf, "CAL", list)
	require.NoError(m.t, err)
	return r
}
