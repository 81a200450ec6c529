package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/packs"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store"
)

func addPrice(t *testing.T, pool *pgxpool.Pool, tenant, symbol, day string, revision int, value string) {
	t.Helper()
	exec(t, pool, `
		INSERT INTO prices (tenant_id, security_id, date, revision, close)
		SELECT tenant_id, id, $3::text::date, $4, $5::text::numeric FROM securities WHERE tenant_id = $1 AND symbol = $2`,
		tenant, symbol, day, revision, value)
}

func addRate(t *testing.T, pool *pgxpool.Pool, tenant, base, quote, day string, revision int, value string) {
	t.Helper()
	exec(t, pool, `INSERT INTO fx_rates (tenant_id, base, quote, date, revision, rate)
		VALUES ($1, $2, $3, $4::text::date, $5, $6::text::numeric)`, tenant, base, quote, day, revision, value)
}

func addMacro(t *testing.T, pool *pgxpool.Pool, tenant, series, day string, revision int, value float64) {
	t.Helper()
	exec(t, pool, `INSERT INTO macro_series (tenant_id, series, unit, frequency, origin)
		VALUES ($1, $2, 'percent', 'monthly', 'test') ON CONFLICT DO NOTHING`, tenant, series)
	exec(t, pool, `INSERT INTO macro_values (tenant_id, series, date, revision, value)
		VALUES ($1, $2, $3::text::date, $4, $5)`, tenant, series, day, revision, value)
}

func addPack(t *testing.T, pool *pgxpool.Pool, tenant, day string, revision int, state store.PackState) {
	t.Helper()
	exec(t, pool, `INSERT INTO pricing_packs (id, tenant_id, date, revision, hash, state)
		VALUES (gen_random_uuid(), $1, $2::text::date, $3, 'hash', $4)`, tenant, day, revision, string(state))
}

// A pack must give the same answer for ever: what is dated later or was learnt later is invisible.
func TestNothingLaterIsSeen(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	addPrice(t, pool, "default", "AAA", "2005-01-03", 1, "100.10")
	addPrice(t, pool, "default", "AAA", "2005-01-04", 1, "101.20")
	addPrice(t, pool, "default", "AAA", "2005-01-04", 2, "111.20") // correction
	addPrice(t, pool, "default", "AAA", "2005-01-06", 1, "103")
	addPrice(t, pool, "default", "AAA", "2005-01-03", 3, "90") // correction of an earlier day
	addRate(t, pool, "default", "USD", "CHF", "2005-01-03", 1, "1.1")
	addRate(t, pool, "default", "USD", "CHF", "2005-01-04", 2, "1.2")
	addMacro(t, pool, "default", "RATE", "2005-01-03", 1, 3)
	addMacro(t, pool, "default", "RATE", "2005-01-04", 2, 4)

	tests := map[string]struct {
		day      string
		revision int64
		price    string // "" when there is none
		priced   string
		rate     string
		series   []float64 // of AAA from 2005-01-01 on
		macro    []float64
	}{
		"before anything":            {day: "2005-01-02", revision: 3},
		"first day":                  {"2005-01-03", 1, "100.10", "2005-01-03", "1.1", []float64{100.1}, []float64{3}},
		"first revision":             {"2005-01-04", 1, "101.20", "2005-01-04", "1.1", []float64{100.1, 101.2}, []float64{3}},
		"second revision":            {"2005-01-04", 2, "111.20", "2005-01-04", "1.2", []float64{100.1, 111.2}, []float64{3, 4}},
		"third corrects the past":    {"2005-01-04", 3, "111.20", "2005-01-04", "1.2", []float64{90, 111.2}, []float64{3, 4}},
		"carried over a day without": {"2005-01-05", 1, "101.20", "2005-01-04", "1.1", []float64{100.1, 101.2}, []float64{3}},
		"a later day beats a later revision": {
			"2005-01-06", 3, "103", "2005-01-06", "1.2", []float64{90, 111.2, 103}, []float64{3, 4},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cut := portfolio.Cut{TenantID: "default", Date: date(t, tt.day), Revision: tt.revision}
			quotes, err := s.Quotes(t.Context(), cut, []string{"AAA", "BBB", "nothing"}, []string{"CHF"})
			require.NoError(t, err)
			set, err := s.Series(t.Context(), cut, portfolio.SeriesQuery{
				From: date(t, "2005-01-01"), Symbols: []string{"AAA", "BBB"}, Currencies: []string{"CHF"}, Macro: []string{"RATE"},
			})
			require.NoError(t, err)
			if tt.price == "" {
				require.Empty(t, quotes.Prices)
				require.Empty(t, quotes.FX)
				require.Empty(t, set.Prices)
				require.Empty(t, set.FX)
				require.Empty(t, set.Macro)
				return
			}
			require.Len(t, quotes.Prices, 1)
			require.Equal(t, tt.price, quotes.Prices["AAA"].Value.StringFixed(-quotes.Prices["AAA"].Value.Exponent()))
			require.Equal(t, date(t, tt.priced), quotes.Prices["AAA"].Date)
			require.Equal(t, tt.rate, quotes.FX["USD/CHF"].Value.String())
			require.Equal(t, tt.series, values(set.Prices["AAA"]))
			require.NotContains(t, set.Prices, "BBB")
			require.Equal(t, tt.macro, values(set.Macro["RATE"]))
		})
	}
}

func values(s portfolio.Series) []float64 {
	var v []float64
	for _, p := range s {
		v = append(v, p.Value)
	}
	return v
}

// A series begins with the value that is carried into From.
func TestSeriesBegin(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	for i, day := range []string{"2005-01-03", "2005-01-05", "2005-01-07"} {
		addPrice(t, pool, "default", "AAA", day, 1, fmt.Sprint(i+1))
		addRate(t, pool, "default", "USD", "CHF", day, 1, fmt.Sprint(i+1))
		addMacro(t, pool, "default", "RATE", day, 1, float64(i+1))
	}
	addPrice(t, pool, "default", "AAA", "2005-01-04", 2, "9") // beyond the cut's revision

	tests := map[string]struct {
		from string
		want []float64
	}{
		"before the first":      {"2004-12-31", []float64{1, 2, 3}},
		"on an observation":     {"2005-01-05", []float64{2, 3}},
		"between observations":  {"2005-01-06", []float64{2, 3}},
		"day of a hidden one":   {"2005-01-04", []float64{1, 2, 3}},
		"on the cut":            {"2005-01-08", []float64{3}},
		"after the cut":         {"2005-02-01", []float64{3}},
		"long before the epoch": {"1900-01-01", []float64{1, 2, 3}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, err := s.Series(t.Context(),
				portfolio.Cut{TenantID: "default", Date: date(t, "2005-01-08"), Revision: 1},
				portfolio.SeriesQuery{
					From: date(t, tt.from), Symbols: []string{"AAA"}, Currencies: []string{"USD"}, Macro: []string{"RATE"},
				})
			require.NoError(t, err)
			require.Equal(t, tt.want, values(set.Prices["AAA"]))
			require.Equal(t, tt.want, values(set.FX["USD/CHF"]))
			require.Equal(t, tt.want, values(set.Macro["RATE"]))
			require.Equal(t, date(t, "2005-01-07"), set.Macro["RATE"][len(tt.want)-1].Date)
		})
	}
}

func TestSeriesDatesBeforeTheEpoch(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	addMacro(t, pool, "default", "OLD", "1953-04-30", 1, 2.5)
	set, err := s.Series(t.Context(),
		portfolio.Cut{TenantID: "default", Date: date(t, "1960-01-01"), Revision: 1},
		portfolio.SeriesQuery{From: date(t, "1950-01-01"), Macro: []string{"OLD"}})
	require.NoError(t, err)
	require.Equal(t, portfolio.Series{{Date: date(t, "1953-04-30"), Value: 2.5}}, set.Macro["OLD"])
}

// TestCutAgainstModel compares random data read through random cuts with a loop over all rows.
func TestCutAgainstModel(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	rng := rand.New(rand.NewPCG(1, 2))
	start := date(t, "2005-01-01")
	type row struct {
		day      time.Time
		revision int64
		value    int64
	}
	var rows []row
	for i := range 40 {
		for revision := int64(1); revision <= 3; revision++ {
			if rng.IntN(3) == 0 {
				r := row{start.AddDate(0, 0, i), revision, 1 + rng.Int64N(1000)}
				rows = append(rows, r)
				addPrice(t, pool, "default", "AAA", r.day.Format(time.DateOnly), int(revision), fmt.Sprint(r.value))
			}
		}
	}
	for range 200 {
		cut := portfolio.Cut{
			TenantID: "default", Date: start.AddDate(0, 0, rng.IntN(45)-2), Revision: 1 + rng.Int64N(3),
		}
		from := start.AddDate(0, 0, rng.IntN(45)-2)

		best := map[time.Time]row{} // the highest revision of each day that the cut holds
		for _, r := range rows {
			if !r.day.After(cut.Date) && r.revision <= cut.Revision && r.revision > best[r.day].revision {
				best[r.day] = r
			}
		}
		var want portfolio.Series
		for _, r := range best {
			want = append(want, portfolio.Point{Date: r.day, Value: float64(r.value)})
		}
		slices.SortFunc(want, func(a, b portfolio.Point) int { return a.Date.Compare(b.Date) })

		quotes, err := s.Quotes(t.Context(), cut, []string{"AAA"}, nil)
		require.NoError(t, err)
		if len(want) == 0 {
			require.Empty(t, quotes.Prices)
		} else {
			last := want[len(want)-1]
			require.Equal(t, last.Date, quotes.Prices["AAA"].Date)
			require.True(t, decimal.NewFromFloat(last.Value).Equal(quotes.Prices["AAA"].Value))
		}
		for len(want) > 1 && !want[1].Date.After(from) {
			want = want[1:]
		}
		set, err := s.Series(t.Context(), cut, portfolio.SeriesQuery{From: from, Symbols: []string{"AAA"}})
		require.NoError(t, err)
		require.Equal(t, want, set.Prices["AAA"], "from %s, cut %+v", from, cut)
	}
}

func TestRatesOfACurrency(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	for _, p := range [][2]string{{"EUR", "USD"}, {"GBP", "USD"}, {"USD", "CHF"}, {"USD", "JPY"}, {"AUD", "NZD"}} {
		addRate(t, pool, "default", p[0], p[1], "2005-01-03", 1, "1.5")
	}
	cut := portfolio.Cut{TenantID: "default", Date: date(t, "2005-01-03"), Revision: 1}
	tests := map[string]struct {
		currencies, want []string
	}{
		"none":          {nil, nil},
		"unknown":       {[]string{"SEK"}, nil},
		"quote side":    {[]string{"CHF"}, []string{"USD/CHF"}},
		"base side":     {[]string{"AUD"}, []string{"AUD/NZD"}},
		"two with path": {[]string{"CHF", "EUR"}, []string{"EUR/USD", "USD/CHF"}},
		"hub":           {[]string{"USD"}, []string{"EUR/USD", "GBP/USD", "USD/CHF", "USD/JPY"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			quotes, err := s.Quotes(t.Context(), cut, nil, tt.currencies)
			require.NoError(t, err)
			set, err := s.Series(t.Context(), cut, portfolio.SeriesQuery{From: cut.Date, Currencies: tt.currencies})
			require.NoError(t, err)
			require.Len(t, quotes.FX, len(tt.want))
			require.Len(t, set.FX, len(tt.want))
			for _, p := range tt.want {
				require.Contains(t, quotes.FX, p)
				require.Contains(t, set.FX, p)
			}
		})
	}
}

func TestTenantsSeeOnlyTheirMarketData(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	addPrice(t, pool, "default", "AAA", "2005-01-03", 1, "1")
	addPrice(t, pool, "other", "AAA", "2005-01-03", 1, "2")
	addRate(t, pool, "other", "USD", "CHF", "2005-01-03", 1, "2")
	addMacro(t, pool, "other", "RATE", "2005-01-03", 1, 2)
	addPack(t, pool, "other", "2005-01-03", 1, store.PackFresh)

	cut := portfolio.Cut{TenantID: "default", Date: date(t, "2005-01-31"), Revision: 3}
	quotes, err := s.Quotes(t.Context(), cut, []string{"AAA"}, []string{"USD"})
	require.NoError(t, err)
	require.Equal(t, "1", quotes.Prices["AAA"].Value.String())
	require.Empty(t, quotes.FX)
	set, err := s.Series(t.Context(), cut, portfolio.SeriesQuery{
		From: cut.Date, Symbols: []string{"AAA"}, Currencies: []string{"USD"}, Macro: []string{"RATE"},
	})
	require.NoError(t, err)
	require.Equal(t, []float64{1}, values(set.Prices["AAA"]))
	require.Empty(t, set.FX)
	require.Empty(t, set.Macro)
	_, err = s.Resolve(t.Context(), patterns.ContextQuery{TenantID: "default"})
	require.Equal(t, fault.InsufficientData, fault.CodeOf(err))

	mine, err := s.Securities(t.Context(), portfolio.Cut{TenantID: "default", Revision: 1}, []string{"AAA"})
	require.NoError(t, err)
	theirs, err := s.Securities(t.Context(), portfolio.Cut{TenantID: "other", Revision: 1}, []string{"AAA"})
	require.NoError(t, err)
	require.NotEqual(t, mine["AAA"].ID, theirs["AAA"].ID)
}

func TestSecurities(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	got, err := s.Securities(t.Context(), portfolio.Cut{TenantID: "default", Revision: 1}, []string{"CAL", "nothing", "", "A\x00", "\xff"})
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, portfolio.Security{
		ID: got["CAL"].ID, Symbol: "CAL", Name: "CAL Inc.", AssetClass: "equity", Sector: "Tech",
		Currency: "CHF", Role: "holding",
	}, got["CAL"])
}

// A run never sees a pack of a later day: the original took the newest whatever was asked for.
func TestPackOfARun(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	addPack(t, pool, "default", "2005-01-03", 1, store.PackFresh)
	addPack(t, pool, "default", "2005-01-04", 1, store.PackStale)
	addPack(t, pool, "default", "2005-01-04", 2, store.PackFresh)
	addPack(t, pool, "default", "2005-01-05", 2, store.PackWarming)

	tests := map[string]struct {
		asof     string // "" for none
		date     string // "" when there is no pack
		revision int64
		state    store.PackState
		err      string
	}{
		"newest fresh":             {"", "2005-01-04", 2, store.PackFresh, ""},
		"first day":                {"2005-01-03", "2005-01-03", 1, store.PackFresh, ""},
		"highest revision":         {"2005-01-04", "2005-01-04", 2, store.PackFresh, ""},
		"in whatever state":        {"2005-01-05", "2005-01-05", 2, store.PackWarming, ""},
		"after the last":           {"2020-01-01", "2005-01-05", 2, store.PackWarming, ""},
		"before the first":         {"1990-01-01", "", 0, "", "no pricing pack on or before 1990-01-01; the first is 2005-01-03"},
		"the day before the first": {"2005-01-02", "", 0, "", "no pricing pack on or before 2005-01-02; the first is 2005-01-03"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asof *time.Time
			if tt.asof != "" {
				d := date(t, tt.asof)
				asof = &d
			}
			query := patterns.ContextQuery{TenantID: "default", Asof: asof}
			found, err := s.Resolve(t.Context(), query)
			if tt.err != "" {
				require.Equal(t, fault.InsufficientData, fault.CodeOf(err))
				require.Equal(t, tt.err, fault.Detail(err))
				return
			}
			require.NoError(t, err)
			require.Equal(t, date(t, tt.date), found.PricingPack.Date)
			require.Equal(t, tt.revision, found.PricingPack.Revision)
			require.Equal(t, "hash", found.PricingPack.Hash)

			query.RequireFresh = true
			_, err = s.Resolve(t.Context(), query)
			if tt.state == store.PackFresh {
				require.NoError(t, err)
				return
			}
			require.Equal(t, fault.PackNotFresh, fault.CodeOf(err))
			refused, ok := errors.AsType[*packs.NotFreshError](err)
			require.True(t, ok)
			require.Equal(t, tt.state, refused.Pack.State)
			require.ErrorContains(t, err, "is "+string(tt.state)+";")
			require.Nil(t, refused.EstimatedReady, "no nightly order has ended yet")
			require.Equal(t, tt.state == store.PackWarming, refused.RetryAfter > 0, "waiting helps")
		})
	}

	addPack(t, pool, "other", "2005-01-05", 1, store.PackError)
	_, err := s.Resolve(t.Context(), patterns.ContextQuery{TenantID: "other", RequireFresh: true})
	require.Equal(t, fault.PackNotFresh, fault.CodeOf(err))
	require.ErrorContains(t, err, "of 2005-01-05 is error;")
}

func TestPackHashNamesEverythingThatDeterminesIt(t *testing.T) {
	t.Parallel()
	day := date(t, "2005-01-03")
	hashes := map[string]bool{
		store.PackHash(day, 1, "a"):                  true,
		store.PackHash(day, 2, "a"):                  true,
		store.PackHash(day, 1, "b"):                  true,
		store.PackHash(day.AddDate(0, 0, 1), 1, "a"): true,
	}
	require.Len(t, hashes, 4)
	require.True(t, hashes[store.PackHash(day, 1, "a")])
}

// countingTracer counts statements.
type countingTracer struct{ statements atomic.Int64 }

func (c *countingTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.statements.Add(1)
	return ctx
}

func (*countingTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// The number of statements must not grow with the number of positions.
func TestStatementsAreConstant(t *testing.T) {
	t.Parallel()
	config, err := pgxpool.ParseConfig(dbtest.URL(t))
	require.NoError(t, err)
	tracer := &countingTracer{}
	config.ConnConfig.Tracer = tracer
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	s := store.New(pool, store.Options{})

	cut := portfolio.Cut{TenantID: "default", Date: date(t, "2005-01-03"), Revision: 1}
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprintf("S%d", i)
	}
	_, err = s.Quotes(t.Context(), cut, many, many)
	require.NoError(t, err)
	require.EqualValues(t, 2, tracer.statements.Swap(0))
	_, err = s.Series(t.Context(), cut, portfolio.SeriesQuery{
		From: cut.Date, Symbols: many, Currencies: many, Macro: many,
	})
	require.NoError(t, err)
	require.EqualValues(t, 3, tracer.statements.Swap(0))
}

// A pack sees a security as it was at the pack's revision, whatever was learnt later.
func TestSecuritiesHaveRevisions(t *testing.T) {
	t.Parallel()
	s, pool := setup(t)
	exec(t, pool, `UPDATE securities SET revision = 2, duration = 7.5 WHERE tenant_id = 'default' AND symbol = 'BBB'`)
	exec(t, pool, `INSERT INTO security_changes (security_id, tenant_id, revision, name, asset_class, sector, role)
		SELECT id, tenant_id, 3, 'Renamed', 'bond', 'Utilities', 'benchmark' FROM securities
		WHERE tenant_id = 'default' AND symbol IN ('AAA', 'BBB')`)
	at := func(revision int64) map[string]portfolio.Security {
		found, err := s.Securities(t.Context(), portfolio.Cut{TenantID: "default", Revision: revision}, []string{"AAA", "BBB"})
		require.NoError(t, err)
		return found
	}
	require.NotContains(t, at(1), "BBB")
	require.Equal(t, "AAA Inc.", at(2)["AAA"].Name)
	require.Equal(t, 7.5, *at(2)["BBB"].Duration)
	require.Nil(t, at(3)["BBB"].Duration)
	for _, symbol := range []string{"AAA", "BBB"} {
		changed := at(3)[symbol]
		require.Equal(t, []string{"Renamed", "bond", "Utilities", "benchmark", "USD"},
			[]string{changed.Name, changed.AssetClass, changed.Sector, changed.Role, changed.Currency})
	}
}
