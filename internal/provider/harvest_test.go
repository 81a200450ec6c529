package provider

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/imports"
	"github.com/dawsos/dawsos/internal/sample"
	"github.com/dawsos/dawsos/internal/store"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

func TestShippedConfig(t *testing.T) {
	t.Parallel()
	c, err := LoadConfig("../../configs/analytics")
	require.NoError(t, err)
	require.Contains(t, c.FRED.Series, "BAA10Y")
	require.Empty(t, c.Tasks(Keys{}, Options{}), "nobody is asked without a key")
	tasks := c.Tasks(Keys{FRED: "k", FMP: "k", News: "k"}, Options{})
	require.Len(t, tasks, 1, "no symbols are configured")
	require.Equal(t, "fred", tasks[0].Provider.Name())
}

func TestLoadConfigRefuses(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"news: {days: 7}\nfredd: {}":  "fredd",
		"news: {days: 0}":             "providers.yaml: news.days: 0 is not allowed; use 1 to 365",
		"fred: {series: {}}":          "cannot unmarshal",
		"news: {days: 7}\nfmp: [1]":   "cannot unmarshal",
		"news: {days: 7}\nnews: {}\n": "already defined",
		"news: {days: 7}\nfred: {series: [" + strings.Repeat("A, ", 1001) + "]}": "fred.series: 1001 are more than 1000",
		"news: {days: 7}\nfmp: {symbols: {NESN: NSRGY, NESTLE: NSRGY}}":          `providers.yaml: fmp.symbols: NESN and NESTLE are both "NSRGY" to the service`,
		"news: {days: 7, symbols: {AA: '', GOLD: AA}}":                           `providers.yaml: news.symbols: AA and GOLD are both "AA" to the service`,
		"news: {days: 7}\nfred: {series: [UNRATE, DGS2, UNRATE]}":                "providers.yaml: fred.series: UNRATE stands twice",
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, File), []byte(text), 0o600))
		_, err := LoadConfig(dir)
		require.ErrorContains(t, err, says, text)
	}
	_, err := LoadConfig(t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}

// market is a database with the sample data, and an importer into it.
func market(t *testing.T) (*pgxpool.Pool, *imports.Importer) {
	t.Helper()
	pool := dbtest.New(t)
	_, err := sample.Load(t.Context(), pool, "../../configs/sample", nil)
	require.NoError(t, err)
	return pool, imports.New(store.NewImports(pool, store.ImportOptions{}), prometheus.NewRegistry())
}

func count(t *testing.T, pool *pgxpool.Pool, sql string) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), sql).Scan(&n))
	return n
}

const revisions = `SELECT max(revision) FROM data_revisions`

// What is fetched is imported like a file: with a revision for what is new, and none for what is there. A
// provider that fails keeps the others from nothing.
func TestHarvest(t *testing.T) {
	t.Parallel()
	pool, importer := market(t)
	o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/fred/series":
			_, _ = w.Write(recorded(t, "fred_series.json"))
		case r.URL.Path == "/fred/series/observations":
			_, _ = w.Write(recorded(t, "fred_observations.json"))
		case strings.HasPrefix(r.URL.Path, "/stable/"):
			w.WriteHeader(http.StatusPaymentRequired)
			fmt.Fprint(w, "not in your plan")
		default:
			_, _ = w.Write(recorded(t, "marketaux.json"))
		}
	})
	var c Config
	c.FRED.Series = []string{"UNRATE"}
	c.FMP.Symbols = map[string]string{"EMR": ""}
	c.News.Symbols, c.News.Days = map[string]string{"EMR": "", "GOLD": "AA"}, 7 // AA is what the service calls GOLD
	now := func() time.Time { return time.Date(2026, time.November, 29, 12, 0, 0, 0, time.UTC) }
	harvest := NewHarvest(c.Tasks(Keys{FRED: key, FMP: key, News: key}, o), importer, store.DefaultTenant, now)

	reports, err := harvest.Fetch(t.Context())
	require.EqualError(t, err, "fmp, EMR: answered 402: not in your plan")
	require.Equal(t, []Report{
		{Provider: "fred", Subjects: 1, Rows: 2, Inserted: 2},
		{Provider: "fmp", Subjects: 1, Error: "fmp, EMR: answered 402: not in your plan"},
		{Provider: "marketaux", Subjects: 2, Rows: 2, Inserted: 2},
	}, reports)
	require.Equal(t, 3, count(t, pool, revisions))
	require.Equal(t, 2, count(t, pool, `SELECT count(*) FROM macro_values WHERE series = 'UNRATE' AND revision = 2`))
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM news WHERE symbols = '{EMR,GOLD}' AND abs(sentiment - 0.2) < 1e-9`))

	reports, err = harvest.Fetch(t.Context())
	require.Error(t, err)
	require.EqualValues(t, 2, reports[0].Unchanged)
	require.EqualValues(t, 2, reports[2].Unchanged)
	require.Equal(t, 3, count(t, pool, revisions), "nothing was new")
}

// A service that breaks off in the middle leaves nothing half stored, nor does an import that is refused.
func TestHarvestAllOrNone(t *testing.T) {
	t.Parallel()
	pool, importer := market(t)
	fred := NewFRED(serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Query().Get("series_id") == "GONE":
			w.WriteHeader(http.StatusInternalServerError)
		case r.URL.Path == "/fred/series":
			_, _ = w.Write(recorded(t, "fred_series.json"))
		default:
			_, _ = w.Write(recorded(t, "fred_observations.json"))
		}
	}))
	_, err := Task{Provider: fred, Subjects: []string{"UNRATE", "GONE"}}.Run(t.Context(), importer, store.DefaultTenant, time.Now())
	require.EqualError(t, err, "fred, GONE: answered 500: an empty answer")
	require.Equal(t, 1, count(t, pool, revisions))

	news := NewMarketaux(serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(recorded(t, "marketaux.json")) }))
	task := Task{Provider: news, Subjects: []string{"EMR"}, ours: map[string]string{"EMR": "NOT_LISTED"}}
	_, err = task.Run(t.Context(), importer, store.DefaultTenant, time.Now())
	require.ErrorContains(t, err, "import what marketaux answered")
	require.Equal(t, 1, count(t, pool, revisions))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = task.Run(ctx, importer, store.DefaultTenant, time.Now())
	require.ErrorIs(t, err, context.Canceled)
}

// A series that the service does not have any more, or that was imported with another frequency, keeps none of
// the others from being imported, night after night; the job fails, and says which it is.
func TestHarvestLeavesOutARefusedSeries(t *testing.T) {
	t.Parallel()
	pool, importer := market(t)
	_, err := importer.Import(t.Context(), imports.Request{
		TenantID: store.DefaultTenant, Kind: imports.Macro, Format: imports.CSV,
		Body: strings.NewReader("series,date,value,frequency\nDGS10,2008-01-01,1,daily\nGDPC1,2007-12-31,1,monthly\n"),
	})
	require.NoError(t, err)
	status := http.StatusBadRequest
	o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Query().Get("series_id") == "GONE":
			w.WriteHeader(status)
			fmt.Fprint(w, "The series does not exist.")
		case r.URL.Path == "/fred/series":
			_, _ = w.Write(recorded(t, "fred_series.json")) // monthly, in percent
		default:
			_, _ = w.Write(recorded(t, "fred_observations.json"))
		}
	})
	var c Config
	c.FRED.Series = []string{"DGS10", "GDPC1", "GONE", "UNRATE"}
	harvest := NewHarvest(c.Tasks(Keys{FRED: key}, o), importer, store.DefaultTenant, time.Now)
	const says = "fred, GONE: answered 400: The series does not exist.\nfred: the series DGS10 is declared with daily and comes with monthly"
	reports, err := harvest.Fetch(t.Context())
	require.EqualError(t, err, says)
	require.Equal(t, []Report{{Provider: "fred", Subjects: 4, Rows: 4, Inserted: 4, Error: says}}, reports)
	require.Equal(t, 3, count(t, pool, `SELECT count(*) FROM macro_values WHERE series = 'GDPC1'`), "another unit and origin are none of its data")
	require.Equal(t, 2, count(t, pool, `SELECT count(*) FROM macro_values WHERE series = 'UNRATE'`))
	require.Equal(t, 1, count(t, pool, `SELECT count(*) FROM macro_values WHERE series = 'DGS10'`))

	c.FRED.Series = []string{"GONE"}
	harvest = NewHarvest(c.Tasks(Keys{FRED: key}, o), importer, store.DefaultTenant, time.Now)
	_, err = harvest.Fetch(t.Context())
	require.EqualError(t, err, "fred, GONE: answered 400: The series does not exist.")
}
