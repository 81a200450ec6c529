// Package imports takes market and reference data in: files of rows in CSV or JSON become rows of a new
// revision, all of them or none.
//
// This package knows the kinds of rows, reads files row by row and says what is wrong with each;
// internal/store puts what it reads into PostgreSQL. Nothing holds a whole file: [Rows] turns the body
// of a request into the text that COPY reads, a few rows at a time.
//
// # What an import does
//
// Market data is append-only. Rows that say what is stored already are unchanged and leave nothing
// behind; the others, inserted (their key is new) or changed, become rows of one new revision, the
// tenant's highest plus one. An import in which nothing changes makes no revision, so that one may be
// sent again without harm: it needs no Idempotency-Key. Imports of one tenant take turns in storing,
// not in reading.
//
// A revision's content hash covers its rows and the hash before it.
//
// # Pricing packs
//
// A pack is a cut by date and revision, and is stale when a newer revision has rows dated on or before
// its date. So with d the earliest date of the rows of a new revision:
//
//   - every pack dated d or later becomes stale, and
//   - every date of the tenant's calendar (a date with a close of its calendar security) from d on gets
//     a pack at the new revision, in state warming, which a job then reconciles and makes fresh.
//
// The date of a news item is the UTC day of its publication; when a correction moves it, d is the
// earlier day. New securities change no pack, since none can have read them; a change of a security's
// attributes has no date and cuts all packs anew, and so does the import that names the calendar.
package imports

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/dawsos/dawsos/internal/fault"
)

// Kind is what the rows of a file are.
type Kind string

// The kinds of rows.
const (
	Securities   Kind = "securities"
	Prices       Kind = "prices"
	FX           Kind = "fx"
	Macro        Kind = "macro"
	Ratings      Kind = "ratings"
	Fundamentals Kind = "fundamentals"
	News         Kind = "news"
)

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{Securities, Prices, FX, Macro, Ratings, Fundamentals, News}
}

// Format is how a file is written.
type Format string

// The formats, named as media types.
const (
	CSV    Format = "text/csv"             // RFC 4180, a header row first
	JSON   Format = "application/json"     // an array of objects
	NDJSON Format = "application/x-ndjson" // an object a line
)

// Request is one import.
type Request struct {
	TenantID string
	Kind     Kind
	Format   Format
	Body     io.Reader
	Source   string // whence the rows come, for the revision; "" means "import"
	// Calendar is the symbol whose closes are the tenant's valuation days. It is for prices only, and
	// required with the first of them; once set it stays.
	Calendar string
	// Fetched is for what a provider describes, and nobody has written for this import: rows of macro series
	// that are stored keep the series' unit and origin, whatever they say, and a series of another frequency
	// is left out instead of refusing the file. It changes nothing of other kinds.
	Fetched bool
	Actor   string // for the audit trail
	Reason  string // why, for the audit trail; may be empty
}

// DefaultSource is the source of revisions whose request names none.
const DefaultSource = "import"

// Summary says what an import did.
type Summary struct {
	// Revision is the tenant's newest revision after the import: its own, unless nothing was inserted or
	// changed.
	Revision  int64
	Source    string
	Rows      int64 // of the file: inserted, changed and unchanged ones together
	Inserted  int64
	Changed   int64
	Unchanged int64
	// FirstDate and LastDate are of the file's rows; nil for securities, which have none.
	FirstDate, LastDate *time.Time
	Packs               Packs
	LeftOut             []string // why a fetched file's series were, one each; their rows are not counted
}

// Packs counts pricing packs that an import touched.
type Packs struct {
	Made  int64 // in state warming
	Stale int64 // that were not before
}

// Problem is one thing wrong with a row.
type Problem struct {
	Row    int64  // line of a CSV or NDJSON file, number of an element of a JSON array; from 1
	Column string // "" when it is the row as a whole
	Detail string // what is wrong and what is allowed
}

// Findings are what is wrong with the rows of a file.
type Findings struct {
	First []Problem // by row, at most MostProblems
	Total int64     // problems
	Rows  int64     // rows with a problem
}

// MostProblems is how many problems an answer lists.
const MostProblems = 100

// Merge adds findings about rows that have none in f so far.
func (f *Findings) Merge(more Findings) {
	f.First = append(f.First, more.First...)
	slices.SortStableFunc(f.First, func(a, b Problem) int { return cmp.Compare(a.Row, b.Row) })
	f.First = f.First[:min(len(f.First), MostProblems)]
	f.Total += more.Total
	f.Rows += more.Rows
}

// add notes a problem. Rows are counted by who reads them.
func (f *Findings) add(p Problem) {
	f.Total++
	if len(f.First) < MostProblems {
		f.First = append(f.First, p)
	}
}

// RefusedError says that a file was refused for its rows. It is a [fault.Invalid] that lists the first
// problems, each by the pointer /row/column: lines as the file's, elements of a JSON array from 0, as
// JSON pointers count.
type RefusedError struct {
	Findings

	fault *fault.Error
}

// NewRefusedError returns the error for the findings in a file.
func NewRefusedError(format Format, f Findings) *RefusedError {
	return newRefused("imported", format, f)
}

// newRefused says what was not done with the file.
func newRefused(done string, format Format, f Findings) *RefusedError {
	e := &fault.Error{Code: fault.Invalid, Fields: make([]fault.Field, len(f.First))}
	for i, p := range f.First {
		word, pointer := "line", p.Row
		if format == JSON {
			word, pointer = "row", p.Row-1
		}
		e.Fields[i] = fault.Field{Pointer: "/" + strconv.FormatInt(pointer, 10), Detail: fmt.Sprintf("%s %d: %s", word, p.Row, p.Detail)}
		if p.Column != "" {
			e.Fields[i].Pointer += "/" + p.Column
			e.Fields[i].Detail = fmt.Sprintf("%s %d, %s: %s", word, p.Row, p.Column, p.Detail)
		}
	}
	e.Detail = fmt.Sprintf("nothing was %s: %s in %s", done, count(f.Total, "problem"), count(f.Rows, "row"))
	if f.Total > int64(len(f.First)) {
		e.Detail += fmt.Sprintf("; the first %d are listed", len(f.First))
	}
	return &RefusedError{Findings: f, fault: e}
}

func count(n int64, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

func (e *RefusedError) Error() string { return e.fault.Error() }

func (e *RefusedError) Unwrap() error { return e.fault }

// Store keeps what is imported.
type Store interface {
	// Import stores the rows of a file or refuses all of them: with a [RefusedError] for what is wrong
	// with rows, with other faults for what is wrong with the request.
	Import(ctx context.Context, r Request) (Summary, error)
}
