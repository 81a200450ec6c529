package imports

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/fault"
)

// Listing is what rows need to know of a listed security.
type Listing struct {
	ID       string
	Currency string
}

// Reference answers what rows say against what is stored.
type Reference struct {
	// Listing finds a listed security by its symbol.
	Listing func(symbol string) (Listing, bool)
	// NewID returns the id that a security gets when it is new.
	NewID func(symbol string) string
	// Latest is the last day that prices and rates may be of, YYYY-MM-DD: tomorrow, as it is in UTC; "" means
	// any. A slip of the year would make a pricing pack that everybody takes for the newest, and rows stay.
	Latest string
}

// row is a row of a file with its fields in the form in which they are stored.
type row struct {
	number int64
	schema *schema
	cells  []cell
}

func (r *row) text(name string) string { return r.cells[r.schema.index(name)].text }

// Rows reads a file. As an io.Reader it is the text that COPY takes into a table with the columns that
// [Columns] names: of the rows that are fine, while it takes note of the others.
type Rows struct {
	schema    *schema
	source    source
	reference Reference
	row       row

	buffer []byte // of which what is behind sent is still to be read
	sent   int

	findings    Findings
	count       int64 // of all rows
	first, last string
	err         error // of the body, or io.EOF
}

// Open starts to read a file. It fails with a fault when the file is not one of rows of this kind.
func Open(kind Kind, format Format, body io.Reader, reference Reference) (*Rows, error) {
	s, ok := schemas[kind]
	if !ok {
		return nil, fault.New(fault.NotFound, "there is no import of %q", kind)
	}
	source, err := newSource(s, format, body)
	if err != nil {
		return nil, bodyError(err)
	}
	return &Rows{
		schema: s, source: source, reference: reference,
		row: row{schema: s, cells: make([]cell, len(s.columns))},
	}, nil
}

// chunk is about how much text is made ready at once.
const chunk = 64 << 10

// Read implements io.Reader.
func (r *Rows) Read(p []byte) (int, error) {
	if r.sent == len(r.buffer) {
		r.buffer, r.sent = r.buffer[:0], 0
		for r.err == nil && len(r.buffer) < chunk {
			var fine bool
			if fine, r.err = r.next(); fine {
				r.buffer = r.appendCopy(r.buffer)
			}
		}
		if len(r.buffer) == 0 {
			return 0, r.err
		}
	}
	n := copy(p, r.buffer[r.sent:])
	r.sent += n
	return n, nil
}

// Err returns why reading ended before the file did: a fault, or nil.
func (r *Rows) Err() error {
	if errors.Is(r.err, io.EOF) {
		return nil
	}
	return bodyError(r.err)
}

// Findings are what is wrong with the rows that were read.
func (r *Rows) Findings() Findings { return r.findings }

// Count is how many rows were read.
func (r *Rows) Count() int64 { return r.count }

// Dates returns the earliest and the latest date of the rows that are fine; nil when they have none.
func (r *Rows) Dates() (first, last *time.Time) {
	if r.first == "" {
		return nil, nil
	}
	parse := func(text string) *time.Time {
		t, _ := time.Parse(time.DateOnly, text) // was checked
		return &t
	}
	return parse(r.first), parse(r.last)
}

// bodyError gives an error of a request's body a code.
func bodyError(err error) error {
	if err == nil || fault.CodeOf(err) != fault.Internal {
		return err
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fault.Wrap(err, fault.TooLarge, "the body is larger than %d bytes: send it in parts", large.Limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fault.Wrap(err, fault.Timeout, "the body did not come in in the time that an import has")
	}
	return fault.Wrap(err, fault.Malformed, "the body broke off")
}

// next reads a row, and reports whether it is fine. Its error is io.EOF or the body's.
func (r *Rows) next() (fine bool, err error) {
	clear(r.row.cells)
	number, err := r.source.next(r.row.cells)
	r.row.number = number
	if bad, ok := errors.AsType[*rowError](err); ok {
		r.count++
		r.findings.Rows++
		r.findings.add(Problem{Row: number, Column: bad.column, Detail: bad.detail})
		if bad.last {
			return false, io.EOF
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.count++
	before := r.findings.Total
	r.check()
	if r.findings.Total > before {
		r.findings.Rows++
		return false, nil
	}
	if r.schema.date != "" {
		date := r.row.text(r.schema.date)[:len(time.DateOnly)]
		if r.first == "" || date < r.first {
			r.first = date
		}
		if date > r.last {
			r.last = date
		}
	}
	return true, nil
}

// check brings the row's fields into the form in which they are stored, and notes what is wrong.
func (r *Rows) check() {
	complain := func(column, detail string) {
		r.findings.add(Problem{Row: r.row.number, Column: column, Detail: detail})
	}
	before := r.findings.Total
	var listed Listing // the security that the row is of
	for i := range r.schema.columns {
		c, of := &r.schema.columns[i], &r.row.cells[i]
		problem := c.read(of)
		if problem == "" && of.text != "" && (c.symbol || c.list) {
			listed, problem = r.listed(of.text)
		}
		if problem != "" {
			complain(c.name, problem)
		}
	}
	if r.findings.Total > before {
		return
	}
	if latest := r.reference.Latest; r.schema.past && latest != "" && r.row.text(r.schema.date) > latest {
		complain(r.schema.date, "must not be after "+latest+", tomorrow (UTC)")
		return
	}
	if r.schema.rows != nil {
		if column, problem := r.schema.rows(&r.row); problem != "" {
			complain(column, problem)
			return
		}
	}
	if i := r.schema.index("currency"); listed.ID != "" && i >= 0 && r.row.cells[i].text != listed.Currency {
		complain("currency", "is not the security's, which is "+listed.Currency)
	}
}

// read turns a cell into its stored form, and returns what is wrong with it.
func (c *column) read(of *cell) (problem string) {
	switch {
	case of.form == list && c.list, of.form == number && c.number, of.form == quoted: // as it should be
	case c.list:
		return "must be a list of symbols"
	case c.number:
		return "must be a number, or a string that holds one"
	default:
		return "must be a string"
	}
	if of.text == "" {
		if !c.empty {
			return "must not be empty"
		}
		return ""
	}
	of.text, problem = c.check(of.text)
	return problem
}

// listed returns the last of some symbols' securities, and a problem if one has none.
func (r *Rows) listed(symbols string) (listed Listing, problem string) {
	for one := range strings.SplitSeq(symbols, ";") {
		var ok bool
		if listed, ok = r.reference.Listing(one); !ok {
			return Listing{}, one + " is the symbol of no listed security; import securities first"
		}
	}
	return listed, ""
}

// appendCopy writes the row in COPY's text format.
func (r *Rows) appendCopy(b []byte) []byte {
	if r.schema.id {
		b = append(append(b, r.reference.NewID(r.row.text("symbol"))...), '\t')
	}
	for i := range r.schema.columns {
		c, of := &r.schema.columns[i], &r.row.cells[i]
		switch {
		case c.staged == "-":
			continue
		case c.symbol:
			listed, _ := r.reference.Listing(of.text)
			b = append(b, listed.ID...)
		case of.text == "" && c.null:
			b = append(b, `\N`...)
		default:
			b = appendEscaped(b, of.text)
		}
		b = append(b, '\t')
	}
	for _, g := range r.schema.given {
		said := byte('f')
		for _, name := range g.columns {
			if r.row.cells[r.schema.index(name)].given {
				said = 't'
			}
		}
		b = append(b, said, '\t')
	}
	return append(strconv.AppendInt(b, r.row.number, 10), '\n')
}

func appendEscaped(b []byte, s string) []byte {
	for i := range len(s) {
		switch s[i] {
		case '\\':
			b = append(b, '\\', '\\')
		case '\t':
			b = append(b, '\\', 't')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, s[i])
		}
	}
	return b
}
