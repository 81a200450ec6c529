// Package schema checks JSON values against JSON Schemas (2020-12) and says in words what is wrong
// with them, and where. Before that it bounds the texts that they are read from.
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/dawsos/dawsos/internal/fault"
)

// Schema is a compiled schema.
type Schema = jsonschema.Schema

const resource = "mem:///schema.json" // names the schema within the validator only

// Compile reads a schema. Formats are asserted; references may lead to other parts of it only, since
// nothing is fetched.
func Compile(raw json.RawMessage) (*Schema, error) {
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("the schema is not JSON: %w", err)
	}
	if at, ok := unbounded(root); ok {
		return nil, fmt.Errorf("the schema can't be used: %s %s", at, beyond)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.UseLoader(closed{})
	if err := c.AddResource(resource, root); err != nil {
		return nil, fmt.Errorf("the schema can't be used: %w", err)
	}
	s, err := c.Compile(resource)
	if err != nil {
		return nil, fmt.Errorf("the schema can't be used: %w", err)
	}
	return s, nil
}

// closed loads nothing.
type closed struct{}

func (closed) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s lies outside of the schema", url)
}

// Violations validates value, whose numbers are best json.Number, and returns what is wrong, by
// place below prefix. None means that it fits. A number beyond MaxNumber or MaxExponent fits no schema.
func Violations(schema *Schema, prefix string, value any) []fault.Field {
	if at, ok := unbounded(value); ok {
		return []fault.Field{{Pointer: prefix + at, Detail: beyond}}
	}
	err := schema.Validate(value)
	if err == nil {
		return nil
	}
	var fields []fault.Field
	if v, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		collect(v, prefix, &fields)
	} else {
		fields = []fault.Field{{Pointer: prefix, Detail: err.Error()}}
	}
	slices.SortStableFunc(fields, func(a, b fault.Field) int { return strings.Compare(a.Pointer, b.Pointer) })
	return slices.CompactFunc(fields, func(a, b fault.Field) bool { return a.Pointer == b.Pointer })
}

// Bounds of numbers, in values and in schemas. The validator makes of each number the digits that it stands
// for: of 1e1000000 a million, which takes as long as a million other numbers, and of 1e1000001 a nil
// pointer, which it uses. Values may come from anywhere; none of them is let through to it.
const (
	MaxNumber   = 1000 // characters
	MaxExponent = 1000 // either way
)

var beyond = fmt.Sprintf("must be a number of at most %d characters, with an exponent of at most %d", MaxNumber, MaxExponent)

// unbounded returns the pointer to a number of a JSON value that is beyond the bounds, the same one for the same
// value, and whether there is any. One is enough: a list may hold a million of them.
func unbounded(value any) (pointer string, found bool) {
	switch v := value.(type) {
	case json.Number:
		return "", !bounded(string(v))
	case []any:
		for i, item := range v {
			if below, found := unbounded(item); found {
				return "/" + strconv.Itoa(i) + below, true
			}
		}
	case map[string]any:
		first := ""
		for key, member := range v { // in any order: to sort the keys of what is right would cost most of the time
			if below, is := unbounded(member); is && (!found || key < first) {
				first, pointer, found = key, "/"+escape(key)+below, true
			}
		}
	}
	return pointer, found
}

func bounded(number string) bool {
	if len(number) > MaxNumber {
		return false
	}
	i := strings.IndexAny(number, "eE")
	if i < 0 {
		return true
	}
	exponent, err := strconv.Atoi(number[i+1:])
	return err == nil && -MaxExponent <= exponent && exponent <= MaxExponent
}

var english = message.NewPrinter(language.English)

func collect(e *jsonschema.ValidationError, prefix string, fields *[]fault.Field) {
	at := prefix
	for _, key := range e.InstanceLocation {
		at += "/" + escape(key)
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			*fields = append(*fields, fault.Field{Pointer: at + "/" + escape(name), Detail: "is required"})
		}
		return
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			*fields = append(*fields, fault.Field{Pointer: at + "/" + escape(name), Detail: "is not a field of this object"})
		}
		return
	case *kind.OneOf, *kind.AnyOf:
		// Of the alternatives, the one that fits furthest is the one that was meant.
		if len(e.Causes) > 0 {
			collect(slices.MaxFunc(e.Causes, func(a, b *jsonschema.ValidationError) int { return depth(a) - depth(b) }), prefix, fields)
			return
		}
	}
	if len(e.Causes) == 0 {
		*fields = append(*fields, fault.Field{Pointer: at, Detail: explain(e.ErrorKind)})
		return
	}
	for _, cause := range e.Causes {
		collect(cause, prefix, fields)
	}
}

// explain puts a broken rule into words for the caller.
func explain(broken jsonschema.ErrorKind) string {
	switch k := broken.(type) {
	case *kind.Type:
		return fmt.Sprintf("must be of type %s, not %s", strings.Join(k.Want, " or "), k.Got)
	case *kind.Format:
		if form, ok := formats[k.Want]; ok {
			return "must be " + form
		}
	case *kind.Minimum:
		return "must be at least " + k.Want.RatString()
	case *kind.Maximum:
		return "must be at most " + k.Want.RatString()
	case *kind.MinLength:
		return fmt.Sprintf("must have at least %d characters", k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("must have at most %d characters, not %d", k.Want, k.Got)
	case *kind.MinItems:
		return fmt.Sprintf("must have at least %d elements", k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %d elements, not %d", k.Want, k.Got)
	case *kind.Pattern:
		return "must match " + k.Want
	}
	return broken.LocalizedString(english)
}

var formats = map[string]string{
	"date": "a day, YYYY-MM-DD",
	"uuid": "a UUID",
}

// depth is how far into the value a branch of errors reaches; a wrong type at the top reaches
// nowhere.
func depth(e *jsonschema.ValidationError) int {
	if _, wrongType := e.ErrorKind.(*kind.Type); wrongType {
		return len(e.InstanceLocation)
	}
	d := len(e.InstanceLocation) + 1
	for _, cause := range e.Causes {
		d = max(d, depth(cause))
	}
	return d
}

// escape writes a key as a segment of a JSON pointer (RFC 6901).
func escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}
