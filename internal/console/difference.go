package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"
)

const (
	maxDifferences = 500 // that a comparison lists; the others are counted
	maxValueText   = 160 // bytes of a value in a difference
	maxDigits      = 64  // of numbers whose difference is computed exactly
)

// change is what has become of a value.
type change string

const (
	changed change = "changed"
	added   change = "added"   // only in the second document
	removed change = "removed" // only in the first
)

// difference is a value that two documents don't have in common.
type difference struct {
	Path   string // such as positions[symbol=AAA].weight; "" for the whole document
	Change change
	A, B   string // the values as JSON, shortened; "" where there is none
	// Of two numbers, decimal texts included: B less A with its sign, and that as a share of A, which
	// there is none of when A is 0. "" otherwise.
	Absolute, Relative string
}

// comparison is what two JSON documents differ in.
type comparison struct {
	Differences []difference // in order of path, at most maxDifferences
	More        int          // beyond those
	Equal       int          // values that are the same in both; an object or array counts by what is in it
}

// All is how many differences there are.
func (c comparison) All() int { return len(c.Differences) + c.More }

// compareJSON finds what differs between two documents. Members of objects are matched by name, elements of
// arrays by what names them where they are objects with such a field, else by their place. The order of what
// is matched by name makes no difference. Numbers are the same when their digits are.
func compareJSON(a, b []byte) (comparison, error) {
	first, err := decodeJSON(a)
	if err != nil {
		return comparison{}, fmt.Errorf("first document: %w", err)
	}
	second, err := decodeJSON(b)
	if err != nil {
		return comparison{}, fmt.Errorf("second document: %w", err)
	}
	var c comparer
	c.values(first, second)
	return c.comparison, nil
}

func decodeJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, fmt.Errorf("more than one value")
	}
	return v, nil
}

type comparer struct {
	comparison
	path []string // of where it is; joined only for what differs
}

// at compares below a part of the path.
func (c *comparer) at(part string, compare func()) {
	c.path = append(c.path, part)
	compare()
	c.path = c.path[:len(c.path)-1]
}

func (c *comparer) values(a, b any) {
	switch first := a.(type) {
	case map[string]any:
		if second, ok := b.(map[string]any); ok {
			c.objects(first, second)
			return
		}
	case []any:
		if second, ok := b.([]any); ok {
			c.arrays(first, second)
			return
		}
	default:
		if !isContainer(b) && a == b { // scalars of JSON: texts, json.Number, bool and nil
			c.Equal++
			return
		}
	}
	c.note(changed, a, b)
}

func isContainer(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

func (c *comparer) objects(a, b map[string]any) {
	if len(a) == 0 && len(b) == 0 {
		c.Equal++
		return
	}
	names := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		first, inA := a[name]
		second, inB := b[name]
		c.at(memberPath(name), func() { c.pair(first, inA, second, inB) })
	}
}

func (c *comparer) pair(a any, inA bool, b any, inB bool) {
	switch {
	case !inB:
		c.note(removed, a, nil)
	case !inA:
		c.note(added, nil, b)
	default:
		c.values(a, b)
	}
}

func (c *comparer) arrays(a, b []any) {
	if len(a) == 0 && len(b) == 0 {
		c.Equal++
		return
	}
	if key := keyOf(a, b); key != "" {
		c.keyed(key, a, b)
		return
	}
	for i := range max(len(a), len(b)) {
		var first, second any
		if i < len(a) {
			first = a[i]
		}
		if i < len(b) {
			second = b[i]
		}
		c.at("["+strconv.Itoa(i)+"]", func() { c.pair(first, i < len(a), second, i < len(b)) })
	}
}

func (c *comparer) keyed(key string, a, b []any) {
	index := func(list []any) map[string]any {
		by := make(map[string]any, len(list))
		for _, element := range list {
			name, _ := nameOf(element, key)
			by[name] = element
		}
		return by
	}
	first, second := index(a), index(b)
	names := slices.AppendSeq(slices.Collect(maps.Keys(first)), maps.Keys(second))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		one, inA := first[name]
		other, inB := second[name]
		c.at("["+key+"="+name+"]", func() { c.pair(one, inA, other, inB) })
	}
}

// keys are the fields that name the elements of a list, the likeliest first.
var keys = []string{
	"symbol", "date", "name", "id", "security_id", "series", "field", "currency", "sector", "factor", "shock", "scenario", "cycle",
}

// keyOf returns the field that tells the elements of both lists apart, "" when none does.
func keyOf(a, b []any) string {
	for _, key := range keys {
		if names(a, key) && names(b, key) {
			return key
		}
	}
	return ""
}

// names reports whether a field names each element of a list, and no two alike.
func names(list []any, key string) bool {
	seen := make(map[string]bool, len(list))
	for _, element := range list {
		name, ok := nameOf(element, key)
		if !ok || seen[name] {
			return false
		}
		seen[name] = true
	}
	return true
}

var plain = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.:/-]*$|^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)

// nameOf is what a field says of an element, as it stands in a path: texts that can't be mistaken without
// their quotes.
func nameOf(element any, key string) (string, bool) {
	o, ok := element.(map[string]any)
	if !ok {
		return "", false
	}
	switch v := o[key].(type) {
	case string:
		if plain.MatchString(v) {
			return v, true
		}
		return text(v), true
	case json.Number:
		return v.String(), true
	}
	return "", false
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

func memberPath(name string) string {
	if identifier.MatchString(name) {
		return "." + name
	}
	return "[" + text(name) + "]"
}

// note adds a difference at the present path.
func (c *comparer) note(what change, a, b any) {
	if len(c.Differences) == maxDifferences {
		c.More++
		return
	}
	d := difference{Path: strings.TrimPrefix(strings.Join(c.path, ""), "."), Change: what}
	if what != added {
		d.A = shortened(text(a))
	}
	if what != removed {
		d.B = shortened(text(b))
	}
	if what == changed {
		d.Absolute, d.Relative = distance(a, b)
	}
	c.Differences = append(c.Differences, d)
}

// text is a value as compact JSON.
func text(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // it was decoded from JSON
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func shortened(s string) string {
	if len(s) <= maxValueText {
		return s
	}
	return strings.ToValidUTF8(s[:maxValueText], "") + "…"
}

var decimalText = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?$`)

// distance is how far two numbers are apart. Money is decimal text in answers, so texts that are numbers count.
func distance(a, b any) (absolute, relative string) {
	first, ok1 := numberOf(a)
	second, ok2 := numberOf(b)
	if !ok1 || !ok2 {
		return "", ""
	}
	by := second.Sub(first)
	absolute = by.String()
	if len(strings.Trim(absolute, "-0.")) > 12 {
		f, _ := by.Float64()
		absolute = strconv.FormatFloat(f, 'g', 6, 64)
	}
	if by.IsPositive() {
		absolute = "+" + absolute
	}
	if !first.IsZero() {
		dx, _ := by.Float64()
		x, _ := first.Abs().Float64()
		percent := 100 * dx / x
		relative = inThreeDigits(percent)
		if percent >= 100 || percent <= -100 {
			relative = strconv.FormatFloat(percent, 'f', 0, 64)
		}
		relative += "\u202f%"
		if by.IsPositive() {
			relative = "+" + relative
		}
	}
	return absolute, relative
}

// numberOf reads numbers whose exact difference has a bounded length.
func numberOf(v any) (decimal.Decimal, bool) {
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case json.Number:
		s = v.String()
	default:
		return decimal.Decimal{}, false
	}
	if len(s) > maxDigits || !decimalText.MatchString(s) {
		return decimal.Decimal{}, false
	}
	d, err := decimal.NewFromString(s)
	return d, err == nil
}
