package console

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/dawsos/dawsos/internal/audit"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/imports"
)

// Importer imports files of rows.
type Importer interface {
	Import(ctx context.Context, r imports.Request) (imports.Summary, error)
}

const importsPath = "/console/imports"

func (c *Console) importRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: importsPath, Handler: c.imports},
		{Method: http.MethodPost, Path: importsPath + "/{kind}", Handler: c.importFile, Streams: true},
	}
}

// fileKind describes files of a kind to whoever makes one.
type fileKind struct {
	About   string
	Means   map[string]string // by column
	Example []string          // a row, in the order of the columns
}

// fileKinds has an entry for each kind of imports.Kinds.
var fileKinds = map[imports.Kind]fileKind{
	imports.Securities: {
		"What can be held and compared with. Import it before prices, ratings, fundamentals and news.",
		map[string]string{
			"role": "holding or benchmark", "currency": "of its prices; it never changes",
			"duration": "of bonds: modified duration in years", "convexity": "of bonds",
		},
		[]string{"NESN", "Nestle", "equity", "Consumer Staples", "CHF", "holding", "", ""},
	},
	imports.Prices: {
		"Closing prices of listed securities, with or without the rest of the day's bar.",
		map[string]string{"date": "of the close, YYYY-MM-DD", "currency": "the security's"},
		[]string{"NESN", "2007-05-08", "480.25", "CHF", "478.00", "482.50", "477.75", "1250300"},
	},
	imports.FX: {
		"Exchange rates.",
		map[string]string{"rate": "units of quote for one base"},
		[]string{"2007-05-09", "USD", "CHF", "1.2195"},
	},
	imports.Macro: {
		"Observations of macro series. The first row of a new series declares it.",
		map[string]string{
			"date": "end of the observed period", "unit": "of a new series", "origin": "of a new series: who publishes it",
			"frequency": "of a new series: daily, weekly, monthly, quarterly or annual",
		},
		[]string{"CH_CPI", "2007-04-30", "100.9", "index 2005-12=100", "monthly", "BFS"},
	},
	imports.Ratings: {
		"Scores of listed securities.",
		map[string]string{
			"metric": "quality_score, moat_score, balance_sheet_score, management_score, valuation_score, dividend_safety or overall_rating",
			"date":   "from which it is known", "score": "0 to 10",
		},
		[]string{"NESN", "quality_score", "2007-05-08", "8.5", "analyst"},
	},
	imports.Fundamentals: {
		"Figures of companies from their reports.",
		map[string]string{"date": "from which it is known", "period_end": "of the reported period"},
		[]string{"NESN", "fmp", "revenue", "2007-02-22", "2006-12-31", "98458000000"},
	},
	imports.News: {
		"News items about listed securities.",
		map[string]string{
			"published_at": "RFC 3339", "sentiment": "-1 (bad) to 1 (good)",
			"symbols": "of listed securities, separated by ;",
		},
		[]string{"reuters-1", "2007-05-08T07:30:00Z", "Nestle raises its outlook", "Reuters", "", "0.6", "NESN"},
	},
}

// fileColumn is a column of a file with its example.
type fileColumn struct {
	imports.Field

	Means, Example string
}

func fileColumns(fields []imports.Field, about fileKind) []fileColumn {
	list := make([]fileColumn, len(fields))
	for i, f := range fields {
		list[i] = fileColumn{f, about.Means[f.Name], about.Example[i]}
	}
	return list
}

// fileExample is a file of two lines.
func fileExample(list []fileColumn) string {
	var names, values []string
	for _, c := range list {
		names, values = append(names, c.Name), append(values, c.Example)
	}
	return strings.Join(names, ",") + "\n" + strings.Join(values, ",") + "\n"
}

// badRow is one thing wrong with a file.
type badRow struct {
	Line   int64 // of a CSV or NDJSON file, number of an element of a JSON array; 0: the file as a whole
	Column string
	Detail string
}

// refusal says why nothing of a file was taken.
type refusal struct {
	Detail string
	Rows   []badRow
	More   int64 // problems that are not listed
}

// refused tells what is wrong with a file or with what was said of it; false when err is not about that.
func refused(err error) (refusal, bool) {
	if e, ok := errors.AsType[*imports.RefusedError](err); ok {
		r := refusal{Detail: capitalized(fault.Detail(err)), More: e.Total - int64(len(e.First))}
		for _, p := range e.First {
			r.Rows = append(r.Rows, badRow{p.Row, p.Column, p.Detail})
		}
		return r, true
	}
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || !slices.Contains([]fault.Code{fault.Invalid, fault.Malformed, fault.Conflict, fault.UnsupportedMedia}, e.Code) {
		return refusal{}, false
	}
	r := refusal{Detail: capitalized(e.Detail)}
	for _, f := range e.Fields {
		at, name, _ := strings.Cut(strings.TrimPrefix(f.Pointer, "/"), "/")
		line, err := strconv.ParseInt(at, 10, 64)
		if err != nil { // no row: a field of the form
			continue
		}
		r.Rows = append(r.Rows, badRow{line, name, strings.TrimPrefix(f.Detail, "line "+at+": ")})
	}
	return r, true
}

// importPage is what the page of imports shows.
type importPage struct {
	Kind     imports.Kind
	Kinds    []packChip
	About    string
	Columns  []fileColumn
	Example  string
	Source   string
	Calendar string
	Reason   string
	Format   string
	Wrong    map[string]string
	Summary  *imports.Summary
	Refusal  *refusal
	History  []pastImport
	Pager    pager
}

// pastImport is an entry of the audit log about an import.
type pastImport struct {
	audit.Entry

	Kind, Source            string
	Rows, Inserted, Changed int64
	PacksMade, PacksStale   int64
	Revision                string
	DetailMissing           bool // the entry does not say what came in
}

func (c *Console) imports(w http.ResponseWriter, r *http.Request) error {
	kind := imports.Kind(cmp.Or(r.URL.Query().Get("kind"), string(imports.Prices)))
	return c.showImports(w, r, http.StatusOK, importPage{Kind: kind})
}

func (c *Console) showImports(w http.ResponseWriter, r *http.Request, status int, p importPage) error {
	about, ok := fileKinds[p.Kind]
	if !ok {
		return fault.New(fault.NotFound, "there is no import of %q", p.Kind)
	}
	for _, k := range imports.Kinds() {
		p.Kinds = append(p.Kinds, packChip{string(k), address(importsPath, url.Values{"kind": {string(k)}}), k == p.Kind})
	}
	p.About, p.Columns = about.About, fileColumns(imports.Fields(p.Kind), about)
	p.Example = fileExample(p.Columns)
	before := uuid.Max
	if r.Method == http.MethodGet {
		if err := cursor(r, &before); err != nil {
			return err
		}
	}
	entries, err := c.AuditLog.AuditLog(r.Context(), auth.Tenant(r.Context()), audit.Filter{Subject: "data_revision", Action: "import"}, before, pageSize+1)
	if err != nil {
		return err
	}
	var next any
	if len(entries) > pageSize {
		entries = entries[:pageSize]
		next = entries[pageSize-1].ID
	}
	of := *r // an answer to a form leads on in the page that the form is on
	of.URL = &url.URL{Path: importsPath, RawQuery: r.URL.RawQuery}
	if r.Method != http.MethodGet {
		of.URL.RawQuery = url.Values{"kind": {string(p.Kind)}}.Encode()
	}
	if p.Pager, err = newPager(&of, next); err != nil {
		return err
	}
	for _, e := range entries {
		past := pastImport{Entry: e, Revision: e.SubjectID}
		var detail struct {
			Kind, Source            string
			Rows, Inserted, Changed int64
			PacksMade               int64 `json:"packs_made"`
			PacksStale              int64 `json:"packs_stale"`
		}
		if err := json.Unmarshal(e.Detail, &detail); err != nil || detail.Kind == "" {
			past.DetailMissing = true
		}
		past.Kind, past.Source, past.Rows, past.Inserted, past.Changed = detail.Kind, detail.Source, detail.Rows, detail.Inserted, detail.Changed
		past.PacksMade, past.PacksStale = detail.PacksMade, detail.PacksStale
		p.History = append(p.History, past)
	}
	return c.render(w, r, status, "imports", importsPath, "Imports", p)
}

// fileFormats are by the ending of a file's name.
var fileFormats = map[string]imports.Format{
	".csv": imports.CSV, ".json": imports.JSON, ".ndjson": imports.NDJSON, ".jsonl": imports.NDJSON,
}

// upload is a file with what the form says of it.
type upload struct {
	fields map[string]string
	name   string // of the file, "" when none was chosen
	body   io.Reader
}

const (
	// mostField bounds the bytes of a form's field beside the file.
	mostField = 4 << 10
	// mostFields bounds their number: a body may be as large as a file, be there one in it or not.
	mostFields = 20
)

// uploadFields are those that the forms with a file have. What else is sent is passed over unread.
var uploadFields = map[string]bool{"format": true, "calendar": true, "source": true, "reason": true, "key": true}

// readUpload reads the file that a form sends, without holding it. Its fields must come before it, as they
// stand in the form.
func readUpload(r *http.Request) (upload, error) {
	u := upload{fields: map[string]string{}}
	parts, err := r.MultipartReader()
	if err != nil {
		return u, fault.Wrap(err, fault.UnsupportedMedia, "the form must be sent as multipart/form-data")
	}
	for fields := 0; ; fields++ {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return u, nil
		}
		if err != nil {
			return u, uploadBroke(err)
		}
		name := part.FormName()
		if name == "file" {
			u.name, u.body = part.FileName(), part
			return u, nil
		}
		if fields == mostFields {
			return u, fault.New(fault.Malformed, "the form has more than %d fields in front of its file", mostFields)
		}
		if !uploadFields[name] {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(part, mostField+1))
		if err != nil {
			return u, uploadBroke(err)
		}
		if len(text) > mostField {
			return u, fault.New(fault.TooLarge, "the field %q is longer than %d bytes", name, mostField)
		}
		u.fields[name] = strings.TrimSpace(string(text))
	}
}

func uploadBroke(err error) error {
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fault.Wrap(err, fault.TooLarge, "the file is larger than %d bytes: send it in parts", large.Limit)
	}
	return fault.Wrap(err, fault.Malformed, "the upload broke off")
}

// importFile takes a file in as it comes: from the page's script as the body itself, from a page without
// scripts as a part of its form.
func (c *Console) importFile(w http.ResponseWriter, r *http.Request) error {
	kind := imports.Kind(r.PathValue("kind"))
	if _, ok := fileKinds[kind]; !ok {
		return fault.New(fault.NotFound, "there is no import of %q", kind)
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	u := upload{fields: map[string]string{}, name: "file", body: r.Body}
	format := imports.Format(media)
	if media == "multipart/form-data" {
		var err error
		if u, err = readUpload(r); err != nil {
			return err
		}
		format = imports.Format(u.fields["format"])
		if format == "" {
			format = fileFormats[strings.ToLower(path.Ext(u.name))]
		}
	} else {
		for name := range r.URL.Query() {
			u.fields[name] = strings.TrimSpace(r.URL.Query().Get(name))
		}
	}
	p := importPage{
		Kind: kind, Source: u.fields["source"], Calendar: u.fields["calendar"], Reason: u.fields["reason"], Format: u.fields["format"],
		Wrong: map[string]string{},
	}
	again := func() error {
		_, _ = io.Copy(io.Discard, r.Body) // a browser that still sends does not hear the answer
		return c.showImports(w, r, http.StatusUnprocessableEntity, p)
	}
	if u.name == "" {
		p.Wrong["file"] = "Choose a file."
	}
	if u.name != "" && format == "" {
		p.Wrong["format"] = "The file's name does not tell its format: choose one."
	}
	for name, most := range map[string]int{"reason": mostReasonRunes, "source": mostSourceRunes, "calendar": mostSourceRunes} {
		if text := u.fields[name]; !writable(text) || utf8.RuneCountInString(text) > most {
			p.Wrong[name] = fmt.Sprintf("This must be text of at most %d characters.", most)
		}
	}
	if len(p.Wrong) > 0 {
		return again()
	}
	by := c.by(r.Context(), p.Reason)
	summary, err := c.Importer.Import(r.Context(), imports.Request{
		TenantID: auth.Tenant(r.Context()), Kind: kind, Format: format, Body: u.body, Source: p.Source, Calendar: p.Calendar,
		Actor: by.Actor, Reason: by.Reason,
	})
	if err != nil {
		e, ok := errors.AsType[*fault.Error](err)
		if ok && len(e.Fields) == 1 && e.Fields[0].Pointer == "/query/calendar" {
			p.Wrong["calendar"] = "The calendar " + e.Fields[0].Detail + "."
			return again()
		}
		refusal, ok := refused(err)
		if !ok {
			return err
		}
		p.Refusal = &refusal
		return again()
	}
	p.Summary = &summary
	return c.showImports(w, r, http.StatusOK, p)
}

// mostSourceRunes bounds what a revision is said to come from.
const mostSourceRunes = 100

// writable reports whether the database has a form for a text.
func writable(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
