package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/research"
)

func addFundamental(t *testing.T, pool *pgxpool.Pool, tenant, symbol, provider, metric, day string, revision int, value float64) {
	t.Helper()
	exec(t, pool, `
		INSERT INTO fundamentals (tenant_id, security_id, provider, metric, date, revision, period_end, value)
		SELECT tenant_id, id, $3, $4, $5::text::date, $6, $5::text::date - 30, $7 FROM securities WHERE tenant_id = $1 AND symbol = $2`,
		tenant, symbol, provider, metric, day, revision, value)
}

func addRating(t *testing.T, pool *pgxpool.Pool, tenant, symbol, metric, day string, revision int, score string) {
	t.Helper()
	exec(t, pool, `
		INSERT INTO ratings (tenant_id, security_id, metric, date, revision, score, source)
		SELECT tenant_id, id, $3, $4::text::date, $5, $6::text::numeric, 'desk' FROM securities WHERE tenant_id = $1 AND symbol = $2`,
		tenant, symbol, metric, day, revision, score)
}

func addNews(t *testing.T, pool *pgxpool.Pool, tenant, id string, revision int, at string, sentiment *float64, symbols ...string) {
	t.Helper()
	exec(t, pool, `
		INSERT INTO news (tenant_id, id, revision, published_at, date, title, source, url, sentiment, symbols)
		VALUES ($1, $2, $3, $4::text::timestamptz, ($4::text::timestamptz AT TIME ZONE 'UTC')::date, $2, 'wire', '', $5, $6)`,
		tenant, id, revision, at, sentiment, symbols)
}

func securityID(t *testing.T, pool *pgxpool.Pool, tenant, symbol string) string {
	t.Helper()
	var id uuid.UUID
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT id FROM securities WHERE tenant_id = $1 AND symbol = $2`, tenant, symbol).Scan(&id))
	return id.String()
}

func figures(list []research.Fundamental) []string {
	var s []string
	for _, f := range list {
		s = append(s, fmt.Sprintf("%s %s %s %s %g", f.Symbol, f.Provider, f.Metric, f.Date.Format(time.DateOnly), f.Value))
	}
	return s
}

func TestFundamentalsAreReadThroughTheCut(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	addFundamental(t, pool, "default", "AAA", "fmp", "roe_5y", "2005-03-01", 1, 0.1)
	addFundamental(t, pool, "default", "AAA", "fmp", "roe_5y", "2006-03-01", 1, 0.2)
	addFundamental(t, pool, "default", "AAA", "fmp", "roe_5y", "2006-03-01", 2, 0.25) // correction
	addFundamental(t, pool, "default", "AAA", "fmp", "current_ratio", "2005-03-01", 1, 1.5)
	addFundamental(t, pool, "default", "AAA", "own", "roe_5y", "2006-02-01", 1, 0.3)
	addFundamental(t, pool, "default", "BBB", "fmp", "roe_5y", "2005-03-01", 1, 0.4)
	addFundamental(t, pool, "other", "AAA", "fmp", "roe_5y", "2005-03-01", 1, 9)
	aaa, bbb := securityID(t, pool, "default", "AAA"), securityID(t, pool, "default", "BBB")

	for _, tt := range []struct {
		day      string
		revision int64
		provider string
		want     []string
	}{
		{"2005-02-28", 3, "", nil},
		{"2005-03-01", 1, "", []string{"AAA fmp current_ratio 2005-03-01 1.5", "AAA fmp roe_5y 2005-03-01 0.1"}},
		{"2006-03-01", 1, "fmp", []string{"AAA fmp current_ratio 2005-03-01 1.5", "AAA fmp roe_5y 2006-03-01 0.2"}},
		{"2006-03-01", 2, "", []string{
			"AAA fmp current_ratio 2005-03-01 1.5", "AAA fmp roe_5y 2006-03-01 0.25", "AAA own roe_5y 2006-02-01 0.3",
		}},
		{"2006-03-01", 2, "nobody\x00", nil},
	} {
		cut := portfolio.Cut{TenantID: "default", Date: date(t, tt.day), Revision: tt.revision}
		found, err := s.Fundamentals(t.Context(), cut, aaa, tt.provider)
		require.NoError(t, err)
		require.Equal(t, tt.want, figures(found), "%v", tt)
	}

	cut := portfolio.Cut{TenantID: "default", Date: date(t, "2006-12-31"), Revision: 1}
	found, err := s.FundamentalsOf(t.Context(), cut, []string{bbb, aaa, "no id", uuid.NewString()}, "fmp", []string{"roe_5y"})
	require.NoError(t, err)
	require.Equal(t, []string{"AAA fmp roe_5y 2006-03-01 0.2", "BBB fmp roe_5y 2005-03-01 0.4"}, figures(found))
	require.Equal(t, date(t, "2006-01-30"), found[0].PeriodEnd)
	require.Equal(t, aaa, found[0].SecurityID)
	none, err := s.Fundamentals(t.Context(), cut, securityID(t, pool, "other", "AAA"), "")
	require.NoError(t, err)
	require.Empty(t, none, "another tenant's security does not exist")
}

func TestSecuritiesByID(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	aaa := securityID(t, pool, "default", "AAA")
	exec(t, pool, `INSERT INTO security_changes (security_id, tenant_id, revision, name, asset_class, sector, role, duration)
		VALUES ($1, 'default', 2, 'AAA Corp.', 'bond', 'Rates', 'holding', 4.5)`, aaa)
	cut := portfolio.Cut{TenantID: "default", Date: date(t, "2006-12-31"), Revision: 1}
	before, err := s.SecurityByID(t.Context(), cut, aaa)
	require.NoError(t, err)
	require.Equal(t, portfolio.Security{
		ID: aaa, Symbol: "AAA", Name: "AAA Inc.", AssetClass: "equity", Sector: "Tech", Currency: "USD", Role: "holding",
	}, before)
	cut.Revision = 2
	after, err := s.SecurityByID(t.Context(), cut, aaa)
	require.NoError(t, err)
	bySymbol, err := s.Securities(t.Context(), cut, []string{"AAA"})
	require.NoError(t, err)
	require.Equal(t, bySymbol["AAA"], after, "as by symbol")
	require.InDelta(t, 4.5, *after.Duration, 1e-12)
	for _, id := range []string{"no id", uuid.NewString(), securityID(t, pool, "other", "AAA")} {
		_, err = s.SecurityByID(t.Context(), cut, id)
		require.Equal(t, fault.NotFound, fault.CodeOf(err), id)
	}
}

func TestRatingsAreReadThroughTheCut(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	addRating(t, pool, "default", "BBB", "moat_score", "2005-03-01", 1, "6")
	addRating(t, pool, "default", "AAA", "moat_score", "2005-03-01", 1, "7.5")
	addRating(t, pool, "default", "AAA", "moat_score", "2005-03-01", 2, "7")
	addRating(t, pool, "default", "AAA", "moat_score", "2006-03-01", 1, "8")
	addRating(t, pool, "default", "AAA", "dividend_safety", "2005-03-01", 1, "9")
	list := []string{securityID(t, pool, "default", "AAA"), securityID(t, pool, "default", "BBB"), securityID(t, pool, "other", "AAA")}
	for _, tt := range []struct {
		day      string
		revision int64
		want     string
	}{
		{"2005-02-28", 3, "[]"},
		{"2005-12-31", 1, "[AAA dividend_safety 9 AAA moat_score 7.5 BBB moat_score 6]"},
		{"2005-12-31", 2, "[AAA dividend_safety 9 AAA moat_score 7 BBB moat_score 6]"},
		{"2006-12-31", 2, "[AAA dividend_safety 9 AAA moat_score 8 BBB moat_score 6]"},
	} {
		found, err := s.Ratings(t.Context(), portfolio.Cut{TenantID: "default", Date: date(t, tt.day), Revision: tt.revision}, list)
		require.NoError(t, err)
		var words []string
		for _, r := range found {
			words = append(words, r.Symbol+" "+r.Metric+" "+r.Score.String())
		}
		require.Equal(t, tt.want, fmt.Sprint(words))
	}
}

func TestNewsAreReadThroughTheCut(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	addNews(t, pool, "default", "early", 1, "2007-05-06T23:59:59Z", nil, "AAA")
	addNews(t, pool, "default", "both", 1, "2007-05-07T10:00:00Z", new(-0.5), "AAA", "BBB")
	addNews(t, pool, "default", "late", 1, "2007-05-08T23:59:59Z", new(0.5), "BBB")
	addNews(t, pool, "default", "next day", 1, "2007-05-09T00:00:00Z", new(0.5), "AAA")
	addNews(t, pool, "default", "corrected", 1, "2007-05-07T09:00:00Z", new(0.9), "AAA")
	addNews(t, pool, "default", "corrected", 2, "2007-05-07T09:00:00Z", new(-0.9), "BBB") // it was about another one
	addNews(t, pool, "other", "other", 1, "2007-05-07T10:00:00Z", nil, "AAA")
	since := time.Date(2007, 5, 7, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		revision int64
		symbols  []string
		since    time.Time
		limit    int
		want     []string
	}{
		{1, []string{"AAA"}, since, 10, []string{"both", "corrected"}},
		{2, []string{"AAA"}, since, 10, []string{"both"}},
		{2, []string{"AAA", "BBB", "a\x00"}, since, 10, []string{"late", "both", "corrected"}},
		{2, []string{"AAA", "BBB"}, since, 2, []string{"late", "both"}},
		{1, []string{"AAA"}, since.Add(-time.Second), 10, []string{"both", "corrected", "early"}},
		{1, []string{"AAA"}, since.Add(10 * time.Hour), 10, []string{"both"}},
		{1, nil, since, 10, nil},
	} {
		cut := portfolio.Cut{TenantID: "default", Date: date(t, "2007-05-08"), Revision: tt.revision}
		items, err := s.News(t.Context(), cut, tt.symbols, tt.since, tt.limit)
		require.NoError(t, err)
		var found []string
		for _, n := range items {
			found = append(found, n.ID)
		}
		require.Equal(t, tt.want, found, "%v", tt)
	}
	cut := portfolio.Cut{TenantID: "default", Date: date(t, "2007-05-08"), Revision: 1}
	items, err := s.News(t.Context(), cut, []string{"AAA"}, since, 1)
	require.NoError(t, err)
	require.Equal(t, research.NewsItem{
		ID: "both", PublishedAt: time.Date(2007, 5, 7, 10, 0, 0, 0, time.UTC), Title: "both", Source: "wire",
		Sentiment: new(-0.5), Symbols: []string{"AAA", "BBB"},
	}, items[0])

	newest, err := s.NewestNews(t.Context(), cut)
	require.NoError(t, err)
	require.Equal(t, time.Date(2007, 5, 8, 23, 59, 59, 0, time.UTC), newest)
	cut.Date = date(t, "2007-05-01")
	newest, err = s.NewestNews(t.Context(), cut)
	require.NoError(t, err)
	require.True(t, newest.IsZero())
}
