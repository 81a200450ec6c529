package imports

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/dawsos/dawsos/internal/fault"
)

// mostRow bounds the bytes of one row, and with them what a reader holds in memory: an open quote
// would otherwise make the rest of a file one field.
const mostRow = 1 << 20

// cell is a field of a row as the file has it.
type cell struct {
	text  string
	given bool
	form  form
}

type form uint8

const (
	quoted form = iota // a text; in CSV, everything
	number             // of JSON
	list               // of JSON, of texts, which stand in text with ";" between them
	wrong              // of JSON: what no column is
)

// source reads a file row by row.
type source interface {
	// next reads a row into cells, which stand in the order of the schema's columns and are empty
	// before. A *rowError is about this row, after which the next may be read unless it is the last;
	// io.EOF is the end, and any other error is the body's.
	next(cells []cell) (row int64, err error)
}

// rowError is a row that can't be read.
type rowError struct {
	column, detail string
	last           bool // the rest of the file can't be read either
}

func (e *rowError) Error() string { return e.detail }

var errRowTooLong = &rowError{detail: fmt.Sprintf("is longer than %d bytes; what follows was not read", mostRow), last: true}

// bounded limits what is read between two rows, and remembers how reading failed: decoders have
// errors of their own for it.
type bounded struct {
	r      io.Reader
	since  int
	failed error
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.since > mostRow {
		b.failed = errRowTooLong
		return 0, b.failed
	}
	n, err := b.r.Read(p)
	b.since += n
	if err != nil && !errors.Is(err, io.EOF) {
		b.failed = err
	}
	return n, err
}

// newSource opens a file. What is wrong with it before its first row is a fault.
func newSource(s *schema, format Format, body io.Reader) (source, error) {
	b := &bounded{r: body}
	switch format {
	case CSV:
		return newCSV(s, b)
	case NDJSON:
		lines := bufio.NewScanner(b)
		lines.Buffer(make([]byte, 64<<10), mostRow)
		return &lineSource{body: b, lines: lines, schema: s}, nil
	case JSON:
		return newJSON(s, b)
	}
	return nil, fault.New(fault.UnsupportedMedia, "the body must be %s, %s or %s", CSV, JSON, NDJSON)
}

// csvSource reads RFC 4180 with a header row.
type csvSource struct {
	body    *bounded
	csv     *csv.Reader
	columns []int // by field: the index of its column, or ignoredField
	last    int   // line of the last field that was read
}

const ignoredField = -1

func newCSV(s *schema, b *bounded) (*csvSource, error) {
	text := bufio.NewReader(b)
	if mark, err := text.Peek(3); err == nil && string(mark) == "\uFEFF" {
		_, _ = text.Discard(3) // a byte order mark, as spreadsheets write it
	}
	c := &csvSource{body: b, csv: csv.NewReader(text)}
	c.csv.ReuseRecord = true
	c.csv.FieldsPerRecord = -1 // counted here, so that reading goes on
	c.last = 1
	header, err := c.csv.Read()
	switch {
	case b.failed != nil && !errors.Is(b.failed, errRowTooLong):
		return nil, b.failed
	case errors.Is(err, io.EOF):
		return nil, fault.New(fault.Malformed, "the body is empty; it must start with a row of column names: %s", s.names())
	case err != nil:
		return nil, fault.Wrap(err, fault.Malformed, "the first row can't be read as column names: %s", s.names())
	}
	var fields []fault.Field
	complain := func(name, format string, args ...any) {
		fields = append(fields, fault.Field{Pointer: "/1/" + name, Detail: "line 1: " + fmt.Sprintf(format, args...)})
	}
	for _, name := range header {
		i := s.index(name)
		switch {
		case slices.Contains(s.ignored, name):
			i = ignoredField
		case i < 0:
			complain(printable(name), "is no column; the columns are %s", s.names())
		case slices.Contains(c.columns, i):
			complain(name, "stands twice")
		}
		c.columns = append(c.columns, i)
		if len(fields) == MostProblems {
			break
		}
	}
	for i, column := range s.columns {
		if !column.optional && !slices.Contains(c.columns, i) {
			complain(column.name, "the column is missing")
		}
	}
	if len(fields) > 0 {
		return nil, &fault.Error{Code: fault.Invalid, Detail: "nothing was taken in: the names of columns are wrong", Fields: fields}
	}
	return c, nil
}

// printable shortens a name from outside to what an error may repeat.
func printable(name string) string {
	name = strings.ToValidUTF8(name, "\uFFFD")
	if r := []rune(name); len(r) > 50 {
		name = string(r[:50]) + "…"
	}
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

func (c *csvSource) next(cells []cell) (int64, error) {
	c.body.since = 0
	fields, err := c.csv.Read()
	if err != nil {
		if c.body.failed != nil {
			return int64(c.last) + 1, c.body.failed
		}
		if bad, ok := errors.AsType[*csv.ParseError](err); ok {
			return int64(bad.StartLine), &rowError{detail: "can't be read: " + bad.Err.Error()}
		}
		return 0, err
	}
	line, _ := c.csv.FieldPos(0)
	c.last, _ = c.csv.FieldPos(len(fields) - 1)
	if len(fields) != len(c.columns) {
		return int64(line), &rowError{detail: fmt.Sprintf("has %s, not %d", count(int64(len(fields)), "field"), len(c.columns))}
	}
	for i, field := range fields {
		if at := c.columns[i]; at != ignoredField {
			cells[at] = cell{text: field, given: true}
		}
	}
	return int64(line), nil
}

// jsonSource reads an array of objects.
type jsonSource struct {
	body   *bounded
	dec    *json.Decoder
	schema *schema
	row    int64
	raw    json.RawMessage
}

func newJSON(s *schema, b *bounded) (*jsonSource, error) {
	j := &jsonSource{body: b, dec: json.NewDecoder(b), schema: s}
	if start, err := j.dec.Token(); err != nil || start != json.Delim('[') {
		if b.failed != nil && !errors.Is(b.failed, errRowTooLong) {
			return nil, b.failed
		}
		return nil, fault.New(fault.Malformed, "the body must be a JSON array of objects with the members %s", s.names())
	}
	return j, nil
}

func (j *jsonSource) next(cells []cell) (int64, error) {
	j.body.since = 0
	j.row++
	if !j.dec.More() {
		return j.row, j.end()
	}
	j.raw = j.raw[:0]
	if err := j.dec.Decode(&j.raw); err != nil {
		return j.row, j.broken(err)
	}
	return j.row, object(j.schema, j.raw, cells)
}

// end reads what is behind the last element.
func (j *jsonSource) end() error {
	if _, err := j.dec.Token(); err != nil {
		return j.broken(err)
	}
	if _, err := j.dec.Token(); !errors.Is(err, io.EOF) {
		return &rowError{detail: "something follows the end of the array", last: true}
	}
	return io.EOF
}

func (j *jsonSource) broken(err error) error {
	if j.body.failed != nil {
		return j.body.failed
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &rowError{detail: "the array has no end", last: true}
	}
	return &rowError{detail: fmt.Sprintf("is not valid JSON; what follows was not read: %s", err), last: true}
}

// lineSource reads an object from each line.
type lineSource struct {
	body   *bounded
	lines  *bufio.Scanner
	schema *schema
	line   int64
}

func (l *lineSource) next(cells []cell) (int64, error) {
	for {
		l.body.since = 0
		l.line++
		if !l.lines.Scan() {
			break
		}
		text := l.lines.Bytes()
		switch {
		case len(strings.TrimSpace(string(text))) == 0:
			continue
		case !json.Valid(text):
			return l.line, &rowError{detail: "is not valid JSON"}
		}
		return l.line, object(l.schema, text, cells)
	}
	switch {
	case l.body.failed != nil:
		return l.line, l.body.failed
	case errors.Is(l.lines.Err(), bufio.ErrTooLong):
		return l.line, errRowTooLong
	case l.lines.Err() != nil:
		return l.line, l.lines.Err()
	}
	return l.line, io.EOF
}

// object reads a row from valid JSON.
func object(s *schema, raw []byte, cells []cell) error {
	if !utf8.Valid(raw) {
		return &rowError{detail: "must be valid UTF-8"}
	}
	value := gjson.ParseBytes(raw)
	if !value.IsObject() {
		return &rowError{detail: "must be an object"}
	}
	var bad *rowError
	value.ForEach(func(key, member gjson.Result) bool {
		name := key.String()
		i := s.index(name)
		switch {
		case slices.Contains(s.ignored, name):
		case i < 0:
			bad = &rowError{column: printable(name), detail: "is no column; the columns are " + s.names()}
		case cells[i].given:
			bad = &rowError{column: name, detail: "stands twice"}
		default:
			cells[i] = toCell(member)
		}
		return bad == nil
	})
	if bad != nil {
		return bad
	}
	return nil
}

func toCell(member gjson.Result) cell {
	c := cell{given: true}
	switch {
	case member.Type == gjson.Null:
	case member.Type == gjson.String:
		c.text = member.Str
	case member.Type == gjson.Number:
		c.text, c.form = member.Raw, number
	case member.IsArray():
		c.form = list
		texts := []string{}
		for _, element := range member.Array() {
			if element.Type != gjson.String || element.Str == "" || strings.Contains(element.Str, ";") {
				c.form = wrong
			}
			texts = append(texts, element.Str)
		}
		c.text = strings.Join(texts, ";")
	default:
		c.form = wrong
	}
	return c
}
