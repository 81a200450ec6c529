package patterns

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/dawsos/dawsos/pkg/agent"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// plan is a definition that has been checked and compiled.
type plan struct {
	definition *pattern.Definition
	steps      []step
	outputs    []int // the steps whose results are returned, in order
	// aboutPortfolio tells that the input named by portfolioInput says which portfolio the pattern
	// is about.
	aboutPortfolio bool
}

type step struct {
	capability string
	as         string
	args       objectExpr
}

// portfolioInput is the input that names the portfolio a run is about.
const portfolioInput = "portfolio_id"

// compiler turns one definition into a plan and collects what is wrong with it.
type compiler struct {
	def          *pattern.Definition
	capabilities []string
	results      map[string]int // step by result, all steps
	problems     []Problem
}

// compile checks a definition against the capabilities that exist. It returns nil and all problems
// when there is one.
func compile(file string, def *pattern.Definition, capabilities []string) (*plan, []Problem) {
	c := &compiler{def: def, capabilities: capabilities, results: make(map[string]int, len(def.Steps))}
	for i, s := range def.Steps {
		c.results[s.As] = i
	}
	p := &plan{
		definition:     def,
		aboutPortfolio: def.Inputs[portfolioInput].Type == pattern.UUID,
	}
	for i, s := range def.Steps {
		p.steps = append(p.steps, c.step(i, s))
	}
	for _, o := range def.Outputs {
		p.outputs = append(p.outputs, c.results[o.Name])
	}
	if len(c.problems) > 0 {
		for i := range c.problems {
			c.problems[i].File = file
		}
		return nil, c.problems
	}
	return p, nil
}

func (c *compiler) fail(stepIndex int, pointer, format string, args ...any) {
	at := c.def.Position(pointer)
	c.problems = append(c.problems, Problem{
		Pattern: c.def.ID,
		Line:    at.Line,
		Column:  at.Column,
		Step:    c.def.Steps[stepIndex].As,
		Msg:     fmt.Sprintf(format, args...),
	})
}

func (c *compiler) step(index int, s pattern.Step) step {
	pointer := pattern.Pointer("steps", strconv.Itoa(index))
	if !slices.Contains(c.capabilities, s.Capability) {
		c.fail(index, pointer+"/capability", "no agent has the capability %q%s", s.Capability, didYouMean(s.Capability, c.capabilities))
	}
	return step{
		capability: s.Capability,
		as:         s.As,
		args:       c.object(index, pointer+pattern.Pointer("args"), s.Args),
	}
}

// expr compiles one JSON value of a step's arguments.
func (c *compiler) expr(index int, pointer string, v any) expr {
	switch v := v.(type) {
	case string:
		return c.text(index, pointer, v)
	case []any:
		items := make(listExpr, len(v))
		for i, item := range v {
			items[i] = c.expr(index, pointer+pattern.Pointer(strconv.Itoa(i)), item)
		}
		if !slices.ContainsFunc(items, isVariable) {
			return fold(items)
		}
		return items
	case map[string]any:
		fields := c.object(index, pointer, v)
		if !slices.ContainsFunc(fields, func(f fieldExpr) bool { return isVariable(f.value) }) {
			return fold(fields)
		}
		return fields
	}
	return constExpr{v}
}

// object compiles an object's fields, sorted by key so that of several errors the same one is met
// in every run.
func (c *compiler) object(index int, pointer string, object map[string]any) objectExpr {
	fields := make(objectExpr, 0, len(object))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		fields = append(fields, fieldExpr{key: key, value: c.expr(index, pointer+pattern.Pointer(key), object[key])})
	}
	return fields
}

func (c *compiler) text(index int, pointer, s string) expr {
	t, err := parseTemplate(s)
	if err != nil {
		c.fail(index, pointer, "template %q: %v", s, err)
		return constExpr{nil}
	}
	if ref, ok := t.only(); ok {
		return c.ref(index, pointer, ref)
	}
	var parts concatExpr
	for _, segment := range t {
		if segment.path == nil {
			parts = append(parts, constExpr{segment.text})
		} else {
			parts = append(parts, c.ref(index, pointer, segment.path))
		}
	}
	switch len(parts) {
	case 0:
		return constExpr{""}
	case 1: // text without a reference
		return parts[0]
	}
	return parts
}

// ref binds a path to what its root stands for when the step runs.
func (c *compiler) ref(index int, pointer string, p *path) expr {
	fail := func(format string, args ...any) expr {
		c.fail(index, pointer, "template {{%s}}, character %d: %s", p, p.pos, fmt.Sprintf(format, args...))
		return constExpr{nil}
	}
	if len(p.parts) > 0 && p.parts[0].field == "" {
		switch p.root {
		case pattern.RootInputs, pattern.RootCtx, pattern.RootState:
			return fail("a name is expected behind %q", p.root)
		}
	}
	switch p.root {
	case pattern.RootInputs:
		known := slices.Sorted(maps.Keys(c.def.Inputs))
		if len(p.parts) > 0 && !slices.Contains(known, p.parts[0].field) {
			return fail("the pattern declares no input %q%s", p.parts[0].field, didYouMean(p.parts[0].field, known))
		}
		return &refExpr{path: p, parts: p.parts, root: rootInputs}
	case pattern.RootCtx:
		known := slices.Sorted(maps.Keys(agent.Context{}.Values()))
		if len(p.parts) > 0 && !slices.Contains(known, p.parts[0].field) {
			return fail("ctx has no %q%s; it has %s", p.parts[0].field, didYouMean(p.parts[0].field, known), strings.Join(known, ", "))
		}
		return &refExpr{path: p, parts: p.parts, root: rootCtx}
	}

	name, parts := p.root, p.parts
	if name == pattern.RootState {
		if len(parts) == 0 {
			return fail("a name is expected behind %q", p.root)
		}
		name, parts = parts[0].field, parts[1:]
	}
	maker, exists := c.results[name]
	switch {
	case !exists:
		known := []string{pattern.RootInputs, pattern.RootCtx}
		for _, s := range c.def.Steps[:index] {
			known = append(known, s.As)
		}
		return fail("no step has the result %q%s", name, didYouMean(name, known))
	case maker == index:
		return fail("%q is this step's own result", name)
	case maker > index:
		return fail("%q is the result of the later step %d", name, maker)
	}
	return &refExpr{path: p, parts: parts, root: maker}
}

// expr is a compiled argument.
type expr interface {
	eval(s *scope) (any, error)
}

// scope is what references see in one run.
type scope struct {
	inputs  map[string]any
	ctx     map[string]any
	results []result // by step
}

type (
	constExpr  struct{ value any }
	listExpr   []expr
	objectExpr []fieldExpr
	concatExpr []expr
	fieldExpr  struct {
		key   string
		value expr
	}
	refExpr struct {
		path  *path  // as written, for messages
		parts []part // behind the root
		root  int    // the step whose result is meant, or one of the constants below
	}
)

const (
	rootInputs = -1 - iota
	rootCtx
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
