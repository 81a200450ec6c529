package pattern

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Error is one problem in a definition.
type Error struct {
	Line, Column int    // from 1, columns in characters
	Path         string // JSON pointer to the value at fault, "" for the whole file
	Msg          string
}

func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Msg)
	}
	return fmt.Sprintf("line %d, column %d: %s: %s", e.Line, e.Column, e.Path, e.Msg)
}

// Errors are all problems found in a definition, in the file's order.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find the first *Error.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, err := range e {
		errs[i] = err
	}
	return errs
}

var (
	namePattern       = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	capabilityPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}(\.[a-z][a-z0-9_]{0,63}){0,3}$`)
)

// Parse reads a definition. It is strict: unknown and repeated keys, missing parts, names out of
// form, defaults of the wrong type, outputs that no step makes, and anything behind the definition
// are errors. The error is of type Errors and holds every problem, except that nothing can be said
// about what stands behind a violation of JSON's syntax.
func Parse(data []byte) (*Definition, error) {
	doc := &document{data: data}
	root := doc.read()
	if root == nil {
		return nil, doc.errors()
	}
	def := doc.definition(root)
	if len(doc.problems) > 0 {
		return nil, doc.errors()
	}
	c := newCursor(data)
	def.positions = make(map[string]Position)
	root.walk(func(n *node) { def.positions[n.pointer] = c.position(n.start) })
	return def, nil
}

// fields are the values of an object by key.
type fields map[string]*node

// fields returns the values of n, which must be an object with the required keys and besides them
// only the optional ones.
func (d *document) fields(n *node, required, optional []string) fields {
	f := make(fields, len(n.members))
	if n.kind != kindObject {
		d.failAt(n, "%s is expected, not %s", kindObject, n.kind)
		return f
	}
	for _, m := range n.members {
		if !slices.Contains(required, m.key) && !slices.Contains(optional, m.key) {
			d.fail(m.keyStart, m.value.pointer, "unknown key %q; allowed are %s",
				m.key, strings.Join(slices.Concat(required, optional), ", "))
			continue
		}
		f[m.key] = m.value
	}
	for _, key := range required {
		if f[key] == nil {
			d.failAt(n, "%q is missing", key)
		}
	}
	return f
}

// text returns the string under key, or "" when it is absent.
func (d *document) text(f fields, key string) string {
	n := f[key]
	if n == nil {
		return ""
	}
	s, ok := n.value.(string)
	if !ok {
		d.failAt(n, "%s is expected, not %s", kindString, n.kind)
	}
	return s
}

// name returns the string under key, which must have the form of an id.
func (d *document) name(f fields, key string) string {
	s := d.text(f, key)
	if n := f[key]; n != nil && n.kind == kindString && !namePattern.MatchString(s) {
		d.failAt(n, "%q is not allowed; use %s", s, namePattern)
	}
	return s
}

// list returns the items under key, which must be an array with 1 to most of them.
func (d *document) list(f fields, key string, most int) []*node {
	n := f[key]
	switch {
	case n == nil:
	case n.kind != kindArray:
		d.failAt(n, "%s is expected, not %s", kindArray, n.kind)
	case len(n.items) == 0:
		d.failAt(n, "must not be empty")
	case len(n.items) > most:
		d.failAt(n, "has %d items, %d are allowed", len(n.items), most)
	default:
		return n.items
	}
	return nil
}

func (d *document) definition(root *node) *Definition {
	f := d.fields(root,
		[]string{"id", "name", "steps", "outputs"},
		[]string{"description", "category", "version", "inputs", "display"})
	def := &Definition{
		ID:          d.name(f, "id"),
		Name:        d.text(f, "name"),
		Description: d.text(f, "description"),
		Category:    d.text(f, "category"),
		Version:     d.text(f, "version"),
		Inputs:      d.inputs(f["inputs"]),
		Steps:       d.steps(f),
		Display:     d.display(f["display"]),
	}
	if n := f["name"]; n != nil && n.kind == kindString && strings.TrimSpace(def.Name) == "" {
		d.failAt(n, "must not be empty")
	}
	def.Outputs = d.outputs(f, def.Steps)
	return def
}

func (d *document) inputs(n *node) map[string]Input {
	if n == nil {
		return nil
	}
	if n.kind != kindObject {
		d.failAt(n, "%s is expected, not %s", kindObject, n.kind)
		return nil
	}
	if len(n.members) > MaxInputs {
		d.failAt(n, "has %d inputs, %d are allowed", len(n.members), MaxInputs)
		return nil
	}
	if len(n.members) == 0 {
		return nil
	}
	inputs := make(map[string]Input, len(n.members))
	for _, m := range n.members {
		if !namePattern.MatchString(m.key) {
			d.fail(m.keyStart, m.value.pointer, "%q is not allowed as a name; use %s", m.key, namePattern)
		}
		inputs[m.key] = d.input(m.value)
	}
	return inputs
}

func (d *document) input(n *node) Input {
	f := d.fields(n, []string{"type"}, []string{"required", "default", "description", "minimum", "maximum"})
	in := Input{Type: Type(d.text(f, "type")), Description: d.text(f, "description")}
	if t := f["type"]; t == nil || t.kind != kindString {
		return in // fields or text has said why
	} else if !slices.Contains(types, in.Type) {
		d.failAt(t, "unknown type %q; allowed are %s", in.Type, joinTypes())
		return in
	}
	if r := f["required"]; r != nil {
		required, ok := r.value.(bool)
		if !ok {
			d.failAt(r, "%s is expected, not %s", kindBool, r.kind)
		}
		in.Required = required
	}

	in.Minimum = d.bound(f["minimum"], in.Type)
	in.Maximum = d.bound(f["maximum"], in.Type)
	if in.Minimum != "" && in.Maximum != "" && compareNumbers(in.Type, in.Minimum, in.Maximum) > 0 {
		d.failAt(f["minimum"], "the minimum %s is above the maximum %s", in.Minimum, in.Maximum)
		return in
	}

	if def := f["default"]; def != nil && def.kind != kindNull {
		if in.Required {
			d.failAt(def, "a required input has no use for a default")
		}
		v, err := in.Value(def.plain())
		if err != nil {
			d.failAt(def, "%v", err)
		}
		in.Default = v
	}
	return in
}

func (d *document) bound(n *node, t Type) json.Number {
	if n == nil {
		return ""
	}
	if t != Integer && t != Number {
		d.failAt(n, "only integers and numbers have bounds")
		return ""
	}
	v, err := Input{Type: t}.Value(n.plain())
	if err != nil {
		d.failAt(n, "%v", err)
		return ""
	}
	return v.(json.Number) // the value of an integer or number is one
}

func (d *document) steps(f fields) []Step {
	var steps []Step
	taken := make(map[string]int)
	for i, n := range d.list(f, "steps", MaxSteps) {
		f := d.fields(n, []string{"capability", "as"}, []string{"args"})
		step := Step{Capability: d.text(f, "capability"), As: d.name(f, "as"), Args: d.args(f["args"])}
		if c := f["capability"]; c != nil && c.kind == kindString && !capabilityPattern.MatchString(step.Capability) {
			d.failAt(c, "%q is not allowed as a capability; use %s", step.Capability, capabilityPattern)
		}
		switch first, repeated := taken[step.As]; {
		case step.As == "": // missing or no string, which has been said
		case step.As == RootInputs, step.As == RootCtx, step.As == RootState:
			d.failAt(f["as"], "%q is reserved", step.As)
		case repeated:
			d.failAt(f["as"], "%q is already the result of step %d", step.As, first)
		default:
			taken[step.As] = i
		}
		steps = append(steps, step)
	}
	return steps
}

func (d *document) args(n *node) map[string]any {
	if n == nil {
		return nil
	}
	if n.kind != kindObject {
		d.failAt(n, "%s is expected, not %s", kindObject, n.kind)
		return nil
	}
	if len(n.members) == 0 {
		return nil
	}
	return n.plain().(map[string]any)
}

func (d *document) outputs(f fields, steps []Step) Outputs {
	var outputs Outputs
	for _, n := range d.list(f, "outputs", MaxSteps) {
		name, ok := n.value.(string)
		switch {
		case !ok:
			d.failAt(n, "%s is expected, not %s", kindString, n.kind)
		case !slices.ContainsFunc(steps, func(s Step) bool { return s.As == name }):
			d.failAt(n, "no step has the result %q", name)
		case slices.Contains(outputs.Names(), name):
			d.failAt(n, "%q is repeated", name)
		default:
			outputs = append(outputs, Output{Name: name})
		}
	}
	return outputs
}

// display returns the hints in the form that encoding/json writes them in, key order kept.
func (d *document) display(n *node) json.RawMessage {
	if n == nil {
		return nil
	}
	if n.kind != kindObject {
		d.failAt(n, "%s is expected, not %s", kindObject, n.kind)
		return nil
	}
	compact, err := json.Marshal(json.RawMessage(d.data[n.start:n.end]))
	if err != nil {
		d.failAt(n, "not JSON: %v", err)
	}
	return compact
}
