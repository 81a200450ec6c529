package patterns

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/expr-lang/expr/types"

	"github.com/dawsos/dawsos/internal/schema"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// shape is what is known of a value before there is one: the schema that a capability declares for
// its result, or an input's declaration. The zero shape knows nothing. Null is possible everywhere, as
// steps may be skipped and inputs left out.
type shape struct {
	schema *schema.Schema
	input  *pattern.Input
	list   bool // an array of such values: the result of a for_each
}

// partError is why a value can't have a part.
type partError struct{ msg, suggestion string }

// resolved follows references to the schema that says something. Nil when it says it in a way that
// only a validator can judge.
func resolved(s *schema.Schema) *schema.Schema {
	for s != nil && s.Ref != nil {
		s = s.Ref
	}
	if s == nil || s.Bool != nil || s.DynamicRef != nil || s.RecursiveRef != nil || s.Not != nil || s.If != nil ||
		len(s.AllOf) > 0 || len(s.AnyOf) > 0 || len(s.OneOf) > 0 {
		return nil
	}
	return s
}

// jsonTypes returns the types that a value may have, without null; nil when that is not known.
func (s shape) jsonTypes() []string {
	if s.list {
		return []string{"array"}
	}
	if s.input != nil {
		switch s.input.Type {
		case pattern.Integer, pattern.Number, pattern.Boolean, pattern.Array, pattern.Object:
			return []string{string(s.input.Type)}
		}
		return []string{"string"}
	}
	if r := resolved(s.schema); r != nil && r.Types != nil {
		return slices.DeleteFunc(r.Types.ToStrings(), func(t string) bool { return t == "null" })
	}
	return nil
}

func (s shape) known() bool { return len(s.jsonTypes()) > 0 }

// mayBe reports whether one of the types is possible.
func (s shape) mayBe(jsonTypes ...string) bool {
	for _, t := range s.jsonTypes() {
		if slices.Contains(jsonTypes, t) || t == "integer" && slices.Contains(jsonTypes, "number") ||
			t == "number" && slices.Contains(jsonTypes, "integer") { // a number may be whole
			return true
		}
	}
	return false
}

// String names the types, in words fit for messages.
func (s shape) String() string {
	var words []string
	for _, t := range s.jsonTypes() {
		words = append(words, withArticle(t))
	}
	return strings.Join(words, " or ")
}

func withArticle(jsonType string) string {
	if strings.IndexByte("aeiou", jsonType[0]) >= 0 {
		return "an " + jsonType
	}
	return "a " + jsonType
}

// part returns the shape of a part, or why there can't be one.
func (s shape) part(p part) (shape, *partError) {
	if s.known() {
		if p.field == "" && !s.mayBe("array") {
			return shape{}, &partError{msg: fmt.Sprintf("is %s, which has no items", s)}
		}
		if p.field != "" && !s.mayBe("object") {
			return shape{}, &partError{msg: fmt.Sprintf("is %s, which has no field %q", s, p.field)}
		}
	}
	switch {
	case s.list:
		return shape{schema: s.schema}, nil
	case s.input != nil:
		return s.inputPart(p)
	}
	r := resolved(s.schema)
	if r == nil {
		return shape{}, nil
	}
	if p.field == "" {
		if p.index < len(r.PrefixItems) {
			return shape{schema: r.PrefixItems[p.index]}, nil
		}
		return shape{schema: r.Items2020}, nil
	}
	if property, ok := r.Properties[p.field]; ok {
		return shape{schema: property}, nil
	}
	if len(r.PatternProperties) > 0 {
		return shape{}, nil
	}
	switch more := r.AdditionalProperties.(type) {
	case bool:
		if !more {
			return shape{}, noField(p.field, slices.Sorted(maps.Keys(r.Properties)))
		}
	case *schema.Schema:
		return shape{schema: more}, nil
	}
	return shape{}, nil
}

func (s shape) inputPart(p part) (shape, *partError) {
	if p.field == "" {
		return shape{input: s.input.Items}, nil
	}
	if s.input.Properties == nil {
		return shape{}, nil
	}
	if property, ok := s.input.Properties[p.field]; ok {
		return shape{input: &property}, nil
	}
	return shape{}, noField(p.field, slices.Sorted(maps.Keys(s.input.Properties)))
}

func noField(name string, known []string) *partError {
	if len(known) == 0 {
		return &partError{msg: fmt.Sprintf("has no field %q; it has none", name)}
	}
	return &partError{
		msg:        fmt.Sprintf("has no field %q; it has %s", name, strings.Join(known, ", ")),
		suggestion: pattern.Closest(name, known),
	}
}

// find returns the shape of what a reference leads to, or why it leads nowhere.
func (c *compiler) find(ref *refExpr) (shape, *partError) {
	s, parts := shape{}, ref.parts
	switch ref.root {
	case rootInputs:
		if len(parts) == 0 {
			return shape{}, nil
		}
		input := c.def.Inputs[parts[0].field]
		s, parts = shape{input: &input}, parts[1:]
	case rootCtx, rootItem, rootIndex:
		return shape{}, nil
	default:
		s = c.shapes[ref.root]
	}
	for i, p := range parts {
		next, err := s.part(p)
		if err != nil {
			whole := *ref.path
			whole.parts = whole.parts[:len(whole.parts)-len(parts)+i]
			return shape{}, &partError{msg: fmt.Sprintf("%s %s", &whole, err.msg), suggestion: err.suggestion}
		}
		s = next
	}
	return s, nil
}

// shapeOf returns the shape of a reference that has been checked.
func (c *compiler) shapeOf(ref *refExpr) shape {
	s, err := c.find(ref)
	if err != nil {
		return shape{}
	}
	return s
}

// typed returns the shape as conditions know it: which fields there are. What single values are is left
// open, since any of them may be null.
func (s shape) typed() types.Type {
	const deepest = 8 // schemas may contain themselves
	if s.list {
		return types.Array(typeOf(s.schema, deepest))
	}
	return typeOf(s.schema, deepest)
}

func typeOf(s *schema.Schema, depth int) types.Type {
	r := resolved(s)
	if r == nil || r.Types == nil || depth == 0 {
		return types.Any
	}
	names := slices.DeleteFunc(r.Types.ToStrings(), func(t string) bool { return t == "null" })
	switch {
	case slices.Equal(names, []string{"array"}):
		if len(r.PrefixItems) > 0 { // each place has a type of its own
			return types.Array(types.Any)
		}
		return types.Array(typeOf(r.Items2020, depth-1))
	case slices.Equal(names, []string{"object"}) && len(r.Properties) > 0:
		m := make(types.Map, len(r.Properties)+1)
		for name, property := range r.Properties {
			m[name] = typeOf(property, depth-1)
		}
		if closed, ok := r.AdditionalProperties.(bool); !ok || closed || len(r.PatternProperties) > 0 {
			m[types.Extra] = types.Any
		}
		return m
	}
	return types.Any
}

// checkArgs holds a step's arguments against what its capability declares, as far as they are known
// before there are values. Null counts as left out.
func (c *compiler) checkArgs(index int, pointer string, s *schema.Schema, args objectExpr, capability string) {
	given := make(objectExpr, 0, len(args))
	for _, field := range args {
		if constant, ok := field.value.(constExpr); ok && constant.value == nil {
			continue
		}
		given = append(given, field)
	}
	c.checkObject(index, pointer, s, given, "the argument", capability)
}

func (c *compiler) checkObject(index int, pointer string, s *schema.Schema, fields objectExpr, what, of string) {
	r := resolved(s)
	if r == nil {
		return
	}
	names := make(map[string]struct{}, len(fields))
	for _, field := range fields {
		names[field.key] = struct{}{}
		below := pointer + pattern.Pointer(field.key)
		property, ok := r.Properties[field.key]
		if !ok {
			if more, isBool := r.AdditionalProperties.(bool); isBool && !more && len(r.PatternProperties) == 0 {
				known := slices.Sorted(maps.Keys(r.Properties))
				c.fail(index, below, c.hint(field.key, func() []string { return known }), "%s %q is unknown to %s; it takes %s", what, field.key, of, orNone(known))
				continue
			}
			if len(r.PatternProperties) == 0 { // else it may be one of those
				property, _ = r.AdditionalProperties.(*schema.Schema)
			}
		}
		c.checkValue(index, below, property, field.value, what+" "+field.key, of)
	}
	for _, name := range r.Required {
		if _, ok := names[name]; !ok {
			c.fail(index, pointer, "", "%s %q of %s is missing", what, name, of)
		}
	}
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func (c *compiler) checkValue(index int, pointer string, s *schema.Schema, e expr, what, of string) {
	if s == nil {
		return
	}
	wrongType := func(found string) {
		c.fail(index, pointer, "", "%s of %s must be %s, not %s", what, of, shape{schema: s}, found)
	}
	takes := shape{schema: s}
	switch e := e.(type) {
	case constExpr:
		for _, v := range schema.Violations(s, "", e.value) {
			at := what
			if v.Pointer != "" {
				at += v.Pointer
			}
			c.fail(index, pointer+v.Pointer, "", "%s of %s %s", at, of, v.Detail)
		}
	case listExpr:
		if takes.known() && !takes.mayBe("array") {
			wrongType("an array")
			return
		}
		if r := resolved(s); r != nil && len(r.PrefixItems) == 0 {
			for i, item := range e {
				c.checkValue(index, fmt.Sprintf("%s/%d", pointer, i), r.Items2020, item, fmt.Sprintf("%s/%d", what, i), of)
			}
		}
	case objectExpr:
		if takes.known() && !takes.mayBe("object") {
			wrongType("an object")
			return
		}
		c.checkObject(index, pointer, s, e, what, of)
	case concatExpr:
		if takes.known() && !takes.mayBe("string") {
			wrongType("text")
		}
	case *refExpr:
		if found := c.shapeOf(e); found.known() && takes.known() && !takes.mayBe(found.jsonTypes()...) {
			wrongType(fmt.Sprintf("%s, which {{%s}} is", found, e.path))
		}
	}
}
