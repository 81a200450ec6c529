package harvester_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/agents/agenttest"
	"github.com/dawsos/dawsos/internal/agents/harvester"
	"github.com/dawsos/dawsos/internal/agents/ratings"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/research"
	"github.com/dawsos/dawsos/internal/store"
	"github.com/dawsos/dawsos/pkg/agent"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	aaa = "11111111-1111-4111-8111-111111111111"
	bbb = "22222222-2222-4222-8222-222222222222"
)

// desk is the agents data_harvester and ratings over one database with two companies.
type desk struct {
	pool *pgxpool.Pool
	all  []agent.Capability
}

func newDesk(t *testing.T, change func(*research.NewsSettings)) desk {
	t.Helper()
	pool := dbtest.New(t)
	d := desk{pool: pool}
	for i, symbol := range []string{"AAA", "BBB"} {
		d.exec(t, `INSERT INTO securities (id, tenant_id, symbol, name, asset_class, sector, currency, role)
			VALUES ($1, 'default', $2, $2 || ' Inc.', 'equity', 'Tech', 'USD', 'holding')`, []string{aaa, bbb}[i], symbol)
	}
	d.exec(t, `INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash)
		SELECT 'default', revision, 'test', 0, 'hash' FROM generate_series(1, 3) AS revision`)
	settings, err := research.LoadNewsSettings(agenttest.Configs("analytics"))
	require.NoError(t, err)
	if change != nil {
		change(&settings)
	}
	model, err := research.LoadModel(agenttest.Configs("analytics"))
	require.NoError(t, err)
	db := store.New(pool, store.Options{})
	d.all = slices.Concat(harvester.New(db, settings).Capabilities(), ratings.New(db, model).Capabilities())
	return d
}

func (d desk) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	_, err := d.pool.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

func (d desk) figure(t *testing.T, id, provider, metric, day string, value float64) {
	t.Helper()
	d.exec(t, `INSERT INTO fundamentals (tenant_id, security_id, provider, metric, date, revision, period_end, value)
		VALUES ('default', $1, $2, $3, $4::text::date, 1, $4::text::date - 60, $5)`, id, provider, metric, day, value)
}

func (d desk) news(t *testing.T, id, at string, sentiment any, symbols ...string) {
	t.Helper()
	d.exec(t, `INSERT INTO news (tenant_id, id, revision, published_at, date, title, source, url, sentiment, symbols)
		VALUES ('default', $1, 1, $2::timestamptz, ($2::timestamptz AT TIME ZONE 'UTC')::date, $1, 'wire', '', $3, $4)`,
		id, at, sentiment, symbols)
}

// on is a run with an as-of day and a pack's.
func on(t *testing.T, asof, pack string) agent.Context {
	t.Helper()
	return agent.Context{
		TenantID: store.DefaultTenant, Asof: agenttest.Day(t, asof),
		PricingPack: agent.Pack{ID: agenttest.PackID, Date: agenttest.Day(t, pack), Revision: 3},
	}
}

// try asks as the runtime does, and decodes what comes into answer.
func (d desk) try(t *testing.T, c agent.Context, name string, args any, answer any) (agent.Result, error) {
	t.Helper()
	r, err := agenttest.Call(t, d.all, c, name, args)
	if err == nil {
		require.NoError(t, json.Unmarshal(agenttest.Bytes(t, r.Value), answer))
	}
	return r, err
}

// ask is try for an answer that must come, with the same bytes each time.
func (d desk) ask(t *testing.T, c agent.Context, name string, args any, answer any) agent.Result {
	t.Helper()
	require.Equal(t, agent.Pure, agenttest.Capability(t, d.all, name).Purity)
	_, r := agenttest.Ask(t, d.all, c, name, args)
	require.NoError(t, json.Unmarshal(agenttest.Bytes(t, r.Value), answer))
	return r
}

type lack struct{ Field, Missing, Reason string }

type report struct {
	Symbol   string
	Provider *string
	Asof     string
	Figures  []struct {
		Metric, Provider, Date string
		PeriodEnd              *string `json:"period_end"`
		Value                  float64
	}
	Insufficient []lack `json:"insufficient_data"`
}

func TestFundamentalsAreThoseKnownOnTheDay(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.figure(t, aaa, "fmp", "roe_5y", "2006-03-01", 0.1)
	d.figure(t, aaa, "fmp", "roe_5y", "2007-03-01", 0.2)
	d.figure(t, aaa, "own", "roe_5y", "2007-04-01", 0.3)
	run := on(t, "2007-05-08", "2007-05-08")

	var got report
	r := d.ask(t, run, "fundamentals.load", map[string]any{"security_id": strings.ToUpper(aaa), "provider": "fmp"}, &got)
	require.Equal(t, "AAA", got.Symbol)
	require.Equal(t, "fmp", *got.Provider)
	require.Len(t, got.Figures, 1)
	require.InDelta(t, 0.2, got.Figures[0].Value, 1e-12)
	require.Equal(t, "2006-12-31", *got.Figures[0].PeriodEnd)
	require.Equal(t, []agent.Source{{Name: "fundamentals:AAA", Asof: time.Date(2007, 3, 1, 0, 0, 0, 0, time.UTC)}}, r.Sources)

	got = report{}
	d.ask(t, run, "fundamentals.load", map[string]any{"security_id": aaa}, &got)
	require.Len(t, got.Figures, 2, "of all providers")
	require.Nil(t, got.Provider)
	for _, args := range []map[string]any{
		{"security_id": aaa, "provider": "fmp", "asof": "2006-12-31"}, {"security_id": aaa, "provider": "fmp", "asof": "2006-03-01"},
	} {
		got = report{}
		d.ask(t, run, "provider.fundamentals", args, &got)
		require.InDelta(t, 0.1, got.Figures[0].Value, 1e-12)
		require.Equal(t, args["asof"], got.Asof)
	}
	got = report{}
	r = d.ask(t, on(t, "2006-02-28", "2007-05-08"), "fundamentals.load", map[string]any{"security_id": aaa}, &got)
	require.Equal(t, []lack{{"figures", "fundamentals:AAA", "no fundamentals are stored that were known on 2006-02-28"}}, got.Insufficient)
	require.Empty(t, r.Sources)

	for args, code := range map[string]fault.Code{
		`{"security_id": "33333333-3333-4333-8333-333333333333"}`: fault.NotFound,
		`{"security_id": "` + aaa + `", "asof": "2007-05-09"}`:    fault.Invalid, // it looks ahead
		`{"security_id": "` + aaa + `", "asof": "yesterday"}`:     fault.Invalid,
		`{"security_id": 5}`: fault.Invalid,
		`{}`:                 fault.Invalid,
		`{"security_id": "` + aaa + `", "providr": "fmp"}`: fault.Invalid,
	} {
		_, err := d.try(t, run, "fundamentals.load", json.RawMessage(args), &got)
		require.Equal(t, code, fault.CodeOf(err), args)
	}
}

func TestStoredRatings(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.exec(t, `INSERT INTO ratings (tenant_id, security_id, metric, date, revision, score, source)
		VALUES ('default', $1, 'moat_score', '2007-03-01', 1, 7.50, 'desk')`, aaa)
	var got struct {
		Ratings      []struct{ Metric, Score, Date, Source string }
		Insufficient []lack `json:"insufficient_data"`
	}
	r := d.ask(t, on(t, "2007-05-08", "2007-05-08"), "provider.ratings", map[string]any{"security_id": aaa}, &got)
	require.Equal(t, "moat_score 7.5 2007-03-01 desk", fmt.Sprintf("%s %s %s %s", got.Ratings[0].Metric, got.Ratings[0].Score, got.Ratings[0].Date, got.Ratings[0].Source))
	require.Equal(t, "ratings:AAA", r.Sources[0].Name)
	d.ask(t, on(t, "2007-05-08", "2007-05-08"), "provider.ratings", map[string]any{"security_id": aaa, "asof": "2007-02-28"}, &got)
	require.Empty(t, got.Ratings)
	require.Equal(t, "ratings:AAA", got.Insufficient[0].Missing)
}

type found struct {
	Items        []struct{ ID string }
	Window       struct{ Start, End string }
	Truncated    bool
	Insufficient []lack `json:"insufficient_data"`
}

func (f found) ids() []string {
	var ids []string
	for _, i := range f.Items {
		ids = append(ids, i.ID)
	}
	return ids
}

func TestNewsAreSearched(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(s *research.NewsSettings) { s.MaxItems = 3 })
	symbols := map[string]any{"symbols": []string{"AAA", "AAA"}}
	var got found
	d.ask(t, on(t, "2007-05-08", "2007-05-08"), "news.search", symbols, &got)
	require.Equal(t, []lack{{"items", "news", "no news are stored up to 2007-05-08"}}, got.Insufficient)

	d.news(t, "friday", "2007-05-04T12:00:00Z", 0.5, "AAA")
	d.news(t, "monday", "2007-05-07T12:00:00Z", -0.5, "AAA", "BBB")
	d.news(t, "tuesday", "2007-05-08T23:59:59Z", nil, "BBB")
	d.news(t, "wednesday", "2007-05-09T00:00:00Z", 0.5, "AAA")
	for _, tt := range []struct {
		asof, pack string
		args       map[string]any
		ids        []string
		start, end string
		missing    int
	}{
		{"2007-05-08", "2007-05-08", symbols, nil, "2007-05-08T00:00:00Z", "2007-05-09T00:00:00Z", 0}, // others have news
		{"2007-05-08", "2007-05-08", map[string]any{"symbols": []string{"AAA"}, "lookback_hours": 36}, []string{"monday"}, "2007-05-07T12:00:00Z", "2007-05-09T00:00:00Z", 0},
		{"2007-05-08", "2007-05-08", map[string]any{"positions": []any{map[string]any{"symbol": "AAA", "weight": 1}, map[string]any{"symbol": "BBB"}}, "lookback_hours": 48}, []string{"tuesday", "monday"}, "2007-05-07T00:00:00Z", "2007-05-09T00:00:00Z", 0},
		// On a Sunday the run sees what its pack of Friday does.
		{"2007-05-06", "2007-05-04", symbols, []string{"friday"}, "2007-05-04T00:00:00Z", "2007-05-05T00:00:00Z", 0},
		{"2007-05-06", "2007-05-08", symbols, nil, "2007-05-06T00:00:00Z", "2007-05-07T00:00:00Z", 1}, // nothing of anything since Friday
		{"2007-05-08", "2007-05-08", map[string]any{"symbols": []string{}}, nil, "2007-05-08T00:00:00Z", "2007-05-09T00:00:00Z", 0},
	} {
		got = found{}
		d.ask(t, on(t, tt.asof, tt.pack), "news.search", tt.args, &got)
		require.Equal(t, tt.ids, got.ids(), "%v", tt)
		require.Equal(t, tt.start, got.Window.Start)
		require.Equal(t, tt.end, got.Window.End)
		require.Len(t, got.Insufficient, tt.missing)
		require.False(t, got.Truncated)
	}

	d.news(t, "one more", "2007-05-08T10:00:00Z", nil, "AAA")
	d.news(t, "and one", "2007-05-08T11:00:00Z", nil, "AAA")
	got = found{}
	r := d.ask(t, on(t, "2007-05-08", "2007-05-08"), "news.search", map[string]any{"symbols": []string{"AAA", "BBB"}, "lookback_hours": 48}, &got)
	require.True(t, got.Truncated)
	require.Equal(t, []string{"tuesday", "and one", "one more"}, got.ids())
	require.Len(t, r.Warnings, 1)
	require.Equal(t, "news", r.Sources[1].Name)
	require.Equal(t, time.Date(2007, 5, 8, 0, 0, 0, 0, time.UTC), r.Sources[1].Asof)

	for _, args := range []map[string]any{
		{},
		{"symbols": []string{"A"}, "positions": []any{}},
		{"symbols": []string{"A"}, "lookback_hours": 0},
		{"symbols": []string{"A"}, "lookback_hours": 8761},
		{"positions": []any{map[string]any{"weight": 1}}},
	} {
		_, err := d.try(t, on(t, "2007-05-08", "2007-05-08"), "news.search", args, &got)
		require.Equal(t, fault.Invalid, fault.CodeOf(err), "%v", args)
	}
}

type measured struct {
	Total *float64 `json:"total_impact"`
	Net   *float64 `json:"net_impact"`
	Items []struct{ ID string }
	Below struct {
		Items  int
		Impact float64
	} `json:"below_threshold"`
	Unjudged, Unweighted []struct{ ID string }
	Insufficient         []lack `json:"insufficient_data"`
}

func TestImpactOfNews(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	run := on(t, "2007-05-08", "2007-05-08")
	item := func(id string, sentiment any, symbols ...string) map[string]any {
		return map[string]any{"id": id, "published_at": "2007-05-08T10:00:00Z", "title": id, "sentiment": sentiment, "symbols": symbols}
	}
	valued := map[string]any{"total_value": "1", "positions": []any{
		map[string]any{"symbol": "AAA", "weight": 0.5, "price": "1"}, map[string]any{"symbol": "BBB", "weight": -0.1}, map[string]any{"symbol": "DARK", "weight": nil},
	}}
	args := func(truncated bool, lacks []any, items ...any) map[string]any {
		return map[string]any{
			"news_items":       map[string]any{"items": append([]any{}, items...), "truncated": truncated, "insufficient_data": lacks, "window": nil},
			"valued_positions": valued,
		}
	}
	var got measured
	r := d.ask(t, run, "news.compute_portfolio_impact", args(true, []any{},
		item("a", -0.8, "AAA"), item("b", 0.2, "BBB"), item("c", nil, "AAA"), item("d", 1, "DARK"), item("e", 1, "X")), &got)
	require.InDelta(t, 0.4+0.02, *got.Total, 1e-12)
	require.InDelta(t, -0.4-0.02, *got.Net, 1e-12)
	require.Equal(t, "a", got.Items[0].ID)
	require.Len(t, got.Items, 1)
	require.Equal(t, 1, got.Below.Items)
	require.InDelta(t, 0.02, got.Below.Impact, 1e-12)
	require.Equal(t, "c", got.Unjudged[0].ID)
	require.Equal(t, "d", got.Unweighted[0].ID)
	require.Len(t, r.Warnings, 2)

	got = measured{}
	d.ask(t, run, "news.compute_portfolio_impact", args(false, []any{}, item("c", nil, "AAA")), &got)
	require.Nil(t, got.Total)
	require.Equal(t, "news.sentiment", got.Insufficient[0].Missing)
	got = measured{}
	d.ask(t, run, "news.compute_portfolio_impact", args(false, []any{map[string]any{"field": "items", "missing": "news", "reason": "none"}}), &got)
	require.Nil(t, got.Total, "not zero: nobody knows")
	require.Equal(t, lack{"total_impact", "news", "none"}, got.Insufficient[0])
	got = measured{}
	d.ask(t, run, "news.compute_portfolio_impact", args(false, []any{}), &got)
	require.Zero(t, *got.Total)

	for _, broken := range []map[string]any{item("a", 1.5, "AAA"), {"id": "a", "published_at": "today", "title": "a", "sentiment": 1, "symbols": []string{}}} {
		_, err := d.try(t, run, "news.compute_portfolio_impact", args(false, []any{}, broken), &got)
		require.Equal(t, fault.Invalid, fault.CodeOf(err))
	}
}

type score struct {
	Score      *float64
	Components []struct {
		Name   string
		Score  *float64
		Weight float64
		Note   *string
		Asof   *string
	}
	Insufficient []lack `json:"insufficient_data"`
}

func TestRatingsTakeWhatFundamentalsAnswer(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.figure(t, aaa, "fmp", "roe_5y", "2007-03-01", 0.9)
	d.figure(t, aaa, "fmp", "total_equity", "2007-03-01", -5)
	run := on(t, "2007-05-08", "2007-05-08")
	var loaded map[string]any
	d.ask(t, run, "fundamentals.load", map[string]any{"security_id": aaa}, &loaded)
	var got score
	r := d.ask(t, run, "ratings.moat_strength", map[string]any{"security_id": aaa, "fundamentals": loaded}, &got)
	require.InDelta(t, 4.0, *got.Score, 1e-12)
	require.Contains(t, *got.Components[0].Note, "total_equity is -5")
	require.Equal(t, "2007-03-01", *got.Components[0].Asof)
	require.Len(t, got.Insufficient, 3)
	require.Equal(t, lack{"components.gross_margin.score", "fundamentals:AAA/gross_margin", "no figure is stored"}, got.Insufficient[0])
	require.Regexp(t, `^config:ratings\.yaml@`, r.Sources[0].Name)

	for name, args := range map[string]map[string]any{
		"another company's": {"security_id": bbb, "fundamentals": loaded},
		"none":              {"security_id": aaa},
		"a broken date":     {"security_id": aaa, "fundamentals": map[string]any{"security_id": aaa, "figures": []any{map[string]any{"metric": "m", "value": 1, "provider": "p", "date": "x"}}}},
	} {
		_, err := d.try(t, run, "ratings.overall", args, &got)
		require.Equal(t, fault.Invalid, fault.CodeOf(err), name)
	}
}

type aggregate struct {
	Overall     *float64
	Grade       *string
	Resilience  *float64
	RatedWeight float64 `json:"rated_weight"`
	Positions   []struct {
		Symbol   string
		Overall  *float64
		Excluded *string
	}
	Insufficient []lack `json:"insufficient_data"`
}

func TestAPortfolioIsRated(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	run := on(t, "2007-05-08", "2007-05-08")
	position := func(symbol, id string, weight any) map[string]any {
		return map[string]any{"symbol": symbol, "security_id": id, "weight": weight, "price": "1.00"}
	}
	all := map[string]any{"positions": []any{position("AAA", aaa, 0.6), position("BBB", bbb, 0.2)}}
	var got aggregate
	r := d.ask(t, run, "ratings.aggregate", all, &got)
	require.Nil(t, got.Overall)
	require.Nil(t, got.Grade)
	require.Len(t, got.Insufficient, 3, "both, and the portfolio")
	require.Len(t, r.Sources, 1)

	d.figure(t, aaa, "fmp", "debt_to_equity", "2007-03-01", 0.1) // 10
	d.figure(t, aaa, "own", "debt_to_equity", "2007-04-01", 3)   // 3, and newer
	d.figure(t, bbb, "fmp", "debt_to_equity", "2007-03-01", 0.6) // 8
	got = aggregate{}
	r = d.ask(t, run, "ratings.aggregate", all, &got)
	require.InDelta(t, (0.6*30+0.2*80)/0.8, *got.Overall, 1e-8)
	require.InDelta(t, (0.6*3+0.2*8)/0.8, *got.Resilience, 1e-8)
	require.Equal(t, "F", *got.Grade)
	require.InDelta(t, 0.8, got.RatedWeight, 1e-12)
	require.Equal(t, []agent.Source{
		{Name: "fundamentals:AAA", Asof: time.Date(2007, 4, 1, 0, 0, 0, 0, time.UTC)},
		{Name: "fundamentals:BBB", Asof: time.Date(2007, 3, 1, 0, 0, 0, 0, time.UTC)},
	}, r.Sources[:2])

	got = aggregate{}
	d.ask(t, run, "ratings.aggregate", map[string]any{"positions": []any{position("AAA", aaa, -0.6), position("BBB", bbb, nil)}, "provider": "fmp"}, &got)
	require.Nil(t, got.Overall)
	require.InDelta(t, 100.0, *got.Positions[0].Overall, 1e-12, "a good company")
	require.Equal(t, "it is not held long", *got.Positions[0].Excluded)
	require.Equal(t, "it has no weight", *got.Positions[1].Excluded)

	got = aggregate{}
	d.ask(t, run, "ratings.aggregate", map[string]any{"positions": []any{}}, &got)
	require.Empty(t, got.Positions)
	_, err := d.try(t, run, "ratings.aggregate", map[string]any{"positions": []any{map[string]any{"symbol": "A"}}}, &got)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
}
