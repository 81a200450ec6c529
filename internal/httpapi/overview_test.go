package httpapi_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/agents/charts"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

// statements counts what is asked of the database.
type statements struct{ n atomic.Int64 }

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	s.n.Add(1)
	return ctx
}

func (*statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// books is a database with a thousand shares of a year's daily closes in two currencies, and the engine over it
// that answers portfolio_overview without keeping anything.
type books struct {
	engine     *patterns.Orchestrator
	db         *store.Store
	statements *statements
}

func newBooks(t testing.TB) *books {
	t.Helper()
	config, err := pgxpool.ParseConfig(dbtest.URL(t))
	require.NoError(t, err)
	b := &books{statements: &statements{}}
	config.ConnConfig.Tracer = b.statements
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	for _, sql := range []string{
		`INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash) VALUES ('default', 1, 'test', 0, 'h')`,
		`INSERT INTO securities (id, tenant_id, symbol, name, asset_class, sector, currency, role)
			SELECT gen_random_uuid(), 'default', 'S' || n, 'Share ' || n, 'equity', 'Sector ' || n % 11, CASE n % 2 WHEN 0 THEN 'CHF' ELSE 'USD' END, 'holding'
			FROM generate_series(0, 999) AS n`,
		`UPDATE tenants SET calendar = 'S0'`,
		`INSERT INTO prices (tenant_id, security_id, date, revision, close)
			SELECT 'default', s.id, date '2005-01-03' + d, 1, 50 + (d * 7 + length(s.symbol) * 13) % 31
			FROM securities AS s CROSS JOIN generate_series(0, 259) AS d`,
		`INSERT INTO fx_rates (tenant_id, base, quote, date, revision, rate)
			SELECT 'default', 'USD', 'CHF', date '2005-01-03' + d, 1, 1.2 + (d % 17) * 0.01 FROM generate_series(0, 259) AS d`,
		`INSERT INTO pricing_packs (id, tenant_id, date, revision, hash, state)
			VALUES (gen_random_uuid(), 'default', date '2005-01-03' + 259, 1, 'h', 'fresh')`,
		`ANALYZE`,
	} {
		_, err := pool.Exec(t.Context(), sql)
		require.NoError(t, err)
	}

	b.db = store.New(pool, store.Options{})
	tracer := noop.NewTracerProvider().Tracer("")
	runtime, err := agents.New(agents.Config{}, []agent.Agent{analyst.New(b.db, b.db, analyst.Options{}), charts.New()},
		agents.Options{Registerer: prometheus.NewRegistry(), Metrics: agents.NewMetrics(prometheus.NewRegistry()), Tracer: tracer})
	require.NoError(t, err)
	dir := t.TempDir()
	definition, err := os.ReadFile("../../configs/patterns/portfolio_overview.json")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "portfolio_overview.json"), definition, 0o600))
	b.engine, err = patterns.New(dir, runtime, store.NewContexts(b.db), patterns.Options{Registerer: prometheus.NewRegistry(), Parallelism: 16})
	require.NoError(t, err)
	return b
}

// portfolio opens one that holds so many of the shares from the first day on.
func (b *books) portfolio(t testing.TB, positions int) string {
	t.Helper()
	p, err := b.db.CreatePortfolio(t.Context(), "default", portfolio.Portfolio{Name: fmt.Sprint(positions, " shares"), BaseCurrency: "CHF"})
	require.NoError(t, err)
	day := time.Date(2005, time.January, 3, 0, 0, 0, 0, time.UTC)
	txs := []portfolio.Transaction{
		{Date: day, Type: portfolio.Deposit, Currency: "CHF", Amount: decimal.NewFromInt(10_000_000)},
		{Date: day, Type: portfolio.FX, Symbol: "USD/CHF", Quantity: decimal.NewFromInt(4_000_000), Price: decimal.RequireFromString("1.2"), Currency: "CHF", Amount: decimal.NewFromInt(-4_800_000)},
	}
	for i := range positions {
		currency := "CHF"
		if i%2 == 1 {
			currency = "USD"
		}
		txs = append(txs, portfolio.Transaction{
			Date: day, Type: portfolio.Buy, Symbol: fmt.Sprint("S", i), Quantity: decimal.NewFromInt(10),
			Price: decimal.NewFromInt(60), Currency: currency, Amount: decimal.NewFromInt(-600),
		})
	}
	_, _, err = b.db.AppendTransactions(t.Context(), "default", p.ID, txs)
	require.NoError(t, err)
	return p.ID
}

// overview answers the pattern and says how many statements that took.
func (b *books) overview(t testing.TB, id string) (*patterns.Answer, int64) {
	t.Helper()
	before := b.statements.n.Load()
	answer, err := b.engine.Execute(t.Context(), patterns.Request{
		TenantID: "default", PatternID: "portfolio_overview", Inputs: map[string]any{"portfolio_id": id}, RequireFresh: true,
	})
	require.NoError(t, err)
	return answer, b.statements.n.Load() - before
}

// A request reads as many times for a thousand positions as for two.
func TestOverviewReadsAConstantNumberOfTimes(t *testing.T) {
	t.Parallel()
	b := newBooks(t)
	var counts []int64
	for _, positions := range []int{2, 30, 1000} {
		answer, n := b.overview(t, b.portfolio(t, positions))
		require.Contains(t, string(answer.Data), `"total_value":"`)
		require.NotEmpty(t, answer.Charts)
		counts = append(counts, n)
	}
	require.Equal(t, []int64{counts[0], counts[0], counts[0]}, counts)
	require.LessOrEqual(t, counts[0], int64(22), "ledger, securities and series for each of four steps, the pack and its quotes")
	t.Logf("%d statements", counts[0])
}

// BenchmarkOverviewUncached is portfolio_overview over 252 returns with all six steps computed, by the number of
// positions; PostgreSQL on the same processors.
func BenchmarkOverviewUncached(b *testing.B) {
	market := newBooks(b)
	for _, positions := range []int{10, 100, 1000} {
		id := market.portfolio(b, positions)
		b.Run(fmt.Sprint("positions=", positions), func(b *testing.B) {
			b.ReportAllocs()
			n := int64(0)
			for b.Loop() {
				_, n = market.overview(b, id)
			}
			b.ReportMetric(float64(n), "statements/op")
		})
	}
}
