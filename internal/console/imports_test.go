package console_test

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/dawsos/dawsos/internal/imports"
)

// sendFile sends a form with a file as a page without scripts does; fields are pairs.
func (s *site) sendFile(path, name, content string, fields ...string) response {
	s.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for i := 0; i < len(fields); i += 2 {
		require.NoError(s.t, form.WriteField(fields[i], fields[i+1]))
	}
	part, err := form.CreateFormFile("file", name)
	require.NoError(s.t, err)
	_, err = io.WriteString(part, content)
	require.NoError(s.t, err)
	require.NoError(s.t, form.Close())
	return s.do(http.MethodPost, path, &body, "Content-Type", form.FormDataContentType(), "Sec-Fetch-Site", "same-origin")
}

// exampleOf is the file that a page shows as its example.
func exampleOf(t *testing.T, r response) string {
	t.Helper()
	for n := range r.tree.Descendants() {
		if n.Type == html.ElementNode && n.Data == "pre" && n.FirstChild != nil {
			return n.FirstChild.Data
		}
	}
	require.Fail(t, "the page has no example")
	return ""
}

// The example of each kind can be imported as it stands.
func TestExamplesOfImports(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, kind := range imports.Kinds() { // securities first
		page := s.get("/console/imports?kind=" + string(kind))
		require.Equal(t, http.StatusOK, page.StatusCode)
		for _, f := range imports.Fields(kind) {
			require.Contains(t, page.body, "<code>"+f.Name+"</code>", kind)
		}
		calendar := ""
		if kind == imports.Prices {
			calendar = "NESN"
		}
		r := s.sendFile("/console/imports/"+string(kind), "example.csv", exampleOf(t, page), "source", "the example", "calendar", calendar, "reason", "to try", "format", "")
		require.Equal(t, http.StatusOK, r.StatusCode, r.text())
		require.Contains(t, elementText(t, r, "result"), "Imported Rows in the file 1 Inserted 1", kind)
	}
	history := elementText(t, s.get("/console/imports"), "history")
	require.Contains(t, history, "news the example 7 1 1 0 1 1 console to try")
	require.Contains(t, history, "securities the example 1 1 1 0 0 0 console to try")
}

func TestImportTellsWhatItDid(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	require.Contains(t, s.get("/console/imports").text(), "Nothing was imported yet")
	const file = "symbol,date,close,currency\nSBI,2007-05-08,96.74,CHF\nSBI,2007-05-09,96.81,CHF\nSBI,2007-05-07,96.5,CHF\n"
	r := s.sendFile("/console/imports/prices", "P.CSV", file, "source", "desk", "reason", "late closes")
	require.Equal(t, http.StatusOK, r.StatusCode)
	require.Contains(t, elementText(t, r, "result"), "Rows in the file 3 Inserted 1 Changed 1 Unchanged 1 Dates 2007-05-07 to 2007-05-09 Revision 2 Pricing packs made 3 , which the nightly order makes fresh Pricing packs that became stale 2")
	require.Contains(t, r.links(), "/console/packs?state=warming")
	require.Contains(t, elementText(t, r, "history"), "prices desk 2 3 1 1 3 2 console late closes")

	again := s.sendFile("/console/imports/prices", "p.csv", file)
	require.Contains(t, elementText(t, again, "result"), "All 3 rows say what is stored already: there is no new revision.")
}

// The page's script sends the file itself and puts the answer's part into the page.
func TestImportFromTheScript(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	send := func(path, media, body string) response {
		return s.do(http.MethodPost, path, strings.NewReader(body), "Content-Type", media, "HX-Request", "true", "Sec-Fetch-Site", "same-origin")
	}
	r := send("/console/imports/fx?source=desk&reason=late", "application/json", `[{"date":"2026-01-03","base":"USD","quote":"CHF","rate":"1.2195"}]`)
	require.Equal(t, http.StatusOK, r.StatusCode)
	require.NotContains(t, r.body, "<html")
	require.Contains(t, elementText(t, r, "result"), "Inserted 1")
	require.Contains(t, elementText(t, r, "history"), "fx desk 2 1 1 0 0 0 console late")

	wrong := send("/console/imports/fx", "application/x-ndjson", "{\"date\":\"2007-05-10\",\"base\":\"USD\",\"quote\":\"CHF\",\"rate\":\"x\"}\n{}\n")
	require.Equal(t, http.StatusUnprocessableEntity, wrong.StatusCode)
	require.Contains(t, elementText(t, wrong, "result"), "1 rate must be a decimal number")
	media := send("/console/imports/fx", "application/pdf", "%PDF")
	require.Equal(t, http.StatusUnprocessableEntity, media.StatusCode)
	require.Contains(t, elementText(t, media, "result"), "The body must be text/csv, application/json or application/x-ndjson")

	foreign := s.do(http.MethodPost, "/console/imports/fx", strings.NewReader("x"), "Content-Type", "text/csv", "Sec-Fetch-Site", "cross-site")
	require.Equal(t, http.StatusForbidden, foreign.StatusCode)
}

func TestImportNamesBadRows(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	r := s.sendFile("/console/imports/prices", "p.csv", "symbol,date,close,currency\nSBI,2007-05-10,NaN,CHF\nNOPE,2007-05-10,1,CHF\nSBI,2007-05-12,1\n", "source", "<desk>", "reason", "try")
	require.Equal(t, http.StatusUnprocessableEntity, r.StatusCode)
	result := elementText(t, r, "result")
	require.Contains(t, result, "Nothing was imported: 3 problems in 3 rows.")
	require.Contains(t, result, "2 close must be a decimal number")
	require.Contains(t, result, "3 symbol NOPE is the symbol of no listed security")
	require.Contains(t, result, "4 the whole row has 3 fields, not 4")
	require.Contains(t, r.body, `value="&lt;desk&gt;"`, "what was typed is still there")
	require.Contains(t, elementText(t, r, "history"), "Nothing was imported yet")

	var many strings.Builder
	many.WriteString("symbol,date,close,currency\n")
	for range 130 {
		many.WriteString("SBI,2007-05-10,NaN,CHF\n")
	}
	require.Contains(t, elementText(t, s.sendFile("/console/imports/prices", "p.csv", many.String()), "result"), "And 30 more; correct these")

	header := s.sendFile("/console/imports/prices", "p.csv", "symbol,day,close,currency\n")
	require.Equal(t, http.StatusUnprocessableEntity, header.StatusCode)
	require.Contains(t, elementText(t, header, "result"), "1 day is no column; the columns are symbol, date")
	require.Contains(t, elementText(t, header, "result"), "1 date the column is missing")
}

func TestImportFormsWithWrongInput(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const path = "/console/imports/prices"
	require.Contains(t, s.sendFile(path, "", "").text(), "Choose a file.")
	require.Contains(t, s.sendFile(path, "p.txt", "x").text(), "The file's name does not tell its format: choose one.")
	require.Contains(t, s.sendFile(path, "p.csv", "x", "source", strings.Repeat("x", 101)).text(), "This must be text of at most 100 characters.")
	require.Contains(t, s.sendFile(path, "p.csv", "x", "reason", "a\x00b").text(), "This must be text of at most 500 characters.")
	calendar := s.sendFile(path, "p.csv", "symbol,date,close,currency\n")
	require.Equal(t, http.StatusUnprocessableEntity, calendar.StatusCode)
	require.Contains(t, calendar.body, `aria-describedby="calendar-hint calendar-wrong" aria-invalid="true"`)
	require.Contains(t, calendar.text(), "is required with the first prices")
	require.Contains(t, elementText(t, s.sendFile("/console/imports/fx", "p.json", "{}"), "result"), "JSON array")

	require.Equal(t, http.StatusNotFound, s.sendFile("/console/imports/nothing", "p.csv", "x").StatusCode)
	require.Equal(t, http.StatusNotFound, s.get("/console/imports?kind=nothing").StatusCode)
	require.Equal(t, http.StatusRequestEntityTooLarge, s.sendFile(path, "p.csv", "x", "source", strings.Repeat("x", 5000)).StatusCode)
	form := s.post("/console/imports/fx", url.Values{"source": {"x"}})
	require.Equal(t, http.StatusUnprocessableEntity, form.StatusCode)
	require.Contains(t, form.text(), "The body must be text/csv, application/json or application/x-ndjson")
}

// A form has a bounded number of fields, as each of them has a bounded length: together they could be as
// large as a file may be.
func TestImportFormsWithTooManyFields(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	send := func(fields int) response {
		named := []string{"source", "desk"}
		for i := range fields - 1 {
			named = append(named, fmt.Sprintf("field%d", i), "x")
		}
		return s.sendFile("/console/imports/fx", "fx.csv", "date,base,quote,rate\n2026-01-03,USD,CHF,1.2195\n", named...)
	}
	for _, fields := range []int{21, 100} {
		r := send(fields)
		require.Equal(t, http.StatusBadRequest, r.StatusCode)
		require.Contains(t, r.text(), "the form has more than 20 fields in front of its file")
	}
	r := send(20)
	require.Equal(t, http.StatusOK, r.StatusCode, r.text())
	require.Contains(t, elementText(t, r, "history"), "fx desk", "the fields that the form has are read")
}

// A file has the limits of imports, not those of other requests.
func TestImportOfALargeFile(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t, "MAX_BODY_BYTES", "1KiB", "IMPORT_MAX_BYTES", "1MiB")
	var file strings.Builder
	file.WriteString("series,date,value\n")
	day := time.Date(1950, time.January, 1, 0, 0, 0, 0, time.UTC)
	for i := range 10000 {
		fmt.Fprintf(&file, "DAILY_SERIES,%s,%d\n", day.AddDate(0, 0, i).Format(time.DateOnly), i)
	}
	r := s.sendFile("/console/imports/macro", "m.csv", file.String())
	require.Equal(t, http.StatusOK, r.StatusCode, r.text())
	require.Contains(t, elementText(t, r, "result"), "Inserted 10 000")
	require.Equal(t, http.StatusRequestEntityTooLarge, s.sendFile("/console/imports/macro", "m.csv", strings.Repeat(" ", 1<<20)).StatusCode)
}

// A client that stops to send in the middle of its file is answered when an import's time is over, and does
// not hold up the answer.
func TestImportOfAStalledFile(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t, "IMPORT_TIMEOUT", "1s")
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	require.NoError(t, err)
	defer connection.Close()
	require.NoError(t, connection.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(connection, "POST /console/imports/prices HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 100000\r\n\r\nsymbol,date,close,currency\nSBI,2007-05-09,96.81,CHF\n")
	require.NoError(t, err)
	answer := make([]byte, 12)
	_, err = io.ReadFull(connection, answer)
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 504", string(answer))
}
