package claude

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sentence says one thing about the data that were handed in, and where in them it stands.
type Sentence struct {
	Text   string `json:"text"`
	Source string `json:"source"` // JSON pointer into the arguments: "/ratings/moat_strength/score"
}

// figure is one number of the data.
type figure struct {
	path   []part
	number string // as it is written in sentences
	value  float64
}

// part is one step of a path: a member of an object or an element of a list.
type part struct {
	key   string // of the member, or the element's index
	label string // what an element calls itself; "" for members and elements without a name
	index bool
}

// gap is something that the data themselves say is missing.
type gap struct {
	path    []part
	missing string
	reason  string
	field   string
}

// content is what sentences can be made of.
type content struct {
	figures []figure // shallowest first, in the order of keys and elements
	gaps    []gap
	lists   []list
}

// list is a list of objects, or of numbers, with the numbers that its elements have in common.
type list struct {
	path    []part
	columns map[string][]figure // by member; "" for bare numbers
}

// maxFigures bounds how many numbers are looked at.
const maxFigures = 100_000

// read finds the numbers in data, JSON values as agent.Request has them.
func read(data map[string]any) content {
	var c content
	c.walk(data, nil)
	// What stands higher up is more to the point. The sort is stable: within a depth the order stays.
	slices.SortStableFunc(c.figures, func(a, b figure) int { return len(a.path) - len(b.path) })
	slices.SortStableFunc(c.lists, func(a, b list) int { return len(a.path) - len(b.path) })
	return c
}

// decimal is how amounts, prices and quantities are written in JSON.
var decimal = regexp.MustCompile(`^-?[0-9]{1,30}([.][0-9]{1,30})?$`)

func (c *content) walk(v any, path []part) {
	if len(c.figures) >= maxFigures {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if key == gapsKey {
				c.readGaps(v[key], append(slices.Clip(path), part{key: key}))
				continue
			}
			c.walk(v[key], append(slices.Clip(path), part{key: key}))
		}
	case []any:
		before := len(c.figures)
		for i, element := range v {
			c.walk(element, append(slices.Clip(path), part{key: strconv.Itoa(i), label: nameOf(element), index: true}))
		}
		c.readList(path, c.figures[before:])
	case json.Number:
		if f, ok := numberOf(v.String()); ok {
			f.path = path
			c.figures = append(c.figures, f)
		}
	case string:
		if !decimal.MatchString(v) {
			return
		}
		if value, err := strconv.ParseFloat(v, 64); err == nil {
			c.figures = append(c.figures, figure{path: path, number: v, value: value})
		}
	}
}

// numberOf writes a number without exponent where that is readable, to six significant digits.
func numberOf(literal string) (figure, bool) {
	value, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return figure{}, false
	}
	if !strings.ContainsAny(literal, ".eE") && len(literal) <= 18 { // whole numbers are exact
		return figure{number: literal, value: value}, true
	}
	const digits = 6
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(value, 'g', digits, 64), 64)
	if err != nil {
		return figure{}, false
	}
	if a := math.Abs(rounded); a != 0 && (a < 1e-6 || a >= 1e15) {
		return figure{number: strconv.FormatFloat(rounded, 'e', -1, 64), value: value}, true
	}
	return figure{number: strconv.FormatFloat(rounded, 'f', -1, 64), value: value}, true
}

// gapsKey is where answers say what they lack.
const gapsKey = "insufficient_data"

func (c *content) readGaps(v any, path []part) {
	entries, ok := v.([]any)
	if !ok {
		return
	}
	for i, e := range entries {
		entry, ok := e.(map[string]any)
		if !ok {
			continue
		}
		text := func(key string) string { s, _ := entry[key].(string); return clean(s) }
		c.gaps = append(c.gaps, gap{
			path:    append(slices.Clip(path), part{key: strconv.Itoa(i), index: true}),
			missing: text("missing"), reason: text("reason"), field: text("field"),
		})
	}
}

// readList keeps the numbers that stand directly in the elements of a list.
func (c *content) readList(path []part, figures []figure) {
	columns := map[string][]figure{}
	for _, f := range figures {
		switch len(f.path) - len(path) {
		case 1:
			columns[""] = append(columns[""], f)
		case 2:
			if last := f.path[len(f.path)-1]; !last.index {
				columns[last.key] = append(columns[last.key], f)
			}
		}
	}
	c.lists = append(c.lists, list{path: path, columns: columns})
}

// nameOf is what an element of a list calls itself.
func nameOf(element any) string {
	object, ok := element.(map[string]any)
	if !ok {
		return ""
	}
	for _, key := range []string{"symbol", "name", "metric", "factor", "regime", "label", "date", "currency", "id"} {
		if s, ok := object[key].(string); ok && s != "" {
			return clean(s)
		}
	}
	return ""
}

// clean makes a text of the data fit to stand in a sentence.
func clean(s string) string {
	const most = 120
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most-1]) + "…"
	}
	return s
}

// pointer writes a path after RFC 6901.
func pointer(path []part) string {
	var b strings.Builder
	for _, p := range path {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(p.key))
	}
	return clean(b.String())
}

// words writes a path for readers: "ratings, moat strength, components return_on_equity".
func words(path []part) string {
	var list []string
	for _, p := range path {
		switch {
		case p.index && p.label != "" && len(list) > 0:
			list[len(list)-1] += " " + p.label
		case p.index && len(list) > 0:
			list[len(list)-1] += " " + p.key
		case p.label != "":
			list = append(list, p.label)
		default:
			list = append(list, strings.ReplaceAll(clean(p.key), "_", " "))
		}
	}
	return strings.Join(list, ", ")
}

func capitalised(s string) string {
	first, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[n:]
}

func (f figure) sentence() Sentence {
	at := pointer(f.path)
	last := len(f.path) - 1
	text := words(f.path) + " is " + f.number
	if last > 0 && !f.path[last].index {
		text = words(f.path[:last]) + ": " + words(f.path[last:]) + " is " + f.number
	}
	return Sentence{Text: capitalised(text) + " (" + at + ").", Source: at}
}

func (g gap) sentence() Sentence {
	at := pointer(g.path)
	text := "Missing: " + g.missing
	if g.field != "" {
		text += ", so that there is no " + g.field
	}
	if g.reason != "" {
		text += "; " + g.reason
	}
	return Sentence{Text: text + " (" + at + ").", Source: at}
}

// maxGaps bounds the sentences about what is missing.
const maxGaps = 20

// gapSentences names each missing thing once.
func (c content) gapSentences() []Sentence {
	var list []Sentence
	seen := map[string]bool{}
	for _, g := range c.gaps {
		if seen[g.missing] || len(list) == maxGaps {
			continue
		}
		seen[g.missing] = true
		list = append(list, g.sentence())
	}
	return list
}

// explain states the numbers, up to most, shallowest first, and what is missing.
func (c content) explain(most int) (sentences []Sentence, left int) {
	n := min(most, len(c.figures))
	for _, f := range c.figures[:n] {
		sentences = append(sentences, f.sentence())
	}
	return append(sentences, c.gapSentences()...), len(c.figures) - n
}

// analyze states the extremes of every number that the elements of a list have in common, and what is
// missing. Without such lists it states the numbers themselves.
func (c content) analyze(most int) (sentences []Sentence, left int) {
	for _, l := range c.lists {
		for _, name := range slices.Sorted(maps.Keys(l.columns)) {
			column := l.columns[name]
			if len(column) < 2 {
				continue
			}
			low, high := column[0], column[0]
			for _, f := range column[1:] {
				if f.value < low.value {
					low = f
				}
				if f.value > high.value {
					high = f
				}
			}
			if len(sentences)+2 > most {
				left += 2
				continue
			}
			sentences = append(sentences, extreme("largest", l.path, name, high), extreme("smallest", l.path, name, low))
		}
	}
	if len(sentences) == 0 {
		return c.explain(most)
	}
	return append(sentences, c.gapSentences()...), left
}

func extreme(which string, path []part, column string, f figure) Sentence {
	at := pointer(f.path)
	element := f.path[len(path)]
	what := words(path)
	if column != "" {
		what += ", " + strings.ReplaceAll(clean(column), "_", " ")
	}
	whose := "number " + element.key
	if element.label != "" {
		whose = element.label
	}
	return Sentence{Text: fmt.Sprintf("%s: the %s is %s, of %s (%s).", capitalised(what), which, f.number, whose, at), Source: at}
}

func text(sentences []Sentence) string {
	if len(sentences) == 0 {
		return "There are no numbers in what was handed in."
	}
	parts := make([]string, len(sentences))
	for i, s := range sentences {
		parts[i] = s.Text
	}
	return strings.Join(parts, " ")
}

// compact writes data as JSON with sorted keys.
func compact(data map[string]any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(data); err != nil {
		return "", err
	}
	return strings.TrimSpace(b.String()), nil
}
