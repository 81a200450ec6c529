package packs_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/packs"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

const riskFree = "FF_RF"

// samples is the sample data with its newest pack.
func samples(t testing.TB) (*market, packs.Pack) {
	t.Helper()
	pool := dbtest.New(t)
	_, err := sample.Load(t.Context(), pool, filepath.Join("..", "..", "configs", "sample"), nil)
	require.NoError(t, err)
	m := &market{t: t, pool: pool, shelf: store.NewPacks(pool, nil, time.Now)}
	pack, ok, err := m.shelf.NewestUsablePack(t.Context(), store.DefaultTenant)
	require.NoError(t, err)
	require.True(t, ok)
	return m, pack
}

// clones adds n portfolios with ledgers like the sample's, of up to 23 bookings each, by COPY.
func (m *market) clones(n int) {
	m.t.Helper()
	ctx := m.t.Context()
	original, err := m.shelf.Portfolio(ctx, store.DefaultTenant, sample.PortfolioID())
	require.NoError(m.t, err)
	ledger, err := m.shelf.Transactions(ctx, store.DefaultTenant, original.ID, original.LedgerSeq, day(m.t, "2100-01-01"))
	require.NoError(m.t, err)
	random := rand.New(rand.NewPCG(1, 2))
	var portfolios, transactions [][]any
	created := day(m.t, "2001-01-01")
	for i := range n {
		p := original
		p.ID = uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "clone %d", i)).String()
		version := portfolio.Genesis(p)
		scale := decimal.NewFromInt(1 + random.Int64N(9))
		for _, tx := range ledger {
			tx.Amount, tx.Quantity = tx.Amount.Mul(scale), tx.Quantity.Mul(scale)
			version = portfolio.Chain(version, tx)
			transactions = append(transactions, []any{
				uuid.NewSHA1(uuid.MustParse(p.ID), fmt.Append(nil, tx.Seq)), store.DefaultTenant, uuid.MustParse(p.ID), tx.Seq, tx.Date, string(tx.Type),
				null(tx.Symbol), number(tx.Quantity), number(tx.Price), tx.Currency, tx.Amount, version,
			})
		}
		portfolios = append(portfolios, []any{
			uuid.MustParse(p.ID), store.DefaultTenant, fmt.Sprintf("clone %d", i), p.BaseCurrency, null(p.Benchmark), p.Calendar,
			int64(len(ledger)), version, created.Add(time.Duration(i) * time.Second),
		})
	}
	for _, c := range []struct {
		table   string
		columns []string
		rows    [][]any
	}{
		{"portfolios", []string{"id", "tenant_id", "name", "base_currency", "benchmark", "calendar", "ledger_seq", "ledger_version", "created_at"}, portfolios},
		{"transactions", []string{
			"id", "tenant_id", "portfolio_id", "seq", "date", "type", "symbol", "quantity", "price", "currency", "amount", "ledger_version",
		}, transactions},
	} {
		_, err := m.pool.CopyFrom(ctx, pgx.Identifier{c.table}, c.columns, pgx.CopyFromRows(c.rows))
		require.NoError(m.t, err)
	}
	m.exec(`ANALYZE portfolios, transactions`)
}

func null(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func number(d decimal.Decimal) *decimal.Decimal {
	if d.IsZero() {
		return nil
	}
	return &d
}

// What is computed in bulk is, to the bit, what the analyst computes for one portfolio; and the packs of a
// year reconcile with it.
func TestMetricsAreTheAnalysts(t *testing.T) {
	t.Parallel()
	m, pack := samples(t)
	m.clones(250) // more than a batch
	empty := m.portfolio("CHF")
	a := analyst.New(m.shelf, m.shelf, analyst.Options{RiskFreeSeries: riskFree})
	ctx := t.Context()

	report, err := packs.ComputeMetrics(ctx, m.shelf, m.shelf, a, pack)
	require.NoError(t, err)
	require.Equal(t, packs.MetricsReport{Portfolios: 252, Computed: 252}, report)
	for _, id := range []string{sample.PortfolioID(), empty.ID, uuid.NewSHA1(uuid.NameSpaceOID, []byte("clone 249")).String()} {
		p, err := m.shelf.Portfolio(ctx, store.DefaultTenant, id)
		require.NoError(t, err)
		want, err := a.Figures(ctx, agent.Context{
			TenantID: store.DefaultTenant, Asof: pack.Date,
			PricingPack: agent.Pack{ID: pack.ID.String(), Date: pack.Date, Revision: pack.Revision, Hash: pack.Hash},
			Portfolio:   &agent.Portfolio{ID: p.ID, BaseCurrency: p.BaseCurrency, LedgerVersion: p.LedgerVersion, LedgerSeq: p.LedgerSeq},
		})
		require.NoError(t, err)
		require.Len(t, want, len(portfolio.FigureNames()))
		for name, w := range want {
			var value *float64
			var missing *string
			require.NoError(t, m.pool.QueryRow(ctx, `SELECT (figures -> $3 ->> 'value')::float8, figures -> $3 ->> 'missing' FROM portfolio_metrics
				WHERE portfolio_id = $1 AND pack_id = $2`, uuid.MustParse(id), pack.ID, name).Scan(&value, &missing))
			if w.Err != nil {
				require.Nil(t, value, "%s is not known, which is not zero", name)
				require.Equal(t, w.Err.Error(), *missing)
				continue
			}
			require.NotNil(t, value, name)
			require.Equal(t, math.Float64bits(w.Value), math.Float64bits(*value), "%s: %v, not %v", name, w.Value, *value)
		}
	}
	var nav, twr float64
	require.NoError(t, m.pool.QueryRow(ctx, `SELECT (figures -> 'nav' ->> 'value')::float8, (figures -> 'twr_1y' ->> 'value')::float8
		FROM portfolio_metrics WHERE portfolio_id = $1`, uuid.MustParse(sample.PortfolioID())).Scan(&nav, &twr))
	require.InDelta(t, 1444808.19, nav, 0.005)
	require.InDelta(t, 0.136819, twr, 5e-7)

	// Again: nothing to do. A booking makes one portfolio's figures stale, and no other's.
	report, err = packs.ComputeMetrics(ctx, m.shelf, m.shelf, a, pack)
	require.NoError(t, err)
	require.Equal(t, packs.MetricsReport{Portfolios: 252, Unchanged: 252}, report)
	_, _, err = m.shelf.AppendTransactions(ctx, store.DefaultTenant, empty.ID, []portfolio.Transaction{
		{Date: day(t, "2007-01-02"), Type: portfolio.Deposit, Currency: "CHF", Amount: decimal.NewFromInt(1000)},
	})
	require.NoError(t, err)
	report, err = packs.ComputeMetrics(ctx, m.shelf, m.shelf, a, pack)
	require.NoError(t, err)
	require.Equal(t, packs.MetricsReport{Portfolios: 252, Computed: 1, Unchanged: 251}, report)

	list, err := m.shelf.PricingPacks(ctx, store.DefaultTenant, packs.Filter{From: day(t, "2006-06-01")}, packs.Cursor{}, 1000)
	require.NoError(t, err)
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	r, err := packs.Reconcile(ctx, m.shelf, "SBI", list[len(list)-20:])
	require.NoError(t, err)
	require.Empty(t, reasons(r))
	require.Equal(t, 252*20, r.Valuations)
}

// BenchmarkNightlyMetrics computes the figures of many small portfolios, 23 bookings over seven years each,
// and reconciles the newest pack with them.
//
//	go test -run '^$' -bench NightlyMetrics -benchtime 1x ./internal/packs
func BenchmarkNightlyMetrics(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprintf("%d_portfolios", n), func(b *testing.B) {
			m, pack := samples(b)
			m.clones(n - 1)
			a := analyst.New(m.shelf, m.shelf, analyst.Options{RiskFreeSeries: riskFree})
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				m.exec(`TRUNCATE portfolio_metrics`)
				b.StartTimer()
				report, err := packs.ComputeMetrics(b.Context(), m.shelf, m.shelf, a, pack)
				require.NoError(b, err)
				require.Equal(b, n, report.Computed)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(n), "µs/portfolio")
		})
	}
}

// BenchmarkReconcile reconciles one new pack with many portfolios, and the packs of seven years with one.
func BenchmarkReconcile(b *testing.B) {
	for _, c := range []struct{ portfolios, packs int }{{1_000, 1}, {10_000, 1}, {1, 1_917}} {
		b.Run(fmt.Sprintf("%d_portfolios_%d_packs", c.portfolios, c.packs), func(b *testing.B) {
			m, _ := samples(b)
			m.clones(c.portfolios - 1)
			list, err := m.shelf.PricingPacks(b.Context(), store.DefaultTenant, packs.Filter{}, packs.Cursor{}, c.packs)
			require.NoError(b, err)
			for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
				list[i], list[j] = list[j], list[i]
			}
			for b.Loop() {
				r, err := packs.Reconcile(b.Context(), m.shelf, "SBI", list)
				require.NoError(b, err)
				require.Zero(b, r.Failed)
			}
		})
	}
}
