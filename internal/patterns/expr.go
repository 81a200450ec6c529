package patterns

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// expr is a compiled JSON value whose strings held templates.
type expr interface {
	eval(s *scope) (any, error)
}

// scope is what references see in one run. Within a for_each it is copied for every item.
type scope struct {
	inputs  map[string]any
	ctx     map[string]any
	results []*result // by step; nil until the step has ended
	item    any
	index   json.Number
}

type (
	constExpr  struct{ value any }
	listExpr   []expr
	objectExpr []fieldExpr
	concatExpr []expr
	// badExpr stands for what could not be compiled, which has been told: nothing more is known of it.
	badExpr   struct{}
	fieldExpr struct {
		key   string
		value expr
	}
	refExpr struct {
		path  *path  // as written, for messages
		parts []part // behind the root
		root  int    // the step whose result is meant, or one of the constants below
		below string // parts as text
	}
)

// Roots that are no step.
const (
	rootInputs = -1 - iota
	rootCtx
	rootItem
	rootIndex
)

func isVariable(e expr) bool {
	_, constant := e.(constExpr)
	return !constant
}

// fold evaluates an expression made of constants, which need no scope and have no errors.
func fold(e expr) expr {
	v, _ := e.eval(nil)
	return constExpr{v}
}

func (badExpr) eval(*scope) (any, error) { return nil, nil }

func (e constExpr) eval(*scope) (any, error) { return e.value, nil }

func (e listExpr) eval(s *scope) (any, error) {
	items := make([]any, len(e))
	for i, item := range e {
		v, err := item.eval(s)
		if err != nil {
			return nil, err
		}
		items[i] = v
	}
	return items, nil
}

func (e objectExpr) eval(s *scope) (any, error) {
	return e.fields(s)
}

func (e objectExpr) fields(s *scope) (map[string]any, error) {
	fields := make(map[string]any, len(e))
	for _, field := range e {
		v, err := field.value.eval(s)
		if err != nil {
			return nil, err
		}
		fields[field.key] = v
	}
	return fields, nil
}

func (e concatExpr) eval(s *scope) (any, error) {
	var b strings.Builder
	for _, part := range e {
		v, err := part.eval(s)
		if err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case nil:
		case string:
			b.WriteString(v)
		case json.Number:
			b.WriteString(v.String())
		case bool:
			b.WriteString(strconv.FormatBool(v))
		default:
			return nil, fmt.Errorf("{{%s}} is %s, which has no place within text", part.(*refExpr).path, describe(v))
		}
	}
	return b.String(), nil
}

func (e *refExpr) eval(s *scope) (any, error) {
	var v any
	switch e.root {
	case rootInputs:
		v = s.inputs
	case rootCtx:
		v = s.ctx
	case rootItem:
		v = s.item
	case rootIndex:
		v = s.index
	default:
		var err error
		if v, err = s.results[e.root].value(); err != nil {
			return nil, err
		}
	}
	for i, part := range e.parts {
		if v == nil {
			return nil, nil
		}
		next, err := part.of(v)
		if err != nil {
			whole := *e.path
			whole.parts = whole.parts[:len(whole.parts)-len(e.parts)+i]
			return nil, fmt.Errorf("{{%s}}: %s %w", e.path, &whole, err)
		}
		v = next
	}
	return v, nil
}

// of looks a part up. The error is a clause about the value, to follow its name.
func (p part) of(v any) (any, error) {
	if p.field == "" {
		list, ok := v.([]any)
		if !ok {
			return nil, fmt.Errorf("is %s, which has no items", describe(v))
		}
		if p.index >= len(list) {
			return nil, fmt.Errorf("has no item %d, since it has %d", p.index, len(list))
		}
		return list[p.index], nil
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("is %s, which has no field %q", describe(v), p.field)
	}
	field, ok := object[p.field]
	if !ok {
		return nil, missingField(p.field, object)
	}
	return field, nil
}

func missingField(name string, object map[string]any) error {
	if len(object) == 0 {
		return fmt.Errorf("has no field %q; it is empty", name)
	}
	const most = 20 // results keyed by security may have thousands
	keys := slices.Sorted(maps.Keys(object))
	if len(keys) > most {
		return fmt.Errorf("has no field %q%s; it has %s and %d more", name, didYouMean(name, keys), strings.Join(keys[:most], ", "), len(keys)-most)
	}
	return fmt.Errorf("has no field %q%s; it has %s", name, didYouMean(name, keys), strings.Join(keys, ", "))
}

// describe names the JSON type of a value.
func describe(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case bool:
		return "a boolean"
	case []any:
		return "an array"
	}
	return "an object"
}
