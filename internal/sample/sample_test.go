package sample

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/imports"
	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/store"
)

const dir = "../../configs/sample"

func query[T any](t *testing.T, pool *pgxpool.Pool, sql string, args ...any) T {
	t.Helper()
	var v T
	require.NoError(t, pool.QueryRow(t.Context(), sql, args...).Scan(&v))
	return v
}

func TestLoad(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := dbtest.New(t)
	var told []string
	summary, err := Load(ctx, pool, dir, func(s string) { told = append(told, s) })
	require.NoError(t, err)
	require.True(t, summary.Loaded)
	require.Contains(t, told, "reading prices.csv")
	require.Contains(t, summary.String(), "prices 58809")

	// Everything that the README says is in the files must be in the tables.
	rows := readmeRows(t)
	for _, table := range summary.Tables {
		require.Equal(t, table.Rows, query[int64](t, pool, "SELECT count(*) FROM "+table.Table), table.Table)
	}
	counts := map[string]int64{
		"prices":       rows["prices.csv"],
		"fx_rates":     rows["fx.csv"],
		"securities":   rows["securities.csv"],
		"macro_series": rows["macro_series.csv"] + 4,
		"macro_values": rows["macro.csv"] + 4*rows["factors.csv"],
		"transactions": rows["demo_transactions.csv"],
	}
	for table, want := range counts {
		require.Equal(t, want, query[int64](t, pool, "SELECT count(*) FROM "+table), table)
	}
	require.Equal(t, rows["securities.csv"]+rows["prices.csv"]+rows["fx.csv"]+counts["macro_values"],
		query[int64](t, pool, `SELECT row_count FROM data_revisions WHERE revision = 1 AND source = 'sample'`))

	// One fresh pack for each close of SBI.
	require.Equal(t,
		query[int64](t, pool, `SELECT count(*) FROM prices JOIN securities s ON s.id = security_id WHERE symbol = 'SBI'`),
		query[int64](t, pool, `SELECT count(DISTINCT date) FROM pricing_packs WHERE state = 'fresh' AND revision = 1`))
	st := store.New(pool, store.Options{})
	seen, err := st.Resolve(ctx, patterns.ContextQuery{TenantID: store.DefaultTenant, RequireFresh: true})
	require.NoError(t, err)
	pack := seen.PricingPack
	require.Equal(t, "2007-05-08", pack.Date.Format(time.DateOnly))
	require.Equal(t, store.PackHash(pack.Date, 1, query[string](t, pool, `SELECT content_hash FROM data_revisions`)), pack.Hash)
	early := time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err = st.Resolve(ctx, patterns.ContextQuery{TenantID: store.DefaultTenant, Asof: &early})
	require.ErrorContains(t, err, "no pricing pack on or before 1990-01-01; the first is 2000-01-03")

	// Values survive as written, numbers of the ledger to the digit.
	cut := portfolio.Cut{TenantID: store.DefaultTenant, Date: pack.Date, Revision: pack.Revision}
	quotes, err := st.Quotes(ctx, cut, []string{"SBI", "EMR"}, []string{"CHF"})
	require.NoError(t, err)
	require.Equal(t, lastField(t, "prices.csv", "SBI,2007-05-08,"), quotes.Prices["SBI"].Value.String())
	require.Equal(t, lastField(t, "fx.csv", "2007-05-08,USD,CHF,"), quotes.FX["USD/CHF"].Value.String())
	set, err := st.Series(ctx, cut, portfolio.SeriesQuery{From: pack.Date, Macro: []string{"FF_RF", "FF_MKT_EXCESS", "FF_SMB", "FF_HML"}})
	require.NoError(t, err)
	require.Len(t, set.Macro, 4)
	require.Equal(t, []string{"0.0002", "0.006", "0.0117", "0.0021"}, factorsOn(t, st, "1999-12-31"))

	// The portfolio lists first, also before one created now.
	_, err = st.CreatePortfolio(ctx, store.DefaultTenant, portfolio.Portfolio{Name: "Mine", BaseCurrency: "CHF"})
	require.NoError(t, err)
	list, _, err := st.Portfolios(ctx, store.DefaultTenant, portfolio.Cursor{}, 10)
	require.NoError(t, err)
	p := list[0]
	require.Equal(t, "Sample CHF", p.Name)
	require.Equal(t, PortfolioID(), p.ID)
	require.Equal(t, []string{"CHF", "LP40", "SBI"}, []string{p.BaseCurrency, p.Benchmark, p.Calendar})
	require.Equal(t, "SBI", list[1].Calendar, "the tenant's calendar")
	txs, err := st.Transactions(ctx, store.DefaultTenant, p.ID, p.LedgerSeq, pack.Date)
	require.NoError(t, err)
	require.Len(t, txs, 23)
	require.Equal(t, "-94034.37", txs[8].Amount.String())
	version := portfolio.Genesis(p)
	for _, tx := range txs {
		version = portfolio.Chain(version, tx)
	}
	require.Equal(t, p.LedgerVersion, version)
}

func factorsOn(t *testing.T, st *store.Store, day string) []string {
	t.Helper()
	date, err := time.Parse(time.DateOnly, day)
	require.NoError(t, err)
	names := []string{"FF_RF", "FF_MKT_EXCESS", "FF_SMB", "FF_HML"}
	set, err := st.Series(t.Context(),
		portfolio.Cut{TenantID: store.DefaultTenant, Date: date, Revision: 1}, portfolio.SeriesQuery{From: date, Macro: names})
	require.NoError(t, err)
	var values []string
	for _, name := range names {
		require.Len(t, set.Macro[name], 1)
		values = append(values, fmt.Sprint(set.Macro[name][0].Value))
	}
	return values
}

// readmeRows reads the numbers of rows by file from the folder's README.
func readmeRows(t *testing.T) map[string]int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "README.md"))
	require.NoError(t, err)
	rows := map[string]int64{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+\\.csv)` \\| ([\\d,]+) \\|").FindAllSubmatch(text, -1) {
		n, err := strconv.ParseInt(strings.ReplaceAll(string(m[2]), ",", ""), 10, 64)
		require.NoError(t, err)
		rows[string(m[1])] = n
	}
	require.Len(t, rows, 7)
	return rows
}

// lastField returns what follows prefix in the line of a sample file that starts with it.
func lastField(t *testing.T, name, prefix string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), "\n"+prefix)
	require.True(t, found)
	line, _, _ := strings.Cut(rest, "\n")
	value, _, _ := strings.Cut(line, ",")
	return value
}

// fingerprint covers every row of the tables that Load writes to, times of creation included.
func fingerprint(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	var all strings.Builder
	for _, table := range []string{
		"tenants", "data_revisions", "securities", "prices", "fx_rates", "macro_series", "macro_values",
		"pricing_packs", "portfolios", "transactions",
	} {
		all.WriteString(query[string](t, pool,
			"SELECT count(*) || md5(coalesce(string_agg(r::text, E'\\n' ORDER BY r::text), '')) FROM "+table+" AS r"))
	}
	return all.String()
}

func TestLoadAgainChangesNothing(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, err := Load(t.Context(), pool, dir, nil)
	require.NoError(t, err)
	before := fingerprint(t, pool)
	summary, err := Load(t.Context(), pool, dir, nil)
	require.NoError(t, err)
	require.False(t, summary.Loaded)
	require.Equal(t, "sample", summary.Source)
	require.Equal(t, before, fingerprint(t, pool))
}

// The sample's own files say what was loaded from them.
func TestImportAfterLoadChangesNothing(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, err := Load(t.Context(), pool, dir, nil)
	require.NoError(t, err)
	before := fingerprint(t, pool)
	to := store.NewImports(pool, store.ImportOptions{})
	for _, kind := range []imports.Kind{imports.Securities, imports.Prices, imports.FX, imports.Macro} {
		f, err := os.Open(filepath.Join(dir, string(kind)+".csv"))
		require.NoError(t, err)
		summary, err := to.Import(t.Context(), imports.Request{TenantID: store.DefaultTenant, Kind: kind, Format: imports.CSV, Body: f})
		require.NoError(t, f.Close())
		require.NoError(t, err)
		require.Equal(t, readmeRows(t)[string(kind)+".csv"], summary.Unchanged)
		require.Equal(t, int64(1), summary.Revision)
	}
	require.Equal(t, before, fingerprint(t, pool))
}

func TestLoadLeavesOtherDataAlone(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, err := pool.Exec(t.Context(), `
		INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash)
		VALUES ('default', 1, 'import', 0, 'hash')`)
	require.NoError(t, err)
	before := fingerprint(t, pool)
	summary, err := Load(t.Context(), pool, dir, nil)
	require.NoError(t, err)
	require.Equal(t, `sample data not loaded: there is data already, its first revision from source "import"`, summary.String())
	require.Equal(t, before, fingerprint(t, pool))
}

func TestOneOfSeveralLoads(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	summaries := make([]Summary, 3)
	var g errgroup.Group
	for i := range summaries {
		g.Go(func() (err error) {
			summaries[i], err = Load(t.Context(), pool, dir, nil)
			return err
		})
	}
	require.NoError(t, g.Wait())
	loaded := 0
	for _, s := range summaries {
		if s.Loaded {
			loaded++
		}
	}
	require.Equal(t, 1, loaded)
	require.EqualValues(t, 58809, query[int64](t, pool, `SELECT count(*) FROM prices`))
}

// Documentation names these; a database made anywhere has them.
func TestIDsAndHashesAreTheSameEverywhere(t *testing.T) {
	t.Parallel()
	const names = `
		SELECT string_agg(n, ' ' ORDER BY n) FROM (
			SELECT content_hash AS n FROM data_revisions UNION ALL
			SELECT ledger_version FROM portfolios UNION ALL
			SELECT id::text FROM transactions UNION ALL
			SELECT id::text FROM securities UNION ALL
			SELECT id || hash FROM pricing_packs
		) AS names`
	var made [2]string
	for i, style := range []string{"German", "SQL, MDY"} {
		config, err := pgxpool.ParseConfig(dbtest.URL(t))
		require.NoError(t, err)
		config.ConnConfig.RuntimeParams["datestyle"] = style
		config.ConnConfig.RuntimeParams["extra_float_digits"] = "-3"
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		_, err = Load(t.Context(), pool, dir, nil)
		require.NoError(t, err)
		made[i] = query[string](t, pool, names)
	}
	require.Equal(t, made[0], made[1])
	require.Contains(t, made[0], "1775cd78d0314d54026add956e676319bde233ba19e9fcd56ac925b0e9c8f4f2", "the content hash")
	require.Equal(t, "9f81f60d-bc6f-5d8a-9b5d-0a37bd4b8e81", PortfolioID())
}

// copyDir copies the sample folder, changing one file; a nil change leaves it out.
func copyDir(t *testing.T, name string, change func(string) string) string {
	t.Helper()
	target := t.TempDir()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		if e.Name() == name {
			if change == nil {
				continue
			}
			changed := change(string(text))
			require.NotEqual(t, string(text), changed, "the change must hit something")
			text = []byte(changed)
		}
		require.NoError(t, os.WriteFile(filepath.Join(target, e.Name()), text, 0o600))
	}
	return target
}

func TestLoadNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	before := fingerprint(t, pool)
	replace := func(old, with string) func(string) string {
		return func(text string) string { return strings.Replace(text, old, with, 1) }
	}
	tests := map[string]struct {
		file   string
		change func(string) string
		want   string
	}{
		"missing file":         {"fx.csv", nil, "fx.csv: no such file"},
		"empty file":           {"prices.csv", func(string) string { return "" }, "prices.csv: the body is empty; it must start with a row of column names: symbol, date, close"},
		"columns":              {"prices.csv", replace("symbol,date", "symbol,day"), "prices.csv, line 1: is no column; the columns are symbol, date, close, currency, open, high, low, volume (and 1 more)"},
		"not a number":         {"prices.csv", replace("CH_BASI,2000-01-04,978.75", "CH_BASI,2000-01-04,x"), "prices.csv, line 3, close: must be a decimal number"},
		"several":              {"prices.csv", func(s string) string { return strings.Replace(s, ",978.75,", ",x,", 1)[:len(s)-20] + ",?,CHF\n" }, "prices.csv, line 3, close: must be a decimal number of at most 20 digits before and 20 behind the point (and "},
		"not a day":            {"prices.csv", replace("2000-01-04", "2000-02-30"), "prices.csv, line 3, date: must be a day"},
		"price below zero":     {"prices.csv", replace("978.75", "-978.75"), "prices.csv, line 3, close: must be more than 0"},
		"price of NaN":         {"prices.csv", replace("978.75", "NaN"), "prices.csv, line 3, close: "},
		"endless day":          {"prices.csv", replace("2000-01-04", "infinity"), "prices.csv, line 3, date: "},
		"empty price":          {"prices.csv", replace("978.75", ""), "prices.csv, line 3, close: must not be empty"},
		"missing column":       {"prices.csv", replace(",978.75", ""), "prices.csv, line 3: has 3 fields, not 4"},
		"the same day twice":   {"prices.csv", replace("CH_BASI,2000-01-05", "CH_BASI,2000-01-04"), "prices.csv, line 4, date: line 3 has the same symbol, date"},
		"unlisted security":    {"prices.csv", replace("CH_BASI,1999-12-30,1000,CHF\n", "CH_BASI,1999-12-30,1000,CHF\nXX,2000-01-04,1,CHF\n"), "prices.csv, line 3, symbol: XX is the symbol of no listed security"},
		"other currency":       {"prices.csv", replace("978.75,CHF", "978.75,USD"), "prices.csv, line 3, currency: is not the security's, which is CHF"},
		"cut off":              {"prices.csv", func(s string) string { return s[:strings.LastIndex(s[:len(s)-1], "\n")+1] }, "securities.csv, line 27: prices.csv has closes of GOLD from 1999-12-30 to 2009-01-29"},
		"no prices":            {"securities.csv", func(s string) string { return s + "ZZZ,Z,equity,Z,CHF,holding,2000-01-01,2000-01-02\n" }, "securities.csv, line 29: prices.csv has closes of ZZZ from  to "},
		"unknown role":         {"securities.csv", replace("holding", "owner"), "securities.csv, line 2, role: must be one of holding, benchmark"},
		"rate of nothing":      {"fx.csv", replace("1.6015", "0"), "fx.csv, line 2, rate: must be more than 0"},
		"pair of one":          {"fx.csv", replace("USD,CHF,1.6015", "USD,USD,1.6015"), "fx.csv, line 2, quote: "},
		"unlisted series":      {"macro.csv", replace("CH_IBOR_INDEX,1985-01-31", "XX,1985-01-31"), "macro.csv, line 3: there is no series XX in macro_series.csv"},
		"field too many":       {"macro.csv", replace("100.427", "100,427"), "macro.csv, line 3: wrong number of fields"},
		"fewer than announced": {"macro.csv", replace("CH_IBOR_INDEX,1985-01-31,100.427\n", ""), "macro_series.csv, line 2: macro.csv has 303 values of CH_IBOR_INDEX"},
		"infinite value":       {"macro.csv", replace("100.427", "Infinity"), "macro.csv, line 3, column value: must be a finite number"},
		"series twice":         {"macro_series.csv", replace("EA_HICP", "CH_IBOR_INDEX"), "macro_series.csv, line 3: CH_IBOR_INDEX stands twice"},
		"unknown frequency":    {"macro_series.csv", replace("monthly", "lunar"), "macro.csv, line 2, column frequency: must be one of daily"},
		"macro's columns":      {"macro.csv", replace("series,", "name,"), "macro.csv, line 1: the columns must be series,date,value"},
		"infinite factor":      {"factors.csv", replace("-0.007", "-Infinity"), "factors.csv, line 3, column mkt_excess: must be a finite number"},
		"a factor's day twice": {"factors.csv", replace("2000-01-03", "1999-12-31"), "factors.csv, line 3: there is a value of FF_RF on 1999-12-31 already"},
		"booking's number":     {bookingsFile, replace("1.1674", "x"), "demo_transactions.csv, line 3, price: must be a decimal number"},
		"oversold":             {bookingsFile, replace("SELL,AA,300", "SELL,AA,900"), "demo_transactions.csv, line 15, quantity: sells 900 AA"},
		"bookings, empty":      {bookingsFile, func(string) string { return "" }, "demo_transactions.csv: the body is empty"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Load(t.Context(), pool, copyDir(t, tt.file, tt.change), nil)
			require.ErrorContains(t, err, tt.want)
			require.Equal(t, before, fingerprint(t, pool), "nothing is left of a load that failed")
		})
	}
}

func TestLoadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	before := fingerprint(t, pool)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Load(ctx, pool, dir, func(s string) {
		if s == "making pricing packs" {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, before, fingerprint(t, pool))
}
