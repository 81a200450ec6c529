package pattern

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ValueError is one thing that is wrong with a value.
type ValueError struct {
	// Pointer is the JSON pointer within the value: "" for itself, "/0/symbol" for a part of it. In
	// place of one that is thousands of bytes long it names something around that part.
	Pointer string
	Msg     string // a clause about that part, fit to follow its name
}

// ValueErrors are what is wrong with a value: at least one problem, at most MaxValueErrors, in an
// order that only the value and its declaration decide.
type ValueErrors []ValueError

// MaxValueErrors bounds what is said about one value. The caller gets the idea, and can't make us
// echo all of it.
const MaxValueErrors = 50

// Error returns a clause to follow the value's name.
func (e ValueErrors) Error() string {
	clauses := make([]string, len(e))
	for i, err := range e {
		clauses[i] = err.Msg
		if err.Pointer != "" {
			clauses[i] = err.Pointer + ": " + err.Msg
		}
	}
	return strings.Join(clauses, "; ")
}

// Value checks a JSON value against the input's declaration and returns its canonical form, which
// is a new value and checks as itself:
//
//   - integers and numbers are json.Number,
//   - arrays are []any, their items in canonical form,
//   - objects are map[string]any. A property that is absent, or null, takes its default; without one
//     it stays absent, or null,
//   - what nothing is declared about stays as it is, its numbers json.Number,
//   - all others are string or bool.
//
// Numbers may come as json.Number, which alone keeps all digits, as float64 or as int. The error is
// of type ValueErrors. Null is no value: whether an input may be left out is not asked here. The
// defaults of in must be in canonical form themselves, as Parse makes them; they are not copied.
func (in Input) Value(v any) (any, error) {
	budget := MaxSize
	canonical, errs := in.check(v, &budget)
	if len(errs) > 0 {
		return nil, errs
	}
	return canonical, nil
}

// check is Value. The budget is described at valueCheck.
func (in Input) check(v any, budget *int) (any, ValueErrors) {
	c := valueCheck{budget: budget}
	return c.value(&shape{in: &in}, v), c.errs
}

// valueCheck is the check of one value.
type valueCheck struct {
	errs ValueErrors
	path []string // keys and indexes of the part at hand
	// budget is how much defaults may still add. A default that stands once in a definition may
	// apply to each item of an array, whose own default may hold many of them, and so on: a file of
	// some kilobytes could ask for more than there is memory.
	budget *int
	hints  int // suggestions made
}

const maxValueHints = 5

// fail records a problem with the part at hand.
func (c *valueCheck) fail(format string, args ...any) {
	if !c.full() {
		c.errs = append(c.errs, ValueError{Pointer: shortPointer(c.path), Msg: fmt.Sprintf(format, args...)})
	}
}

// full reports that nothing more will be said, so that there is no point in looking.
func (c *valueCheck) full() bool { return len(c.errs) >= MaxValueErrors }

// hint returns the clause "; did you mean x?", or "".
func (c *valueCheck) hint(name string, known []string) string {
	if c.hints == maxValueHints {
		return ""
	}
	c.hints++
	if closest := Closest(name, known); closest != "" {
		return fmt.Sprintf("; did you mean %q?", shorten(closest))
	}
	return ""
}

// within checks a part of the part at hand.
func (c *valueCheck) within(token string, check func()) {
	c.path = append(c.path, token)
	check()
	c.path = c.path[:len(c.path)-1]
}

// value returns the canonical form of v. It means nothing once there are errors.
func (c *valueCheck) value(s *shape, v any) any {
	switch s.in.Type {
	case Array:
		if a, ok := v.([]any); ok {
			return c.array(s, a)
		}
	case Object:
		if o, ok := v.(map[string]any); ok {
			return c.object(s, o)
		}
	case Enum:
		if text, ok := v.(string); ok {
			if !s.allows(text) {
				c.fail("%q is not one of %s%s", shorten(text), quoteSome(s.in.Values), c.hint(text, s.in.Values))
			}
			return text
		}
	}
	canonical, err := s.in.scalar(v)
	if err != nil {
		c.fail("%v", err)
	}
	return canonical
}

func (c *valueCheck) array(s *shape, a []any) any {
	if !c.shallow() {
		return nil
	}
	if least := s.in.MinItems; least != nil && len(a) < *least {
		c.fail("has %s, at least %d are needed", count(len(a), "item"), *least)
	}
	if most := s.in.MaxItems; most != nil && len(a) > *most {
		c.fail("has %s, %d are allowed", count(len(a), "item"), *most)
	}
	canonical := make([]any, len(a))
	for i, v := range a {
		if c.full() {
			break
		}
		c.within(strconv.Itoa(i), func() {
			if item := s.item(); item != nil {
				canonical[i] = c.value(item, v)
			} else {
				canonical[i] = c.free(v)
			}
		})
	}
	return canonical
}

func (c *valueCheck) object(s *shape, o map[string]any) any {
	if s.in.Properties == nil {
		return c.free(o)
	}
	if !c.shallow() {
		return nil
	}
	names, properties := s.properties()
	var unknown []string
	for name := range o {
		if _, ok := s.in.Properties[name]; !ok {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		if c.full() {
			break
		}
		c.within(name, func() { c.fail("the object has no such property%s", c.hint(name, names)) })
	}

	canonical := make(map[string]any, len(o))
	for i, name := range names {
		if c.full() {
			break
		}
		property := properties[i]
		v, given := o[name]
		switch {
		case v != nil:
			c.within(name, func() { canonical[name] = c.value(property, v) })
		case property.in.Required:
			c.within(name, func() { c.fail("is required") })
		case property.in.Default != nil:
			if *c.budget = spend(*c.budget, property.in.Default); *c.budget < 0 {
				c.within(name, func() { c.fail("must be given: there are more defaults than the value may take") })
				return nil
			}
			canonical[name] = property.in.Default
		case given:
			canonical[name] = nil
		}
	}
	return canonical
}

// free returns a copy of a value that nothing is declared about.
func (c *valueCheck) free(v any) any {
	switch v := v.(type) {
	case nil, string, bool:
		return v
	case []any:
		if !c.shallow() {
			return nil
		}
		canonical := make([]any, len(v))
		for i, item := range v {
			if c.full() {
				break
			}
			c.within(strconv.Itoa(i), func() { canonical[i] = c.free(item) })
		}
		return canonical
	case map[string]any:
		if !c.shallow() {
			return nil
		}
		canonical := make(map[string]any, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if c.full() {
				break
			}
			c.within(name, func() { canonical[name] = c.free(v[name]) })
		}
		return canonical
	}
	n, ok := number(v)
	if !ok {
		if text, isNumber := v.(json.Number); isNumber {
			c.fail("%q is not a number", shorten(string(text)))
		} else {
			c.fail("a JSON value is expected, not %s", jsonType(v))
		}
	}
	return n
}

// shallow reports whether an object or array at hand is not too deep within others. Where it is, it
// is not looked into, which bounds how deep the check itself goes.
func (c *valueCheck) shallow() bool {
	if len(c.path) < MaxNesting {
		return true
	}
	c.fail("objects and arrays are nested deeper than %d", MaxNesting)
	return false
}

// spend takes the size of a value, roughly that of its JSON, from a budget and stops where nothing
// is left.
func spend(budget int, v any) int {
	budget -= 4
	switch v := v.(type) {
	case string:
		budget -= len(v)
	case json.Number:
		budget -= len(v)
	case []any:
		for _, item := range v {
			if budget < 0 {
				break
			}
			budget = spend(budget, item)
		}
	case map[string]any:
		for name, item := range v {
			if budget < 0 {
				break
			}
			budget = spend(budget-len(name), item)
		}
	}
	return budget
}

// shape is an input with what checking many values against it needs, prepared where it is asked
// for.
type shape struct {
	in      *Input
	items   *shape
	names   []string // of the properties, sorted
	fields  []*shape // in the order of names
	allowed map[string]struct{}
}

// item returns the shape of an array's items, nil if they are not declared.
func (s *shape) item() *shape {
	if s.items == nil && s.in.Items != nil {
		s.items = &shape{in: s.in.Items}
	}
	return s.items
}

// properties returns the names of an object's properties, sorted, and their shapes.
func (s *shape) properties() ([]string, []*shape) {
	if s.names == nil {
		s.names = slices.Sorted(maps.Keys(s.in.Properties))
		s.fields = make([]*shape, len(s.names))
		for i, name := range s.names {
			in := s.in.Properties[name]
			s.fields[i] = &shape{in: &in}
		}
	}
	return s.names, s.fields
}

// allows reports whether an enum has a value.
func (s *shape) allows(value string) bool {
	if s.allowed == nil {
		s.allowed = make(map[string]struct{}, len(s.in.Values))
		for _, v := range s.in.Values {
			s.allowed[v] = struct{}{}
		}
	}
	_, ok := s.allowed[value]
	return ok
}

// number returns a number in whatever form it may come, false if it is none.
func number(v any) (json.Number, bool) {
	switch v := v.(type) {
	case json.Number:
		return v, isNumber(string(v))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "", false
		}
		return json.Number(strconv.FormatFloat(v, 'g', -1, 64)), true
	case int:
		return json.Number(strconv.Itoa(v)), true
	}
	return "", false
}

// isNumber reports whether s has the form of a JSON number, which strconv's functions are wider
// than.
func isNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	whole, s := digits(s)
	if whole == "" || (whole[0] == '0' && len(whole) > 1) {
		return false
	}
	if fraction, ok := strings.CutPrefix(s, "."); ok {
		var decimals string
		if decimals, s = digits(fraction); decimals == "" {
			return false
		}
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		s = s[1:]
		if s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		var exponent string
		if exponent, s = digits(s); exponent == "" {
			return false
		}
	}
	return s == ""
}

// digits splits s behind the digits that it begins with.
func digits(s string) (head, tail string) {
	i := 0
	for i < len(s) && '0' <= s[i] && s[i] <= '9' {
		i++
	}
	return s[:i], s[i:]
}

// jsonType names the JSON type of a value, or the Go type of what is no JSON.
func jsonType(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case json.Number, int:
		return "a number"
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
		return "a number"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	}
	return fmt.Sprintf("%T", v)
}

// length counts characters.
func length(s string) int { return utf8.RuneCountInString(s) }

// count writes a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// quoteSome lists the first of some values.
func quoteSome(values []string) string {
	const most = 10
	var quoted []string
	for _, v := range values[:min(len(values), most)] {
		quoted = append(quoted, strconv.Quote(shorten(v)))
	}
	if len(values) > most {
		quoted = append(quoted, fmt.Sprintf("and %d more", len(values)-most))
	}
	return strings.Join(quoted, ", ")
}
