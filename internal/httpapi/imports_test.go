package httpapi_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/httpapi"
)

func importSecurities(t *testing.T, s *site) {
	t.Helper()
	a := s.post(t, "/v1/imports/securities", "symbol,name,asset_class,sector,currency,role\nIDX,Index,equity,Broad,CHF,benchmark\n",
		"Content-Type", "text/csv; charset=utf-8", "X-Client", "cli", "X-Reason", "first load")
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
}

func TestImports(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	importSecurities(t, s)

	// Larger than any other body may be.
	var file strings.Builder
	file.WriteString("symbol,date,close,currency\n")
	day := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for file.Len() < 2*maxBody {
		file.WriteString("IDX," + day.Format(time.DateOnly) + ",100.5,CHF\n")
		day = day.AddDate(0, 0, 1)
	}
	rows := float64(strings.Count(file.String(), "\n") - 1)
	want := map[string]any{
		"revision": 2.0, "source": "six", "rows": rows, "inserted": rows, "changed": 0.0, "unchanged": 0.0,
		"first_date": "2000-01-01", "last_date": day.AddDate(0, 0, -1).Format(time.DateOnly),
		"packs": map[string]any{"made": rows, "stale": 0.0},
	}
	require.Equal(t, want, s.post(t, "/v1/imports/prices?calendar=IDX&source=six", file.String(), "Content-Type", "text/csv").object())
	require.Equal(t, map[string]any{
		"revision": 3.0, "source": "import", "rows": 1.0, "inserted": 0.0, "changed": 1.0, "unchanged": 0.0,
		"first_date": "2000-01-01", "last_date": "2000-01-01", "packs": map[string]any{"made": rows, "stale": rows},
	}, s.post(t, "/v1/imports/prices", []any{map[string]any{"symbol": "IDX", "date": "2000-01-01", "close": 7, "currency": "CHF"}}).object())
	require.Equal(t, http.StatusOK, s.post(t, "/v1/imports/fx", "{\"date\":\"2000-01-01\",\"base\":\"USD\",\"quote\":\"CHF\",\"rate\":\"1.5\"}\n\n",
		"Content-Type", "application/x-ndjson").status)

	a := s.post(t, "/v1/imports/prices", "symbol,date,close,currency\nIDX,2020-01-01,1,CHF\nYYY,2020-01-01,NaN,CHF\n", "Content-Type", "text/csv")
	a.invalid("/3/symbol", "/3/close")
	require.Equal(t, "nothing was imported: 2 problems in 1 row", a.object()["detail"])
	s.post(t, "/v1/imports/prices", `[{"symbol": "IDX"}]`).invalid("/0/date", "/0/close", "/0/currency")
	s.post(t, "/v1/imports/bonds", "", "Content-Type", "text/csv").invalid("/path/kind")
	s.post(t, "/v1/imports/fx?calendar=IDX", "", "Content-Type", "text/csv").invalid("/query/calendar")
	s.post(t, "/v1/imports/prices?calendar=SPI", file.String(), "Content-Type", "text/csv").problem(http.StatusConflict, fault.Conflict)
	s.post(t, "/v1/imports/fx", "x", "Content-Type", "text/plain").problem(http.StatusUnsupportedMediaType, fault.UnsupportedMedia)
	s.post(t, "/v1/imports/fx", nil).problem(http.StatusUnsupportedMediaType, fault.UnsupportedMedia)
	s.post(t, "/v1/imports/fx", "", "Content-Type", "text/csv").problem(http.StatusBadRequest, fault.Malformed)
	s.post(t, "/v1/imports/fx", `{"date": 1}`).problem(http.StatusBadRequest, fault.Malformed)
	s.post(t, "/v1/imports/fx", "\xff\xfe", "Content-Type", "text/csv").problem(http.StatusUnprocessableEntity, fault.Invalid)

	items := s.get(t, "/v1/audit?action=import").object()["items"].([]any)
	require.Len(t, items, 4)
	first := items[3].(map[string]any)
	require.Equal(t, []any{"cli", "first load", "data_revision", "1"}, []any{first["actor"], first["reason"], first["subject"], first["subject_id"]})

	for labels, want := range map[[2]string]float64{
		{"prices", "inserted"}: rows, {"prices", "changed"}: 1, {"prices", "rejected"}: 2, {"fx", "inserted"}: 1,
		{"securities", "inserted"}: 1, {"news", "unchanged"}: 0,
	} {
		require.InDelta(t, want, s.counted(t, "dawsos_import_rows_total", labels), 0, "%v", labels)
	}
}

// counted returns the value of a counter of imports.
func (s *site) counted(t *testing.T, name string, labels [2]string) float64 {
	t.Helper()
	families, err := s.registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == labels[0] && m.GetLabel()[1].GetValue() == labels[1] {
				return m.GetCounter().GetValue()
			}
		}
	}
	require.Fail(t, "there is no such series")
	return 0
}

// A body that is too large or breaks off leaves nothing behind.
func TestImportsThatEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(o *httpapi.Options) { o.ImportMaxBytes = 1000 })
	importSecurities(t, s)
	csv := []string{"Content-Type", "text/csv"}
	large := "date,base,quote,rate\n" + strings.Repeat("2020-01-01,USD,CHF,1\n", 100)
	s.post(t, "/v1/imports/fx", large, csv...).problem(http.StatusRequestEntityTooLarge, fault.TooLarge)
	s.post(t, "/v1/imports/fx", struct{ io.Reader }{strings.NewReader(large)}, csv...).problem(http.StatusRequestEntityTooLarge, fault.TooLarge)
	s.post(t, "/v1/imports/fx", io.MultiReader(strings.NewReader(large[:60]), brokenBody{}), csv...).problem(http.StatusBadRequest, fault.Malformed)

	var n int
	require.NoError(t, s.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM fx_rates) + (SELECT count(*) FROM data_revisions)`).Scan(&n))
	require.Equal(t, 1, n, "the revision of the securities")
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
