package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"mime"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// What a page shows of an answer; the whole of it stands beside, as JSON.
const (
	maxRows   = 200 // of a table
	maxDepth  = 4   // of objects within objects
	barLength = 1000
)

// result is an answer as pages show it.
type result struct {
	RunID    string
	Pattern  *pattern.Definition // nil when it is not served any more
	Sections []section
	Charts   []json.RawMessage
	Warnings []string
	Trace    patterns.Trace
	Hash     string
	Data     json.RawMessage
}

// section is one output, or an object within one.
type section struct {
	ID, Title string
	Level     int // of its heading
	Facts     []factRow
	Tables    []table
	Missing   []gap
	Sections  []section
	File      *file
}

var base64s = regexp.MustCompile(`^[A-Za-z0-9+/]*={0,2}$`)

type factRow struct{ Name, Value string }

type table struct {
	Title   string
	Columns []column
	Rows    [][]cell
	More    int // rows that are not shown
	Aside   bool
}

type column struct {
	Name   string
	Number bool
}

type cell struct {
	Text   string
	Number bool
}

// gap says what is missing, and why.
type gap struct{ Field, Missing, Reason string }

// file is what a report step made.
type file struct {
	Name, MediaType string
	Bytes           string
	Address         template.URL
}

// hint is what a definition's display says of an output.
type hint struct {
	Title   string            `json:"title"`
	View    string            `json:"view"` // figures, table or file
	Rows    string            `json:"rows"`
	Columns []string          `json:"columns"`
	Format  map[string]string `json:"format"` // percent or ratio, by field
}

// newResult makes an answer readable: each output is a section with what its definition's display says about
// it, in the answer's own order. Values are shown as they are; a null is a dash, and why stands below.
func newResult(a *patterns.Answer, d *pattern.Definition) (result, error) {
	out := result{RunID: a.RunID, Pattern: d, Charts: a.Charts, Warnings: a.Warnings, Trace: a.Trace, Hash: a.DataHash, Data: a.Data}
	hints := map[string]hint{}
	if d != nil && len(d.Display) > 0 {
		// Display is handed on unread by the engine: what does not fit is no hint.
		if err := json.Unmarshal(d.Display, &hints); err != nil {
			hints = map[string]hint{}
		}
	}
	data, err := decodeOrdered(a.Data)
	if err != nil {
		return result{}, fmt.Errorf("data of run %s: %w", a.RunID, err)
	}
	members, ok := data.(object)
	if !ok {
		return result{}, fmt.Errorf("data of run %s is no object", a.RunID)
	}
	for _, m := range members {
		h := hints[m.name]
		title := h.Title
		if title == "" {
			title = heading(m.name)
		}
		out.Sections = append(out.Sections, newSection(title, m.name, 3, m.value, h))
	}
	return out, nil
}

func newSection(title, id string, level int, value any, h hint) section {
	s := section{ID: "result-" + id, Title: title, Level: min(level, 6)}
	switch v := value.(type) {
	case object:
		s.fill(v, id, level, h)
	case []any:
		s.list("", v, h, false)
	default:
		s.Facts = append(s.Facts, factRow{Name: "value", Value: show(value, "")})
	}
	return s
}

// fill sorts the members of an object: figures first, then its table, then what else there is.
func (s *section) fill(o object, id string, level int, h hint) {
	if content, ok := o.get("content_base64").(string); ok {
		name, _ := o.get("filename").(string)
		given, _ := o.get("media_type").(string)
		if media, _, err := mime.ParseMediaType(given); err == nil && base64s.MatchString(content) { // agents may be anybody's
			s.File = &file{
				Name: name, MediaType: media, Bytes: show(o.get("bytes"), ""),
				Address: template.URL("data:" + media + ";base64," + content), //nolint:gosec // a media type and base64: both were checked
			}
		}
	}
	for _, m := range o {
		switch v := m.value.(type) {
		case object:
			if level-3 >= maxDepth || len(v) == 0 {
				continue
			}
			s.Sections = append(s.Sections, newSection(heading(m.name), id+"-"+m.name, level+1, v, hint{Format: h.Format}))
		case []any:
			if m.name == "insufficient_data" {
				s.Missing = append(s.Missing, gapsOf(v)...)
				continue
			}
			if h.View == "table" && m.name == h.Rows {
				s.list("", v, h, false)
				continue
			}
			if len(v) > 0 {
				s.list(heading(m.name), v, hint{Format: h.Format}, h.View == "table")
			}
		default:
			if m.name == "content_base64" {
				continue
			}
			s.Facts = append(s.Facts, factRow{Name: words(m.name), Value: show(v, h.Format[m.name])})
		}
	}
}

// list shows an array: of objects as a table, of anything else in a line.
func (s *section) list(title string, items []any, h hint, aside bool) {
	t := table{Title: title, Aside: aside}
	index := map[string]int{}
	for _, name := range h.Columns {
		index[name] = len(t.Columns)
		t.Columns = append(t.Columns, column{Name: name})
	}
	for _, item := range items {
		o, ok := item.(object)
		if !ok {
			s.Facts = append(s.Facts, factRow{Name: strings.ToLower(title), Value: show(items, "")})
			return
		}
		if len(h.Columns) > 0 {
			continue
		}
		for _, m := range o {
			if _, known := index[m.name]; !known && len(t.Columns) < 12 {
				index[m.name] = len(t.Columns)
				t.Columns = append(t.Columns, column{Name: m.name})
			}
		}
	}
	for i, item := range items {
		if i == maxRows {
			t.More = len(items) - maxRows
			break
		}
		row := make([]cell, len(t.Columns))
		for _, m := range item.(object) {
			if at, ok := index[m.name]; ok {
				row[at] = cell{Text: show(m.value, h.Format[m.name]), Number: isNumber(m.value)}
				t.Columns[at].Number = t.Columns[at].Number || row[at].Number
			}
		}
		t.Rows = append(t.Rows, row)
	}
	s.Tables = append(s.Tables, t)
}

func gapsOf(items []any) []gap {
	var list []gap
	for _, item := range items {
		if o, ok := item.(object); ok {
			list = append(list, gap{show(o.get("field"), ""), show(o.get("missing"), ""), show(o.get("reason"), "")})
		}
	}
	return list
}

// show writes a value. Fractions become percentages only where the definition says so.
func show(v any, format string) string {
	switch v := v.(type) {
	case nil:
		return "–"
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case string:
		return v
	case json.Number:
		x, err := v.Float64()
		if err != nil {
			return v.String()
		}
		switch {
		case format == "percent":
			return strconv.FormatFloat(100*x, 'f', 2, 64) + "\u202f%"
		case format == "ratio":
			return strconv.FormatFloat(x, 'f', 3, 64)
		case !strings.ContainsAny(v.String(), ".eE"):
			return count(v.String())
		default:
			return strconv.FormatFloat(x, 'g', 6, 64)
		}
	case []any:
		parts := make([]string, 0, len(v))
		for i, item := range v {
			if i == 20 {
				parts = append(parts, fmt.Sprintf("and %d more", len(v)-i))
				break
			}
			parts = append(parts, show(item, format))
		}
		return strings.Join(parts, ", ")
	case object:
		parts := make([]string, 0, len(v))
		for _, m := range v {
			parts = append(parts, words(m.name)+": "+show(m.value, format))
		}
		return strings.Join(parts, "; ")
	}
	return fmt.Sprint(v)
}

func isNumber(v any) bool {
	if _, ok := v.(json.Number); ok {
		return true
	}
	s, ok := v.(string) // money and quantities are decimal text
	if !ok || s == "" {
		return false
	}
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// heading makes a heading of a name.
func heading(name string) string { return capitalized(words(name)) }

// object is a JSON object whose members stand in the text's order: answers are written so that they read well.
type object []member

type member struct {
	name  string
	value any
}

func (o object) get(name string) any {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// decodeOrdered reads JSON; objects become object, numbers json.Number.
func decodeOrdered(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return decodeValue(d)
}

func decodeValue(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		o := object{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decodeValue(d)
			if err != nil {
				return nil, err
			}
			o = append(o, member{fmt.Sprint(name), v})
		}
		_, err = d.Token()
		return o, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := decodeValue(d)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	}
	return t, nil
}

// lanes are the steps of a run, drawn over one span of time.
type lanes struct {
	Bars []bar
	// Span lasts from the first step's start to the last one's end. The run is longer: a trace does not tell
	// when it began, only how long it took to resolve the context, take the steps and put the answer together.
	Span time.Duration
}

// bar is a step in a waterfall: where it stands on a scale from 0 to 1000, the span.
type bar struct {
	patterns.StepTrace
	Depth  int // 1 for the steps of a pattern that a step ran
	X      float64
	Length float64
}

// Why says why a step was skipped or failed.
func (b bar) Why() string {
	if b.Error != "" {
		return b.Error
	}
	return b.Reason
}

// waterfall lays out steps by when they began and how long they took: what overlaps ran side by side.
func waterfall(t patterns.Trace) lanes {
	var bars []bar
	var begin, end time.Time
	var add func(steps []patterns.StepTrace, depth int)
	add = func(steps []patterns.StepTrace, depth int) {
		for _, s := range steps {
			bars = append(bars, bar{StepTrace: s, Depth: depth})
			if !s.StartedAt.IsZero() {
				stop := s.StartedAt.Add(time.Duration(s.DurationSeconds * float64(time.Second)))
				if begin.IsZero() || s.StartedAt.Before(begin) {
					begin = s.StartedAt
				}
				if stop.After(end) {
					end = stop
				}
			}
			add(s.Steps, depth+1)
		}
	}
	add(t.Steps, 0)
	span := end.Sub(begin)
	whole := span.Seconds()
	for i := range bars {
		if whole <= 0 || bars[i].StartedAt.IsZero() {
			continue
		}
		// A bar that would be thinner than can be seen keeps a width.
		bars[i].Length = max(barLength*bars[i].DurationSeconds/whole, 4)
		bars[i].X = min(barLength*bars[i].StartedAt.Sub(begin).Seconds()/whole, barLength-4)
	}
	return lanes{bars, span}
}
