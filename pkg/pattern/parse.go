package pattern

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Error is one problem in a definition.
type Error struct {
	Line, Column int    // from 1, columns in characters
	Path         string // JSON pointer to the value at fault, "" for the whole file
	Msg          string
	Suggestion   string // the name that was probably meant, "" when none is close; not part of Msg
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "line %d, column %d: ", e.Line, e.Column)
	if e.Path != "" {
		fmt.Fprintf(&b, "%s: ", e.Path)
	}
	b.WriteString(e.Msg)
	if e.Suggestion != "" {
		fmt.Fprintf(&b, "; did you mean %q?", e.Suggestion)
	}
	return b.String()
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
// form, defaults that don't fit what they are declared as, outputs that no step makes, settings that
// would have no effect, and anything behind the definition are errors. The error is of type Errors
// and holds every problem (of more than a thousand, their number), except that nothing can be said
// about what stands behind a violation of JSON's syntax.
func Parse(data []byte) (*Definition, error) {
	doc := newDocument(data)
	root := doc.read()
	if root == nil {
		return nil, doc.errors()
	}
	def := doc.definition(root)
	if doc.failed() > 0 {
		return nil, doc.errors()
	}
	def.root = root
	return def, nil
}

// fields are the values of an object by key.
type fields map[string]*node

// fields returns the values of n, which must be an object with the required keys and besides them
// only the optional ones.
func (d *document) fields(n *node, required, optional []string) fields {
	f := make(fields, len(n.members))
	if !d.is(n, kindObject) {
		return f
	}
	for _, m := range n.members {
		if !slices.Contains(required, m.key) && !slices.Contains(optional, m.key) {
			known := slices.Concat(required, optional)
			d.failUnknown(m.keyStart, m.value, m.key, known,
				"unknown key %q; allowed are %s", shorten(m.key), strings.Join(known, ", "))
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

// is reports whether n is of a JSON type, and records a problem when it is not.
func (d *document) is(n *node, k kind) bool {
	if n.kind != k {
		d.failAt(n, "%s is expected, not %s", k, n.kind)
	}
	return n.kind == k
}

// text returns the string under key, or "" when it is absent.
func (d *document) text(f fields, key string) string {
	n := f[key]
	if n == nil || !d.is(n, kindString) {
		return ""
	}
	return n.value.(string) // as its kind says
}

// filled returns the string under key, or "" when it is absent; one of white space only is an
// error.
func (d *document) filled(f fields, key string) string {
	s := d.text(f, key)
	if n := f[key]; n != nil && n.kind == kindString && strings.TrimSpace(s) == "" {
		d.failAt(n, "must not be empty")
	}
	return s
}

// name returns the string under key, which must have the form of an id.
func (d *document) name(f fields, key string) string {
	s := d.text(f, key)
	if n := f[key]; n != nil && n.kind == kindString && !namePattern.MatchString(s) {
		d.failAt(n, "%q is not allowed; use %s", shorten(s), namePattern)
	}
	return s
}

// boolean returns the boolean under key, or nil when it is absent.
func (d *document) boolean(f fields, key string) *bool {
	n := f[key]
	if n == nil || !d.is(n, kindBool) {
		return nil
	}
	return new(n.value.(bool)) // as its kind says
}

// maxCount bounds lengths and numbers of items, so that an int holds them anywhere.
const maxCount = 1<<31 - 1

// count returns the whole number under key, from least to most, or nil when it is absent.
func (d *document) count(f fields, key string, least, most int64) *int {
	n := f[key]
	if n == nil {
		return nil
	}
	in := Input{
		Type:    Integer,
		Minimum: json.Number(strconv.FormatInt(least, 10)),
		Maximum: json.Number(strconv.FormatInt(most, 10)),
	}
	v, err := in.Value(n.plain())
	if err != nil {
		d.failAt(n, "%v", err)
		return nil
	}
	i, _ := v.(json.Number).Int64() // a canonical integer within bounds
	return new(int(i))
}

// list returns the items under key, which must be an array with 1 to most of them.
func (d *document) list(f fields, key string, most int) []*node {
	n := f[key]
	if n != nil && n.kind == kindArray && len(n.items) == 0 {
		d.failAt(n, "must not be empty")
	}
	return d.items(n, most)
}

// items returns the items of n, which may be nil or else must be an array with at most so many.
func (d *document) items(n *node, most int) []*node {
	if n == nil || !d.is(n, kindArray) {
		return nil
	}
	if len(n.items) > most {
		d.failAt(n, "has %d items, %d are allowed", len(n.items), most)
		return nil
	}
	return n.items
}

// members returns the members of n, which may be nil or else must be an object with at most so many
// of what they are called.
func (d *document) members(n *node, most int, called string) []member {
	if n == nil || !d.is(n, kindObject) {
		return nil
	}
	if len(n.members) > most {
		d.failAt(n, "has %d %s, %d are allowed", len(n.members), called, most)
		return nil
	}
	return n.members
}

func (d *document) definition(root *node) *Definition {
	f := d.fields(root,
		[]string{"id", "name", "steps", "outputs"},
		[]string{
			"$schema", "description", "category", "version",
			"inputs", "output_schemas", "charts", "display",
		})
	def := &Definition{
		Schema:      d.text(f, "$schema"),
		ID:          d.name(f, "id"),
		Name:        d.filled(f, "name"),
		Description: d.text(f, "description"),
		Category:    d.text(f, "category"),
		Version:     d.text(f, "version"),
		Inputs:      d.inputs(f["inputs"]),
		Charts:      d.charts(f["charts"]),
		Display:     d.display(f["display"]),
	}
	var results []string
	def.Steps, results = d.steps(f)
	var outputs []string
	def.Outputs, outputs = d.outputs(f, results)
	def.OutputSchemas = d.outputSchemas(f["output_schemas"], outputs)
	return def
}

func (d *document) steps(f fields) (steps []Step, results []string) {
	taken := make(map[string]int)
	for i, n := range d.list(f, "steps", MaxSteps) {
		step, f := d.step(n)
		switch first, repeated := taken[step.As]; {
		case step.As == "": // missing or no string, which has been said
		case slices.Contains(reserved, step.As):
			d.failAt(f["as"], "%q is reserved", step.As)
		case repeated:
			d.failAt(f["as"], "%q is already the result of step %d", shorten(step.As), first)
		default:
			taken[step.As] = i
			results = append(results, step.As)
		}
		steps = append(steps, step)
	}
	return steps, results
}

var reserved = []string{RootInputs, RootCtx, RootState, RootItem, RootIndex}

func (d *document) step(n *node) (Step, fields) {
	f := d.fields(n,
		[]string{"capability", "as"},
		[]string{"args", "description", "condition", "for_each", "parallel", "timeout", "on_error", "cache"})
	step := Step{
		Capability:  d.text(f, "capability"),
		Description: d.text(f, "description"),
		Args:        d.args(f["args"]),
		As:          d.name(f, "as"),
		Condition:   d.filled(f, "condition"),
		ForEach:     d.forEach(f),
		Timeout:     d.timeout(f),
		OnError:     d.onError(f["on_error"]),
		Cache:       d.boolean(f, "cache"),
	}
	if c := f["capability"]; c != nil && c.kind == kindString && !capabilityPattern.MatchString(step.Capability) {
		d.failAt(c, "%q is not allowed as a capability; use %s", shorten(step.Capability), capabilityPattern)
	}
	if n := length(step.Condition); n > MaxCondition {
		d.failAt(f["condition"], "has %d characters, %d are allowed", n, MaxCondition)
	}
	if n := d.count(f, "parallel", 1, MaxParallel); n != nil {
		step.Parallel = *n
	}
	if f["parallel"] != nil && f["for_each"] == nil {
		d.failAt(f["parallel"], `has no effect without "for_each"`)
	}
	return step, f
}

func (d *document) args(n *node) map[string]any {
	if n == nil || !d.is(n, kindObject) || len(n.members) == 0 {
		return nil
	}
	return n.plain().(map[string]any) // as its kind says
}

func (d *document) forEach(f fields) any {
	n := f["for_each"]
	switch {
	case n == nil:
		return nil
	case n.kind == kindString:
		return d.filled(f, "for_each")
	case n.kind != kindArray:
		d.failAt(n, "an array, or a string that is a template, is expected, not %s", n.kind)
		return nil
	}
	d.items(n, MaxItems)
	return n.plain()
}

func (d *document) timeout(f fields) Duration {
	s, n := d.text(f, "timeout"), f["timeout"]
	if n == nil || n.kind != kindString {
		return 0
	}
	t, err := time.ParseDuration(s)
	switch {
	case err != nil:
		d.failAt(n, `%q is not a duration; write it like "1.5s" or "200ms"`, shorten(s))
	case t < MinTimeout:
		d.failAt(n, "%v is below the minimum of %v", t, MinTimeout)
	case t > MaxTimeout:
		d.failAt(n, "%v is above the maximum of %v", t, MaxTimeout)
	}
	return Duration(t)
}

// onError returns the zero value for "fail" too: one meaning, one form.
func (d *document) onError(n *node) OnError {
	const form = `"fail", "continue" or {"fallback": value}`
	switch {
	case n == nil:
	case n.kind == kindObject:
		if v := d.fields(n, []string{"fallback"}, nil)["fallback"]; v != nil {
			return OnError{Mode: Fallback, Fallback: v.plain()}
		}
	case n.value == string(Continue):
		return OnError{Mode: Continue}
	case n.value == string(Fail):
	case n.kind == kindString:
		s := n.value.(string) // as its kind says
		d.failUnknown(n.start, n, s, []string{string(Fail), string(Continue)}, "%q is not allowed; use %s", shorten(s), form)
	default:
		d.failAt(n, "%s is expected, not %s", form, n.kind)
	}
	return OnError{}
}

// outputs returns the outputs and the names that the file has for them, be they right or wrong.
func (d *document) outputs(f fields, results []string) (outputs Outputs, names []string) {
	if n := f["outputs"]; n != nil && n.kind != kindArray {
		return d.mappedOutputs(n)
	}
	made, taken := set(results), make(map[string]struct{})
	for _, n := range d.list(f, "outputs", MaxSteps) {
		if !d.is(n, kindString) {
			continue
		}
		name := n.value.(string) // as its kind says
		names = append(names, name)
		_, exists := made[name]
		_, repeated := taken[name]
		switch {
		case !exists:
			d.failUnknown(n.start, n, name, results, "no step has the result %q", shorten(name))
		case repeated:
			d.failAt(n, "%q is repeated", name)
		default:
			taken[name] = struct{}{}
			outputs = append(outputs, Output{Name: name})
		}
	}
	return outputs, names
}

func (d *document) mappedOutputs(n *node) (outputs Outputs, names []string) {
	if n.kind != kindObject {
		d.failAt(n, "an array of results' names, or an object of values by name, is expected, not %s", n.kind)
		return nil, nil
	}
	if len(n.members) == 0 {
		d.failAt(n, "must not be empty")
	}
	for _, m := range d.members(n, MaxSteps, "outputs") {
		d.checkKey(m)
		if m.value.kind == kindNull {
			d.failAt(m.value, "an output can't be null")
		}
		outputs = append(outputs, Output{Name: m.key, Value: m.value.plain()})
		names = append(names, m.key)
	}
	return outputs, names
}

// checkKey checks the key of a member that gives something a name in the form of an id.
func (d *document) checkKey(m member) {
	if !namePattern.MatchString(m.key) {
		d.fail(m.keyStart, m.value, "%q is not allowed as a name; use %s", shorten(m.key), namePattern)
	}
}

func (d *document) outputSchemas(n *node, outputs []string) map[string]json.RawMessage {
	if n == nil || !d.is(n, kindObject) || len(n.members) == 0 {
		return nil
	}
	exist := set(outputs)
	schemas := make(map[string]json.RawMessage, len(n.members))
	for _, m := range n.members {
		// Without any outputs, that they are missing is what has to be said.
		if _, ok := exist[m.key]; !ok && len(outputs) > 0 {
			d.failUnknown(m.keyStart, m.value, m.key, outputs, "there is no output %q", shorten(m.key))
		}
		if k := m.value.kind; k != kindObject && k != kindBool {
			d.failAt(m.value, "a schema is expected, which is an object or a boolean, not %s", k)
			continue
		}
		schemas[m.key] = d.raw(m.value)
	}
	return schemas
}

func (d *document) charts(n *node) []any {
	var charts []any
	for _, c := range d.items(n, MaxCharts) {
		if c.kind != kindObject && c.kind != kindString {
			d.failAt(c, "a chart is expected, which is an object, or a string that is a template, not %s", c.kind)
			continue
		}
		charts = append(charts, c.plain())
	}
	return charts
}

func (d *document) display(n *node) json.RawMessage {
	if n == nil || !d.is(n, kindObject) {
		return nil
	}
	return d.raw(n)
}

// raw returns a value in the form that encoding/json writes it in, key order kept.
func (d *document) raw(n *node) json.RawMessage {
	compact, err := json.Marshal(json.RawMessage(d.data[n.start:n.end]))
	if err != nil {
		d.failAt(n, "not JSON: %v", err)
	}
	return compact
}

func set(names []string) map[string]struct{} {
	s := make(map[string]struct{}, len(names))
	for _, name := range names {
		s[name] = struct{}{}
	}
	return s
}
