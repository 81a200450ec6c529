package store_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/imports"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store"
)

// importSite is a database that files are imported into.
type importSite struct {
	t    *testing.T
	pool *pgxpool.Pool
	to   *store.Imports
	jobs []string // tenants that jobs were put in for
}

func newImportSite(t *testing.T) *importSite {
	t.Helper()
	s := &importSite{t: t, pool: dbtest.New(t)}
	s.to = store.NewImports(s.pool, store.ImportOptions{Enqueue: func(_ context.Context, _ pgx.Tx, tenantID string) error {
		s.jobs = append(s.jobs, tenantID)
		return nil
	}})
	return s
}

func (s *importSite) try(kind imports.Kind, body string, change ...func(*imports.Request)) (imports.Summary, error) {
	r := imports.Request{TenantID: store.DefaultTenant, Kind: kind, Format: imports.CSV, Body: strings.NewReader(body)}
	if strings.HasPrefix(body, "[") {
		r.Format = imports.JSON
	}
	for _, c := range change {
		c(&r)
	}
	return s.to.Import(s.t.Context(), r)
}

func (s *importSite) do(kind imports.Kind, body string, change ...func(*imports.Request)) imports.Summary {
	s.t.Helper()
	summary, err := s.try(kind, body, change...)
	require.NoError(s.t, err)
	return summary
}

// refused returns the problems of a file that is refused.
func (s *importSite) refused(kind imports.Kind, body string, change ...func(*imports.Request)) []fault.Field {
	s.t.Helper()
	before := s.fingerprint()
	_, err := s.try(kind, body, change...)
	require.Equal(s.t, fault.Invalid, fault.CodeOf(err), "%v", err)
	require.Equal(s.t, before, s.fingerprint(), "all rows or none")
	var e *fault.Error
	require.ErrorAs(s.t, err, &e)
	return e.Fields
}

func calendar(symbol string) func(*imports.Request) {
	return func(r *imports.Request) { r.Calendar = symbol }
}

func (s *importSite) fingerprint() string {
	s.t.Helper()
	var all strings.Builder
	for _, table := range []string{
		"tenants", "data_revisions", "securities", "security_changes", "prices", "fx_rates", "macro_series", "macro_values",
		"ratings", "fundamentals", "news", "pricing_packs", "audit_log",
	} {
		all.WriteString(importValue[string](s, "SELECT count(*) || md5(coalesce(string_agg(r::text, E'\\n' ORDER BY r::text), '')) FROM "+table+" AS r"))
	}
	return all.String()
}

func importValue[T any](s *importSite, sql string, args ...any) T {
	s.t.Helper()
	var v T
	require.NoError(s.t, s.pool.QueryRow(s.t.Context(), sql, args...).Scan(&v))
	return v
}

// packs lists the packs as "date/revision state".
func (s *importSite) packs() []string {
	s.t.Helper()
	return importValue[[]string](s, `SELECT coalesce(array_agg(date || '/' || revision || ' ' || state ORDER BY date, revision), '{}') FROM pricing_packs`)
}

const listed = `symbol,name,asset_class,sector,currency,role
IDX,Index,equity,Broad,CHF,benchmark
AAA,A,equity,Industrials,CHF,holding
BBB,B,bond,,USD,holding
`

const closes = `symbol,date,close,currency
IDX,2020-01-02,100,CHF
IDX,2020-01-03,101,CHF
IDX,2020-01-06,102.5,CHF
AAA,2020-01-03,10,CHF
`

func TestImportLife(t *testing.T) {
	t.Parallel()
	s := newImportSite(t)
	require.Equal(t, imports.Summary{Revision: 1, Source: "import", Rows: 3, Inserted: 3}, s.do(imports.Securities, listed))
	require.Empty(t, s.packs(), "new securities make no packs")
	require.Equal(t, store.StableID(store.DefaultTenant, "security", "AAA").String(),
		importValue[string](s, `SELECT id::text FROM securities WHERE symbol = 'AAA'`))

	require.Equal(t, imports.Summary{
		Revision: 2, Source: "six", Rows: 4, Inserted: 4, FirstDate: new(date(t, "2020-01-02")), LastDate: new(date(t, "2020-01-06")),
		Packs: imports.Packs{Made: 3},
	}, s.do(imports.Prices, closes, calendar("IDX"), func(r *imports.Request) { r.Source = "six" }))
	require.Equal(t, []string{"2020-01-02/2 warming", "2020-01-03/2 warming", "2020-01-06/2 warming"}, s.packs())
	require.Equal(t, []string{store.DefaultTenant}, s.jobs)

	// Again: nothing happens.
	before := s.fingerprint()
	require.Equal(t, imports.Summary{
		Revision: 2, Source: "import", Rows: 4, Unchanged: 4, FirstDate: new(date(t, "2020-01-02")), LastDate: new(date(t, "2020-01-06")),
	}, s.do(imports.Prices, closes))
	require.Equal(t, before, s.fingerprint())
	require.Len(t, s.jobs, 1)

	// A correction, a new day and an old row: packs from the earliest of the first two on.
	require.Equal(t, imports.Summary{
		Revision: 3, Source: "import", Rows: 3, Inserted: 1, Changed: 1, Unchanged: 1,
		FirstDate: new(date(t, "2020-01-02")), LastDate: new(date(t, "2020-01-07")), Packs: imports.Packs{Made: 3, Stale: 2},
	}, s.do(imports.Prices, `[
		{"symbol": "IDX", "date": "2020-01-02", "close": 100.00, "currency": "CHF"},
		{"symbol": "IDX", "date": "2020-01-03", "close": "101.1", "currency": "CHF"},
		{"symbol": "IDX", "date": "2020-01-07", "close": 103, "currency": "CHF", "volume": 12}
	]`))
	require.Equal(t, []string{
		"2020-01-02/2 warming", "2020-01-03/2 stale", "2020-01-03/3 warming", "2020-01-06/2 stale", "2020-01-06/3 warming",
		"2020-01-07/3 warming",
	}, s.packs())

	// A pack still reads what it read, and the new one the correction.
	db := store.New(s.pool, store.Options{})
	for revision, want := range map[int64]string{2: "101", 3: "101.1"} {
		quotes, err := db.Quotes(t.Context(), portfolio.Cut{TenantID: store.DefaultTenant, Date: date(t, "2020-01-03"), Revision: revision}, []string{"IDX"}, nil)
		require.NoError(t, err)
		require.Equal(t, want, quotes.Prices["IDX"].Value.String())
	}

	// Securities that change have no date, those that are new reach no pack.
	summary := s.do(imports.Securities, "symbol,name,asset_class,sector,currency,role,duration,first_date\nAAA,A,equity,Industrials,CHF,holding,,2020-01-01\nCCC,C,bond,,CHF,holding,5,\n")
	require.Equal(t, imports.Summary{Revision: 4, Source: "import", Rows: 2, Inserted: 1, Unchanged: 1}, summary)
	summary = s.do(imports.Securities, "symbol,name,asset_class,sector,currency,role\nAAA,Alpha,equity,Industrials,CHF,holding\nCCC,C,bond,,CHF,holding\n")
	require.Equal(t, imports.Summary{Revision: 5, Source: "import", Rows: 2, Changed: 1, Unchanged: 1, Packs: imports.Packs{Made: 4, Stale: 4}}, summary)
	for revision, want := range map[int64]string{4: "A", 5: "Alpha"} {
		found, err := db.Securities(t.Context(), portfolio.Cut{TenantID: store.DefaultTenant, Revision: revision}, []string{"AAA", "CCC"})
		require.NoError(t, err)
		require.Equal(t, want, found["AAA"].Name)
		require.InDelta(t, 5.0, *found["CCC"].Duration, 0)
	}
	// Attributes that go back to what they were are a change too.
	require.Equal(t, int64(1), s.do(imports.Securities, listed).Changed)

	// The hashes chain, and differ.
	require.Equal(t, int64(6), importValue[int64](s, `SELECT count(DISTINCT content_hash) FROM data_revisions`))
	require.Equal(t, store.PackHash(date(t, "2020-01-06"), 3, importValue[string](s, `SELECT content_hash FROM data_revisions WHERE revision = 3`)),
		importValue[string](s, `SELECT hash FROM pricing_packs WHERE date = '2020-01-06' AND revision = 3`))
	require.Equal(t, int64(6), importValue[int64](s, `SELECT count(*) FROM audit_log WHERE action = 'import' AND subject = 'data_revision'`))
}

func TestImportEveryKind(t *testing.T) {
	t.Parallel()
	s := newImportSite(t)
	s.do(imports.Securities, listed)
	s.do(imports.Prices, closes, calendar("IDX"))
	tests := []struct {
		kind            imports.Kind
		first, again    string
		inserted, stale int64
		check, want     string
	}{
		{
			imports.FX, "date,base,quote,rate\n2020-01-03,USD,CHF,0.97\n2020-01-06,USD,CHF,0.98\n", "quote,base,date,rate\nCHF,USD,2020-01-06,0.981\n",
			2, 1, `SELECT string_agg(rate::text, ' ' ORDER BY date, revision) FROM fx_rates`, "0.97 0.98 0.981",
		},
		{
			imports.Macro, "series,date,value,unit,frequency\nDEBT,2019-09-30,1.5,percent of GDP,quarterly\nDEBT,2019-12-31,-2e-3,,\n",
			"series,date,value\nDEBT,2019-12-31,7\n", 2, 3,
			`SELECT string_agg(concat_ws(' ', unit, frequency, origin, value), '; ' ORDER BY date, revision) FROM macro_values JOIN macro_series USING (tenant_id, series)`,
			"percent of GDP quarterly import 1.5; percent of GDP quarterly import -0.002; percent of GDP quarterly import 7",
		},
		{
			imports.Ratings, "symbol,metric,date,score,source\nAAA,moat_score,2020-01-01,7.50,desk\n",
			`[{"symbol": "AAA", "metric": "moat_score", "date": "2020-01-01", "score": 8, "source": null}]`, 1, 3,
			`SELECT string_agg(concat_ws(' ', score, source), '; ' ORDER BY revision) FROM ratings`, "7.5 desk; 8 ",
		},
		{
			imports.Fundamentals, "symbol,provider,metric,date,period_end,value\nAAA,fmp,roe,2020-01-05,2019-12-31,0.21\n",
			"symbol,provider,metric,date,period_end,value\nAAA,fmp,roe,2020-01-05,,0.21\n", 1, 1,
			`SELECT string_agg(concat_ws(' ', value, period_end), '; ' ORDER BY revision) FROM fundamentals`, "0.21 2019-12-31; 0.21",
		},
		{
			imports.News, "id,published_at,title,source,url,sentiment,symbols\nn1,2020-01-04T23:30:00-02:00,\"A, B\nand C\",wire,https://news.example/1,-0.5,BBB;AAA\n",
			// It was published a day before: the packs of the day before have it.
			`[{"id": "n1", "published_at": "2020-01-03T10:00:00Z", "title": "A\tB", "source": "wire", "symbols": []}]`, 1, 2,
			`SELECT string_agg(concat_ws(' ', date, title, sentiment, symbols), '; ' ORDER BY revision) FROM news`,
			"2020-01-05 A, B\nand C -0.5 {AAA,BBB}; 2020-01-03 A\tB {}",
		},
	}
	for _, tt := range tests { // one after the other: revisions count up
		summary := s.do(tt.kind, tt.first)
		require.Equal(t, tt.inserted, summary.Inserted, tt.kind)
		require.Equal(t, tt.inserted, s.do(tt.kind, tt.first).Unchanged, tt.kind)
		summary = s.do(tt.kind, tt.again)
		require.Equal(t, []int64{0, 1, 0, tt.stale, tt.stale},
			[]int64{summary.Inserted, summary.Changed, summary.Unchanged, summary.Packs.Made, summary.Packs.Stale}, tt.kind)
		require.Equal(t, tt.want, importValue[string](s, tt.check), tt.kind)
	}
	require.Equal(t, int64(2+2*len(tests)), importValue[int64](s, `SELECT count(DISTINCT content_hash) FROM data_revisions`))
}

func TestImportBars(t *testing.T) {
	t.Parallel()
	s := newImportSite(t)
	s.do(imports.Securities, listed)
	bars := "symbol,date,open,high,low,close,volume,currency\nIDX,2020-01-02,99,101,98.5,100,1200,CHF\nIDX,2020-01-03,,,,101,,CHF\n"
	s.do(imports.Prices, bars, calendar("IDX"))
	one := `SELECT concat_ws(' ', open, high, low, close, volume) FROM prices WHERE date = '2020-01-02' ORDER BY revision DESC LIMIT 1`
	require.Equal(t, "99 101 98.5 100 1200", importValue[string](s, one))
	require.Equal(t, int64(1), s.do(imports.Prices, "symbol,date,close,currency\nIDX,2020-01-02,100.0,CHF\n").Unchanged, "a close alone leaves its bar")
	require.Equal(t, int64(1), s.do(imports.Prices, "symbol,date,close,currency\nIDX,2020-01-02,103,CHF\n").Changed)
	require.Equal(t, "103", importValue[string](s, one), "the bar was of another close")
	require.Equal(t, int64(1), s.do(imports.Prices, bars).Changed)
	require.Equal(t, int64(1), s.do(imports.Prices, "symbol,date,close,currency,volume\nIDX,2020-01-02,100,CHF,\n").Changed, "emptied")
	require.Equal(t, "100", importValue[string](s, one))
}

func TestImportNamesEveryBadRow(t *testing.T) {
	t.Parallel()
	s := newImportSite(t)
	s.do(imports.Securities, listed)
	s.do(imports.Prices, closes, calendar("IDX"))
	s.do(imports.Macro, "series,date,value,frequency\nCPI,2020-01-01,1,monthly\n")
	tests := map[string]struct {
		kind imports.Kind
		body string
		want []string
	}{
		"prices": {imports.Prices, `symbol,date,close,currency
AAA,2020-02-03,10,CHF
AAA,2020-02-03,11,CHF
XXX,2020-02-04,NaN,CHF
AAA,2020-02-30,Infinity,CHF
AAA,1492-10-12,1e400000000,CHF
AAA,2020-02-05,-1,USD
AAA,2020-02-05,1,USD
AAA,2020-02-06
"AAA,2020-02-07,1,CHF
`, []string{
			"/3/date line 3, date: line 2 has the same symbol, date",
			"/4/symbol line 4, symbol: XXX is the symbol of no listed security; import securities first",
			"/4/close line 4, close: must be a decimal number of at most 20 digits before and 20 behind the point",
			"/5/date line 5, date: must be a day, YYYY-MM-DD",
			"/5/close line 5, close: must be a decimal number of at most 20 digits before and 20 behind the point",
			"/6/date line 6, date: must lie between 1800-01-01 and 2199-12-31",
			"/6/close line 6, close: must be a decimal number of at most 20 digits before and 20 behind the point",
			"/7/close line 7, close: must be more than 0",
			"/8/currency line 8, currency: is not the security's, which is CHF",
			"/9 line 9: has 2 fields, not 4",
			`/10 line 10: can't be read: extraneous or missing " in quoted-field`,
		}},
		"JSON": {imports.Prices, `[{"symbol": "AAA", "date": "2020-02-03", "close": true, "currency": 7},
			{"symbol": "AAA", "date": "2020-02-03", "close": 1, "close": 2, "currency": "CHF"},
			{"symbol": "AAA", "date": "2020-02-03", "close": 1, "currency": "CHF", "a/b": 1},
			5, {"symbol": "AAA", "date": "2020-02-04", "close": 1e-21, "currency": "CHF"},
			{"symbol": "AAA", "date": "2020-02-04", "currency": null}, {"symbol": "AAA"`, []string{
			"/0/close row 1, close: must be a number, or a string that holds one",
			"/0/currency row 1, currency: must be a string",
			"/1/close row 2, close: stands twice",
			"/2/a~1b row 3, a~1b: is no column; the columns are symbol, date, close, currency, open, high, low, volume",
			"/3 row 4: must be an object",
			"/4/close row 5, close: must be a decimal number of at most 20 digits before and 20 behind the point",
			"/5/close row 6, close: must not be empty",
			"/5/currency row 6, currency: must not be empty",
			"/6 row 7: the array has no end",
		}},
		"bars": {imports.Prices, "symbol,date,close,currency,open,high,low,volume\nAAA,2020-02-03,10,CHF,9,11,12,1\nAAA,2020-02-04,10,CHF,9,11,9.5,1\nAAA,2020-02-05,10,CHF,,9.99,,-1\nAAA,2020-02-06,10,CHF,,9.99,,1\n", []string{
			"/2/low line 2, low: must not be above high",
			"/3/open line 3, open: must lie between low and high",
			"/4/volume line 4, volume: must not be negative",
			"/5/close line 5, close: must lie between low and high",
		}},
		"securities": {imports.Securities, "symbol,name,asset_class,sector,currency,role,duration,convexity\nAAA,A,equity,,USD,holding,,\nA B,x,y,z,chf,owner,-1,nan\nD,D,bond,,CHF,holding,1,1\nD,D,bond,,CHF,holding,1,1\n", []string{
			"/2/currency line 2, currency: AAA is listed in CHF, and a security's currency never changes",
			"/3/symbol line 3, symbol: must be visible ASCII characters without spaces, commas, semicolons, quotes and backslashes",
			"/3/currency line 3, currency: must be an ISO 4217 code such as CHF",
			"/3/role line 3, role: must be one of holding, benchmark",
			"/3/duration line 3, duration: must not be negative",
			"/3/convexity line 3, convexity: must be a decimal number of at most 20 digits before and 20 behind the point",
			"/5/symbol line 5, symbol: line 4 has the same symbol",
		}},
		"macro": {imports.Macro, "series,date,value,unit,frequency\nCPI,2020-02-01,0x1p-2,,annual\nCPI,2020-02-01,1,points,annual\nNEW,2020-02-01,1,,\nDAY,2020-02-01,1,a,\nDAY,2020-02-02,1,b,\n", []string{
			"/2/value line 2, value: must be a finite number",
			"/3/frequency line 3, frequency: the series CPI is declared with monthly",
			"/3/unit line 3, unit: the series CPI is declared with ",
			"/4/frequency line 4, frequency: the series NEW is new, and one date does not show its frequency: give it",
			"/6/unit line 6, unit: the series DAY is declared with a",
		}},
		"news": {imports.News, `[{"id": "1", "published_at": "2020-01-03", "title": "\u0000", "source": "", "url": "javascript:1", "sentiment": 1.1, "symbols": ["AAA", 5]},
			{"id": "2", "published_at": "2020-01-03T00:00:00Z", "title": "t", "source": "", "symbols": ["AAA", "ZZZ"]}]`, []string{
			"/0/published_at row 1, published_at: must be a time with its offset, such as 2026-03-02T09:30:00Z (RFC 3339)",
			"/0/title row 1, title: must be valid UTF-8 without NUL characters",
			"/0/url row 1, url: must be an http or https address of at most 2048 bytes",
			"/0/sentiment row 1, sentiment: must be a number from -1 to 1",
			"/0/symbols row 1, symbols: must be a list of symbols",
			"/1/symbols row 2, symbols: ZZZ is the symbol of no listed security; import securities first",
		}},
		"fx":           {imports.FX, "date,base,quote,rate\n2020-01-02,CHF,CHF,1\n2020-01-02,CHF,,0\n", []string{"/2/quote line 2, quote: must be another currency than the base", "/3/quote line 3, quote: must not be empty", "/3/rate line 3, rate: must be more than 0"}},
		"ratings":      {imports.Ratings, "symbol,metric,date,score,source\nAAA,moat,2020-01-02,10.01,\n", []string{"/2/metric line 2, metric: must be one of quality_score, moat_score, balance_sheet_score, management_score, valuation_score, dividend_safety, overall_rating", "/2/score line 2, score: must be a decimal number from 0 to 10"}},
		"fundamentals": {imports.Fundamentals, "symbol,provider,metric,date,period_end,value\nAAA,p,m,2020-01-02,2020-01-03,1\n", []string{"/2/period_end line 2, period_end: must not be later than date, the day from which the figure is known"}},
		"header":       {imports.FX, "date,base,rate,rte,rate\n", []string{"/1/rte line 1: is no column; the columns are date, base, quote, rate", "/1/rate line 1: stands twice", "/1/quote line 1: the column is missing"}},
		"no rows":      {imports.FX, "date,base,quote,rate\n", []string{}},
	}
	for name, tt := range tests {
		s.t.Run(name, func(t *testing.T) {
			got := []string{}
			for _, f := range s.refused(tt.kind, tt.body) {
				got = append(got, f.Pointer+" "+f.Detail)
			}
			require.Equal(t, tt.want, got)
		})
	}
}

// What a provider says about series describes those that are new. About others it is no reason to refuse data: a
// unit names the base of a rebased index, and somebody may have imported the series by hand before. Another
// frequency is another series: it is left out, and the others come in all the same.
func TestImportOfAProviderKeepsDescriptions(t *testing.T) {
	t.Parallel()
	s := newImportSite(t)
	fetched := func(r *imports.Request) { r.Source, r.Fetched = "fred", true }
	s.do(imports.Macro, "series,date,value,frequency\nGDPC1,2020-03-31,1,quarterly\nBOND,2020-01-02,1,daily\n")
	const rows = `series,date,value,unit,frequency,origin
GDPC1,2020-03-31,2,Billions of Chained 2026 Dollars,quarterly,FRED
GDPC1,2020-06-30,3,Billions of Chained 2026 Dollars,quarterly,FRED
BOND,2020-01-31,5,Percent,monthly,FRED
BOND,2020-02-29,6,Percent,monthly,FRED
UNRATE,2020-01-31,7,Percent,monthly,FRED
`
	require.Equal(t, imports.Summary{
		Revision: 2, Source: "fred", Rows: 3, Inserted: 2, Changed: 1, FirstDate: new(date(t, "2020-01-31")), LastDate: new(date(t, "2020-06-30")),
		LeftOut: []string{"the series BOND is declared with daily and comes with monthly"},
	}, s.do(imports.Macro, rows, fetched))
	require.Equal(t, []string{"BOND  daily import", "GDPC1  quarterly import", "UNRATE Percent monthly FRED"},
		importValue[[]string](s, `SELECT array_agg(concat_ws(' ', series, unit, frequency, origin) ORDER BY series) FROM macro_series`),
		"old packs have read what is stored")
	require.Equal(t, 1, importValue[int](s, `SELECT count(*) FROM macro_values WHERE series = 'BOND'`))

	again := s.do(imports.Macro, rows, fetched)
	require.EqualValues(t, 3, again.Unchanged)
	require.Len(t, again.LeftOut, 1)
	only := s.do(imports.Macro, "series,date,value,frequency\nBOND,2020-01-31,5,monthly\n", fetched)
	require.Zero(t, only.Rows)
	require.Len(t, only.LeftOut, 1)

	// From anybody else it may be the wrong file.
	require.Len(t, s.refused(imports.Macro, rows), 10, "units and origins too")
}

// A day to come has no price: a slip of the year would make a pack that every run takes for the newest, and
// rows can't be taken back.
func TestImportRefusesPricesOfDaysToCome(t *testing.T) {
	t.Parallel()
	s := newImportSite(t)
	now := time.Date(2020, 1, 6, 23, 0, 0, 0, time.UTC)
	s.to = store.NewImports(s.pool, store.ImportOptions{Now: func() time.Time { return now }})
	s.do(imports.Securities, listed)
	s.do(imports.Prices, closes, calendar("IDX"))
	const says = "date: must not be after 2020-01-07, tomorrow (UTC)"
	for kind, body := range map[imports.Kind]string{
		imports.Prices: "symbol,date,close,currency\nIDX,2020-01-07,100,CHF\nIDX,2020-01-08,100,CHF\nIDX,2107-05-08,100,CHF\n",
		imports.FX:     "date,base,quote,rate\n2020-01-07,USD,CHF,0.9\n2020-01-08,USD,CHF,0.9\n2107-05-08,USD,CHF,0.9\n",
	} {
		var got []string
		for _, f := range s.refused(kind, body) {
			got = append(got, f.Pointer+" "+f.Detail)
		}
		require.Equal(t, []string{"/3/date line 3, " + says, "/4/date line 4, " + says}, got, kind)
	}
	now = now.Add(2 * time.Hour)
	s.do(imports.Prices, "symbol,date,close,currency\nIDX,2020-01-08,100,CHF\n")

	// Projections are dated by the period that they are about, and so is one that is not over yet.
	s.do(imports.Macro, "series,date,value,frequency\nGDPPOT,2030-12-31,1,annual\n")
}

func TestImportListsTheFirstProblems(t *testing.T) {
	t.Parallel()
	s := newImportSite(t)
	body := "date,base,quote,rate\n" + strings.Repeat("2020-01-02,USD,CHF,1\n", 250) + strings.Repeat("x,USD,CHF,0\n", 3)
	_, err := s.try(imports.FX, body)
	refused := &imports.RefusedError{}
	require.ErrorAs(t, err, &refused)
	require.Equal(t, []int64{249 + 6, 249 + 3}, []int64{refused.Total, refused.Rows})
	require.Len(t, refused.First, 100)
	require.Equal(t, "nothing was imported: 255 problems in 252 rows; the first 100 are listed", fault.Detail(err))
}

func TestImportCalendar(t *testing.T) {
	t.Parallel()
	s := newImportSite(t)
	s.do(imports.Securities, listed)
	require.Equal(t, "/query/calendar", s.refused(imports.Prices, closes)[0].Pointer)
	require.Equal(t, "/query/calendar", s.refused(imports.Prices, closes, calendar("ZZZ"))[0].Pointer)
	require.Equal(t, "/query/calendar", s.refused(imports.FX, "", calendar("IDX"))[0].Pointer)
	require.Zero(t, s.do(imports.FX, "date,base,quote,rate\n2020-01-02,USD,CHF,1\n").Packs, "there is no calendar yet")
	s.do(imports.Prices, closes, calendar("IDX"))
	require.Equal(t, "IDX", importValue[string](s, `SELECT calendar FROM tenants WHERE id = 'default'`))
	_, err := s.try(imports.Prices, closes, calendar("AAA"))
	require.Equal(t, fault.Conflict, fault.CodeOf(err))
	require.Equal(t, int64(4), s.do(imports.Prices, closes, calendar("IDX")).Unchanged)
	// What lies on no calendar date counts for the dates behind it.
	require.Equal(t, imports.Packs{Made: 1, Stale: 1}, s.do(imports.Prices, "symbol,date,close,currency\nAAA,2020-01-04,9,CHF\n").Packs)
	require.Zero(t, s.do(imports.Prices, "symbol,date,close,currency\nAAA,2020-01-11,9,CHF\n").Packs)
}

func TestImportOfAnotherTenant(t *testing.T) {
	t.Parallel()
	s := newImportSite(t)
	_, err := s.pool.Exec(t.Context(), `INSERT INTO tenants (id) VALUES ('other')`)
	require.NoError(t, err)
	other := func(r *imports.Request) { r.TenantID = "other" }
	s.do(imports.Securities, listed)
	require.Equal(t, imports.Summary{Revision: 1, Source: "import", Rows: 3, Inserted: 3}, s.do(imports.Securities, listed, other))
	s.do(imports.Prices, closes, calendar("IDX"))
	require.Equal(t, "/query/calendar", s.refused(imports.Prices, closes, other)[0].Pointer)
	require.Equal(t, int64(4), s.do(imports.Prices, closes, other, calendar("IDX")).Inserted)
	require.Equal(t, int64(6), importValue[int64](s, `SELECT count(DISTINCT id) FROM securities`))
	require.Equal(t, int64(6), importValue[int64](s, `SELECT count(DISTINCT id) FROM pricing_packs`))
	_, err = s.try(imports.Prices, closes, func(r *imports.Request) { r.TenantID = "nobody" }, calendar("IDX"))
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
}

// The hash depends on the data alone: not on the order of rows, the notation of numbers or the format.
func TestImportHash(t *testing.T) {
	t.Parallel()
	hash := func(s *importSite) string {
		return importValue[string](s, `SELECT string_agg(content_hash, ' ' ORDER BY revision) FROM data_revisions`)
	}
	first, second := newImportSite(t), newImportSite(t)
	first.do(imports.Securities, listed)
	first.do(imports.Prices, closes, calendar("IDX"))
	second.do(imports.Securities, listed)
	second.do(imports.Prices, `[{"currency":"CHF","close":"10.000","date":"2020-01-03","symbol":"AAA"},{"symbol":"IDX","date":"2020-01-06","close":1025e-1,"currency":"CHF"},
		{"symbol":"IDX","date":"2020-01-02","close":1e2,"currency":"CHF"},{"symbol":"IDX","date":"2020-01-03","close":101,"currency":"CHF"}]`, calendar("IDX"))
	require.Equal(t, hash(first), hash(second))
}

// Imports at the same time make one revision each, and of the same file one does.
func TestImportsAtTheSameTime(t *testing.T) {
	t.Parallel()
	s := newImportSite(t)
	s.to = store.NewImports(s.pool, store.ImportOptions{})
	s.do(imports.Securities, listed)
	s.do(imports.Prices, closes, calendar("IDX"))
	var g errgroup.Group
	summaries := make([]imports.Summary, 8)
	for i := range summaries {
		g.Go(func() (err error) {
			file := i / 2 // every file twice
			summaries[i], err = s.try(imports.FX, fmt.Sprintf("date,base,quote,rate\n2020-01-02,USD,CHF,%d\n2020-01-0%d,EUR,CHF,1.1\n", 1, 3+file))
			return err
		})
	}
	require.NoError(t, g.Wait())
	revisions := map[int64]bool{}
	var inserted int64
	for _, summary := range summaries {
		inserted += summary.Inserted
		if summary.Inserted > 0 {
			require.False(t, revisions[summary.Revision], "a revision is one import's")
			revisions[summary.Revision] = true
		}
	}
	require.Equal(t, int64(5), inserted)
	require.Len(t, revisions, 4)
	require.Equal(t, int64(2+4), importValue[int64](s, `SELECT max(revision) FROM data_revisions`))
	for _, day := range []string{"2020-01-02", "2020-01-03", "2020-01-06"} {
		require.Equal(t, int64(1), importValue[int64](s, `SELECT count(*) FROM pricing_packs WHERE date = $1::text::date AND state = 'warming'`, day))
	}
}

// What a migration made cheaper is still checked: prices are of a security and a revision of their tenant.
func TestPricesRefer(t *testing.T) {
	t.Parallel()
	s := newImportSite(t)
	s.do(imports.Securities, listed)
	s.do(imports.Prices, closes, calendar("IDX"))
	exec(t, s.pool, `INSERT INTO tenants (id) VALUES ('other')`)
	for name, sql := range map[string]string{
		"no security":         `INSERT INTO prices (tenant_id, security_id, date, revision, close) VALUES ('default', gen_random_uuid(), '2021-01-01', 1, 1)`,
		"another's security":  `INSERT INTO prices (tenant_id, security_id, date, revision, close) SELECT 'other', id, '2021-01-01', 1, 1 FROM securities LIMIT 1`,
		"no revision":         `INSERT INTO prices (tenant_id, security_id, date, revision, close) SELECT tenant_id, id, '2021-01-01', 9, 1 FROM securities`,
		"to no revision":      `UPDATE prices SET revision = 9`,
		"revision goes":       `DELETE FROM data_revisions WHERE revision = 2`,
		"revision is another": `UPDATE data_revisions SET revision = 9 WHERE revision = 2`,
		"security goes":       `DELETE FROM securities WHERE symbol = 'AAA'`,
		"security is another": `UPDATE securities SET id = gen_random_uuid() WHERE symbol = 'AAA'`,
	} {
		_, err := s.pool.Exec(t.Context(), sql)
		var pg *pgconn.PgError
		require.ErrorAs(t, err, &pg, name)
		require.Equal(t, "23503", pg.Code, name)
	}
	exec(t, s.pool, `DELETE FROM securities WHERE symbol = 'BBB'`)
}

// Of two first imports of prices that name different calendars, one is refused.
func TestImportsOfTwoCalendars(t *testing.T) {
	t.Parallel()
	s := newImportSite(t)
	s.to = store.NewImports(s.pool, store.ImportOptions{})
	s.do(imports.Securities, listed)
	var g errgroup.Group
	errs := make([]error, 2)
	for i, symbol := range []string{"IDX", "AAA"} {
		g.Go(func() error {
			_, errs[i] = s.try(imports.Prices, closes, calendar(symbol))
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.ElementsMatch(t, []fault.Code{"", fault.Conflict}, []fault.Code{fault.CodeOf(errs[0]), fault.CodeOf(errs[1])})
}

func TestImportEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := newImportSite(t)
	s.do(imports.Securities, listed)
	before := s.fingerprint()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.to.Import(ctx, imports.Request{
		TenantID: store.DefaultTenant, Kind: imports.FX, Format: imports.CSV,
		Body: readerFunc(func([]byte) (int, error) {
			cancel()
			return 0, context.Canceled
		}),
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, before, s.fingerprint())

	failed := store.NewImports(s.pool, store.ImportOptions{Enqueue: func(context.Context, pgx.Tx, string) error { return context.DeadlineExceeded }})
	_, err = failed.Import(t.Context(), imports.Request{
		TenantID: store.DefaultTenant, Kind: imports.Prices, Format: imports.CSV, Body: strings.NewReader(closes), Calendar: "IDX",
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, before, s.fingerprint(), "what can't be enqueued is not imported")
}

// The connection is ended while rows are on their way, and while the import waits for its turn to store
// them: it is the database being away, and nothing is left.
func TestImportWhenItsConnectionDies(t *testing.T) {
	t.Parallel()
	s := newImportSite(t)
	s.do(imports.FX, "date,base,quote,rate\n2020-01-02,USD,CHF,1\n")
	before := s.fingerprint()
	kill := func(query string) bool {
		var n int
		err := s.pool.QueryRow(t.Context(), `
			SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND state = 'active' AND query LIKE $1 AND pid <> pg_backend_pid()`, query).Scan(&n)
		return err == nil && n == 1
	}

	var sent atomic.Int64 // a read may be under way when the import is over
	_, err := s.try(imports.FX, "", func(r *imports.Request) {
		r.Body = readerFunc(func(p []byte) (int, error) {
			n := sent.Add(1)
			if n == 1 {
				return copy(p, "date,base,quote,rate\n"), nil
			}
			if n == 100 { // the server may not have begun yet
				for until := time.Now().Add(20 * time.Second); !kill("COPY import_staged%") && time.Now().Before(until); {
				}
			}
			if n == 1_000_000 {
				return 0, io.EOF
			}
			return copy(p, "2020-01-02,EUR,CHF,1\n"), nil
		})
	})
	require.True(t, store.Unavailable(err), "%v", err)
	require.Less(t, sent.Load(), int64(1_000_000), "it does not read on for nobody")
	require.Equal(t, before, s.fingerprint())

	tx, err := s.pool.Begin(t.Context())
	require.NoError(t, err)
	require.NoError(t, store.LockRevisions(t.Context(), tx, store.DefaultTenant))
	var g errgroup.Group
	g.Go(func() error {
		_, err := s.try(imports.FX, "date,base,quote,rate\n2020-01-02,EUR,CHF,1\n")
		return err
	})
	require.Eventually(t, func() bool { return kill("%LockRevisions%") }, 20*time.Second, 10*time.Millisecond)
	err = g.Wait()
	require.True(t, store.Unavailable(err), "%v", err)
	require.NoError(t, tx.Rollback(t.Context()))
	require.Equal(t, before, s.fingerprint())
	require.Equal(t, int64(1), s.do(imports.FX, "date,base,quote,rate\n2020-01-02,EUR,CHF,1\n").Inserted)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
