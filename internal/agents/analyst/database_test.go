package analyst_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents"
	"github.com/dawsos/dawsos/internal/agents/agenttest"
	"github.com/dawsos/dawsos/internal/agents/analyst"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// counter counts statements.
type counter struct{ statements atomic.Int64 }

func (c *counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.statements.Add(1)
	return ctx
}

func (*counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// loaded is the sample data in PostgreSQL, and the pattern holding_deep_dive over it.
type loaded struct {
	counter      *counter
	pool         *pgxpool.Pool
	analyst      *analyst.Analyst
	contexts     *store.Contexts
	orchestrator *patterns.Orchestrator
	portfolioID  string
}

func newLoaded(t *testing.T) *loaded {
	t.Helper()
	config, err := pgxpool.ParseConfig(dbtest.URL(t))
	require.NoError(t, err)
	l := &loaded{counter: &counter{}}
	config.ConnConfig.Tracer = l.counter
	l.pool, err = pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(l.pool.Close)
	_, err = sample.Load(t.Context(), l.pool, sampleDir, nil)
	require.NoError(t, err)

	dir := t.TempDir()
	definition, err := os.ReadFile("../../../configs/patterns/holding_deep_dive.json")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "holding_deep_dive.json"), definition, 0o600))
	factors, err := loadFactors()
	require.NoError(t, err)
	db := store.New(l.pool, store.Options{})
	registry := prometheus.NewRegistry()
	l.analyst = analyst.New(db, db, analyst.Options{RiskFreeSeries: riskFreeName, Factors: factors})
	runtime, err := agents.New(agents.Config{}, []agent.Agent{l.analyst}, agents.Options{
		Registerer: registry, Metrics: agents.NewMetrics(registry),
	})
	require.NoError(t, err)
	l.contexts = store.NewContexts(db)
	l.orchestrator, err = patterns.New(dir, runtime, l.contexts, patterns.Options{Registerer: registry})
	require.NoError(t, err)
	require.NoError(t, l.pool.QueryRow(t.Context(), `SELECT id::text FROM portfolios WHERE name = 'Sample CHF'`).Scan(&l.portfolioID))
	return l
}

func (l *loaded) id(t *testing.T, symbol string) string {
	t.Helper()
	var id uuid.UUID
	require.NoError(t, l.pool.QueryRow(t.Context(), `SELECT id FROM securities WHERE tenant_id = 'default' AND symbol = $1`, symbol).Scan(&id))
	return id.String()
}

func (l *loaded) dive(t *testing.T, symbol string) (map[string]any, *patterns.Answer) {
	t.Helper()
	answer, err := l.orchestrator.Execute(t.Context(), patterns.Request{
		TenantID: store.DefaultTenant, PatternID: "holding_deep_dive", RequireFresh: true,
		Inputs: map[string]any{"portfolio_id": l.portfolioID, "security_id": l.id(t, symbol)},
	})
	require.NoError(t, err)
	var data map[string]any
	require.NoError(t, json.Unmarshal(answer.Data, &data))
	return data, answer
}

func TestHoldingDeepDive(t *testing.T) {
	t.Parallel()
	l := newLoaded(t)
	d := newDesk(t, demo)
	run := d.at(day(t, asof))

	data, answer := l.dive(t, "EMR")
	require.Empty(t, answer.Warnings)
	for _, s := range answer.Trace.Steps {
		require.Equal(t, patterns.StatusSuccess, s.Status, s.Capability)
	}
	require.Contains(t, answer.Trace.Sources, "prices:EMR")
	object := func(name string) map[string]any {
		o, ok := data[name].(map[string]any)
		require.True(t, ok, name)
		return o
	}
	// The database answers as the sample's files do.
	for name, question := range map[string]struct {
		capability string
		args       map[string]any
		fields     []string
	}{
		"position":      {"get_position_details", about("EMR", nil), []string{"quantity", "market_value", "weight", "unrealized_pnl", "lots"}},
		"position_perf": {"compute_position_return", about("EMR", nil), []string{"total_return", "volatility", "sharpe_ratio", "max_drawdown", "window"}},
		"contribution":  {"compute_portfolio_contribution", about("EMR", nil), []string{"contribution", "total_return", "costs", "positions"}},
		"currency_attr": {"compute_position_currency_attribution", about("EMR", nil), []string{"total_return", "contribution"}},
		"risk":          {"compute_position_risk", about("EMR", nil), []string{"beta", "var_95", "current_holdings"}},
	} {
		want, _ := d.ask(t, run, question.capability, question.args)
		for _, field := range question.fields {
			require.Equal(t, want[field], object(name)[field], "%s.%s", name, field)
		}
	}
	require.InDelta(t, 1, object("transactions")["total"], 0)
	require.Equal(t, []any{map[string]any{
		"field": "fundamentals", "missing": "fundamentals:EMR", "reason": "no provider's figures are stored that were known by 2007-05-08",
	}}, object("fundamentals")["insufficient_data"])
	require.Len(t, object("comparables")["comparables"], 2)

	// Once they are imported they are there: a later revision, and a pack that reads it.
	_, err := l.pool.Exec(t.Context(), `
		INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash)
		SELECT 'default', max(revision) + 1, 'test', 1, 'hash' FROM data_revisions WHERE tenant_id = 'default'`)
	require.NoError(t, err)
	_, err = l.pool.Exec(t.Context(), `
		INSERT INTO fundamentals (tenant_id, security_id, provider, metric, date, revision, period_end, value)
		SELECT 'default', $1::text::uuid, 'fmp', 'roe_5y', '2007-02-01', max(revision), '2006-12-31', 0.19
		FROM data_revisions WHERE tenant_id = 'default'`, l.id(t, "EMR"))
	require.NoError(t, err)
	again, same := l.dive(t, "EMR")
	require.Equal(t, answer.DataHash, same.DataHash, "the pack does not see the later revision: same bytes")
	require.Equal(t, data, again)
	_, err = l.pool.Exec(t.Context(), `
		INSERT INTO pricing_packs (id, tenant_id, date, revision, hash, state)
		SELECT gen_random_uuid(), 'default', '2007-05-08', max(revision), 'hash', 'fresh' FROM data_revisions WHERE tenant_id = 'default'`)
	require.NoError(t, err)
	data, _ = l.dive(t, "EMR")
	require.Empty(t, object("fundamentals")["insufficient_data"])
	require.Equal(t, []any{map[string]any{
		"provider": "fmp", "metric": "roe_5y", "value": 0.19, "date": "2007-02-01", "period_end": "2006-12-31",
	}}, object("fundamentals")["fundamentals"])

	// A bond has neither accounts nor peers of its kind.
	data, answer = l.dive(t, "SBI")
	require.Nil(t, data["fundamentals"])
	require.Nil(t, data["comparables"])
	require.Equal(t, patterns.StatusSkipped, answer.Trace.Steps[6].Status)
	require.Equal(t, patterns.StatusSkipped, answer.Trace.Steps[7].Status)
}

// The number of statements depends on the capability alone.
func TestStatements(t *testing.T) {
	t.Parallel()
	l := newLoaded(t)
	asked := map[string]map[string]any{
		"metrics.compute":                       {"portfolio_id": l.portfolioID, "metric": "twr_1y"},
		"metrics.history":                       {"portfolio_id": l.portfolioID},
		"get_position_details":                  {"portfolio_id": l.portfolioID, "security_id": l.id(t, "EMR")},
		"compute_position_return":               {"portfolio_id": l.portfolioID, "security_id": l.id(t, "EMR")},
		"compute_portfolio_contribution":        {"portfolio_id": l.portfolioID, "security_id": l.id(t, "EMR")},
		"compute_position_currency_attribution": {"portfolio_id": l.portfolioID, "security_id": l.id(t, "EMR")},
		"compute_position_risk":                 {"portfolio_id": l.portfolioID, "security_id": l.id(t, "EMR")},
		"get_transaction_history":               {"portfolio_id": l.portfolioID, "security_id": l.id(t, "EMR")},
		"get_security_fundamentals":             {"security_id": l.id(t, "EMR")},
		"get_comparable_positions":              {"security_id": l.id(t, "EMR")},
		"risk.compute_factor_exposures":         {"portfolio_id": l.portfolioID},
		"risk.get_factor_exposure_history":      {"portfolio_id": l.portfolioID, "lookback_weeks": 52},
		"risk.overlay_cycle_phases":             {"factor_exposures": map[string]any{"factors": []any{map[string]any{"name": "SPI", "beta": 1}}}, "stdc": phasesOf()},
	}
	// Six read the series of bills too, or the costs' rates.
	most := map[string]int64{"metrics.compute": 6, "compute_position_return": 6, "get_position_details": 6}
	run, err := l.contexts.Resolve(t.Context(), patterns.ContextQuery{TenantID: store.DefaultTenant, PortfolioID: l.portfolioID, RequireFresh: true})
	require.NoError(t, err)
	for _, c := range l.analyst.Capabilities() {
		args, ok := asked[c.Name]
		if !ok {
			continue
		}
		if slices.Contains(agenttest.Arguments(t, c), "pack_id") {
			args["pack_id"] = run.PricingPack.ID
		}
		before := l.counter.statements.Load()
		_, err := c.Run(t.Context(), agent.Request{Capability: c.Name, Args: args, Context: run})
		require.NoError(t, err, c.Name)
		statements := l.counter.statements.Load() - before
		require.LessOrEqual(t, statements, max(most[c.Name], 5), c.Name)
		t.Logf("%s: %d statements", c.Name, statements)
	}
}
