package patterns

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr/types"

	"github.com/dawsos/dawsos/internal/schema"
	"github.com/dawsos/dawsos/pkg/agent"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// Capabilities knows what agents declare.
type Capabilities interface {
	// Capabilities returns the names of all capabilities, sorted.
	Capabilities() []string
	// Capability returns a declaration and the name of its agent.
	Capability(name string) (agentName string, c agent.Capability, ok bool)
}

// plan is a definition that has been checked and compiled.
type plan struct {
	definition *pattern.Definition
	hash       string // names the definition's content
	steps      []step
	results    map[string]int // step by result
	outputs    []output
	charts     []chart
	nested     []nestedRun
	// pure tells that the answer depends on the inputs and the data that the run sees, and on nothing
	// else: every step is pure, may be remembered, and nothing asks who the caller is.
	pure bool
	// aboutPortfolio tells that the input named by portfolioInput says which portfolio the pattern
	// is about.
	aboutPortfolio bool
}

type step struct {
	capability string
	agent      string
	as         string
	args       objectExpr
	condition  *condition // nil: always
	forEach    expr       // nil: once
	parallel   int        // 0: no bound of its own
	timeout    time.Duration
	mode       pattern.Mode
	fallback   expr
	cache      bool // may use and leave remembered results
	pure       bool
	effect     bool // runs only after all earlier steps have ended
	delegates  bool
	// declaration names what the agent says that the capability is, whose results another one's must
	// not be taken for.
	declaration [16]byte
	needs       []int // steps whose results it looks at, in order
}

type output struct {
	name   string
	step   int  // the step whose result it is as a whole, or -1
	value  expr // else what it is made of
	schema *schema.Schema
}

type chart struct {
	value expr
	needs []int
}

// nestedRun is a step that runs a pattern that the definition names.
type nestedRun struct {
	step    int
	pattern string
	inputs  []string // that are given
	known   bool     // before the run
}

// portfolioInput is the input that names the portfolio a run is about.
const portfolioInput = "portfolio_id"

// library compiles definitions against the capabilities that exist, each of whose schemas is read
// once.
type library struct {
	capabilities Capabilities
	names        []string
	known        map[string]*declared
	log          *slog.Logger // of defects alone
}

// declared is what is known of a capability.
type declared struct {
	agent        string
	decl         agent.Capability
	hash         [16]byte       // of the agent and the declaration
	args, result *schema.Schema // nil when it declares none
}

func newLibrary(c Capabilities) *library {
	return &library{capabilities: c, names: c.Capabilities(), known: make(map[string]*declared), log: slog.New(slog.DiscardHandler)}
}

// lookup returns a capability, or nil.
func (l *library) lookup(name string) *declared {
	if d, ok := l.known[name]; ok {
		return d
	}
	agentName, decl, ok := l.capabilities.Capability(name)
	var d *declared
	if ok {
		d = &declared{agent: agentName, decl: decl, hash: declarationHash(agentName, decl)}
		// The runtime has refused schemas that can't be compiled; without one nothing is checked.
		if len(decl.Args) > 0 {
			d.args, _ = schema.Compile(decl.Args)
		}
		if len(decl.Result) > 0 {
			d.result, _ = schema.Compile(decl.Result)
		}
	}
	l.known[name] = d
	return d
}

// declarationHash names a declaration's content.
func declarationHash(agentName string, c agent.Capability) [16]byte {
	h := sha256.New()
	for _, part := range []string{agentName, c.Name, c.Description, string(c.Args), string(c.Result), string(c.Purity)} {
		fmt.Fprintf(h, "%d %s", len(part), part)
	}
	return [16]byte(h.Sum(nil)[:16])
}

// compiler turns one definition into a plan and collects what is wrong with it.
type compiler struct {
	*library
	def      *pattern.Definition
	results  map[string]int // step by result, all steps
	shapes   []shape        // of the results of the steps compiled so far
	types    map[string]types.Type
	readers  [][]int // by step, the steps that look at its result as the definition stands, later ones included
	volatile bool    // something looks at what differs between requests about the same data
	problems []Problem
	unlisted int    // problems beyond maxProblems
	hints    int    // suggestions looked for
	graph    *graph // of the references as they are written; nil until it is needed
}

// What a definition can make of us: each problem costs memory and a suggestion time, and whoever may
// validate can write as many of both as fit into a file.
const (
	maxProblems = 1000
	maxHints    = 64
)

// site is where a value stands: what it may refer to, and what it did.
type site struct {
	step  int  // whose part it is; the number of steps for outputs and charts, which see all results
	item  bool // within a for_each
	needs map[int]struct{}
}

func newSite(step int) *site { return &site{step: step, needs: make(map[int]struct{})} }

func (s *site) sorted() []int { return slices.Sorted(maps.Keys(s.needs)) }

// compile checks a definition. The plan is nil when one of the problems is an error.
func (l *library) compile(file string, def *pattern.Definition) (*plan, []Problem) {
	c := &compiler{
		library: l, def: def, results: make(map[string]int, len(def.Steps)),
		types: make(map[string]types.Type, len(def.Steps)), readers: make([][]int, len(def.Steps)),
	}
	for i, s := range def.Steps {
		c.results[s.As] = i
	}
	p := &plan{
		definition: def, results: c.results,
		aboutPortfolio: def.Inputs[portfolioInput].Type == pattern.UUID,
	}
	for i, s := range def.Steps {
		p.steps = append(p.steps, c.step(i, s, p))
	}
	used := newSite(len(def.Steps))
	c.outputs(p, used)
	c.charts(p, used)
	c.cycles()
	if !hasErrors(c.problems) { // else a slip in a name would be told twice
		c.unused(used)
	}
	if c.unlisted > 0 {
		c.problems = append(c.problems, Problem{Severity: Error, Line: 1, Column: 1, Msg: fmt.Sprintf("%d more problems are not listed", c.unlisted)})
	}
	for i := range c.problems {
		c.problems[i].File, c.problems[i].Pattern = file, def.ID
	}
	sortProblems(c.problems)
	if hasErrors(c.problems) {
		return nil, c.problems
	}
	hash, err := hashOf(def)
	if err != nil { // made of JSON as it is, there is no way
		return nil, append(c.problems, Problem{Severity: Error, File: file, Pattern: def.ID, Msg: err.Error()})
	}
	p.hash = hash
	p.pure = !c.volatile && !slices.ContainsFunc(p.steps, func(s step) bool { return !s.pure || !s.cache })
	return p, c.problems
}

// hashOf names a definition's content.
func hashOf(def *pattern.Definition) (string, error) {
	raw, err := json.Marshal(def)
	if err != nil {
		return "", fmt.Errorf("pattern %s: %w", def.ID, err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16]), nil
}

func (c *compiler) report(severity Severity, stepIndex int, pointer, suggestion, format string, args ...any) {
	if len(c.problems) >= maxProblems && severity == Error {
		c.unlisted++
		return
	}
	at := c.def.Position(pointer)
	p := Problem{
		Severity: severity, Line: at.Line, Column: at.Column, Pointer: pointer,
		Msg: fmt.Sprintf(format, args...), Suggestion: suggestion,
	}
	if stepIndex < len(c.def.Steps) {
		p.Step = c.def.Steps[stepIndex].As
	}
	c.problems = append(c.problems, p)
}

func (c *compiler) fail(stepIndex int, pointer, suggestion, format string, args ...any) {
	c.report(Error, stepIndex, pointer, suggestion, format, args...)
}

// hint returns the known name that a wrong one was probably meant to be, for the first of the problems.
func (c *compiler) hint(name string, known func() []string) string {
	if c.hints++; c.hints > maxHints {
		return ""
	}
	return pattern.Closest(name, known())
}

func (c *compiler) step(index int, s pattern.Step, p *plan) step {
	pointer := pattern.Pointer("steps", strconv.Itoa(index))
	at := newSite(index)
	out := step{
		capability: s.Capability, as: s.As, parallel: s.Parallel, timeout: time.Duration(s.Timeout),
		mode: s.OnError.Mode, cache: s.Cache == nil || *s.Cache,
	}
	d := c.lookup(s.Capability)
	if d == nil {
		c.fail(index, pointer+"/capability", c.hint(s.Capability, func() []string { return c.names }), "no agent has the capability %q", s.Capability)
	}
	if s.Condition != "" {
		out.condition = c.condition(at, pointer+"/condition", s.Condition)
	}
	if s.ForEach != nil {
		out.forEach = c.forEach(at, pointer+"/for_each", s.ForEach)
		at.item = true
	}
	argsPointer := pointer + pattern.Pointer("args")
	out.args = c.object(at, argsPointer, s.Args)
	if s.OnError.Mode == pattern.Fallback {
		out.fallback = c.expr(at, pointer+"/on_error/fallback", s.OnError.Fallback)
	}
	if d != nil {
		out.agent, out.declaration = d.agent, d.hash
		out.pure, out.effect = d.decl.Purity == agent.Pure, d.decl.Purity == agent.Effectful
		out.delegates = d.decl.Delegates
		if d.args != nil {
			c.checkArgs(index, argsPointer, d.args, out.args, s.Capability)
		}
		if s.Capability == RunCapability {
			p.nested = append(p.nested, nestedOf(index, out.args)...)
		}
	}
	out.needs = at.sorted()

	result := shape{}
	if d != nil && (out.fallback == nil || fits(out.fallback, d.result)) {
		result.schema = d.result
	}
	result.list = s.ForEach != nil
	c.shapes = append(c.shapes, result)
	c.types[s.As] = result.typed()
	return out
}

// condition compiles a step's condition, which sees the results of earlier steps.
func (c *compiler) condition(at *site, pointer, text string) *condition {
	cond, err := compileCondition(text, conditionEnv{inputs: c.def.Inputs, results: c.types, hint: c.hint})
	if err != nil {
		suggestion := ""
		if e, ok := errors.AsType[*conditionError](err); ok {
			suggestion = e.suggestion
		}
		c.fail(at.step, pointer, suggestion, "condition %q, %v", text, err)
		return nil
	}
	if slices.Contains(cond.roots, pattern.RootCtx) {
		c.volatile = true
	}
	for _, root := range cond.roots {
		if maker, ok := c.results[root]; ok {
			at.needs[maker] = struct{}{}
			c.readers[maker] = append(c.readers[maker], at.step)
		}
	}
	if cond.constant != nil && !*cond.constant {
		c.fail(at.step, pointer, "", "the step is never reached: its condition %q is always false", text)
	}
	return cond
}

func (c *compiler) forEach(at *site, pointer string, v any) expr {
	e := c.expr(at, pointer, v)
	switch e := e.(type) {
	case constExpr:
		if _, ok := e.value.([]any); !ok {
			c.fail(at.step, pointer, "", "for_each needs an array or a template that yields one, not %s", describe(e.value))
		}
	case concatExpr, objectExpr:
		c.fail(at.step, pointer, "", "for_each needs an array or a template that yields one, and nothing else")
	case *refExpr:
		if found := c.shapeOf(e); found.known() && !found.mayBe("array") {
			c.fail(at.step, pointer, "", "for_each needs an array; {{%s}} is %s", e.path, found)
		}
	}
	return e
}

// expr compiles one JSON value.
func (c *compiler) expr(at *site, pointer string, v any) expr {
	switch v := v.(type) {
	case string:
		return c.text(at, pointer, v)
	case []any:
		items := make(listExpr, len(v))
		for i, item := range v {
			items[i] = c.expr(at, pointer+pattern.Pointer(strconv.Itoa(i)), item)
		}
		if !slices.ContainsFunc(items, isVariable) {
			return fold(items)
		}
		return items
	case map[string]any:
		fields := c.object(at, pointer, v)
		if !slices.ContainsFunc(fields, func(f fieldExpr) bool { return isVariable(f.value) }) {
			return fold(fields)
		}
		return fields
	}
	return constExpr{v}
}

// object compiles an object's fields, sorted by key so that of several errors the same one is met
// in every run.
func (c *compiler) object(at *site, pointer string, object map[string]any) objectExpr {
	fields := make(objectExpr, 0, len(object))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		fields = append(fields, fieldExpr{key: key, value: c.expr(at, pointer+pattern.Pointer(key), object[key])})
	}
	return fields
}

func (c *compiler) text(at *site, pointer, s string) expr {
	t, err := parseTemplate(s)
	if err != nil {
		c.fail(at.step, pointer, "", "template %q: %v", s, err)
		return badExpr{}
	}
	if ref, ok := t.only(); ok {
		return c.ref(at, pointer, ref)
	}
	var parts concatExpr
	for _, segment := range t {
		if segment.path == nil {
			parts = append(parts, constExpr{segment.text})
			continue
		}
		part := c.ref(at, pointer, segment.path)
		if ref, ok := part.(*refExpr); ok {
			if found := c.shapeOf(ref); found.known() && !found.mayBe("string", "number", "integer", "boolean", "null") {
				c.fail(at.step, pointer, "", "template {{%s}} is %s, which has no place within text", segment.path, found)
			}
		}
		parts = append(parts, part)
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
func (c *compiler) ref(at *site, pointer string, p *path) expr {
	fail := func(suggestion, format string, args ...any) expr {
		c.fail(at.step, pointer, suggestion, "template {{%s}}, character %d: %s", p, p.pos, fmt.Sprintf(format, args...))
		return badExpr{}
	}
	if len(p.parts) > 0 && p.parts[0].field == "" {
		switch p.root {
		case pattern.RootInputs, pattern.RootCtx, pattern.RootState:
			return fail("", "a name is expected behind %q", p.root)
		}
	}
	ref := &refExpr{path: p, parts: p.parts}
	switch p.root {
	case pattern.RootInputs:
		if len(p.parts) > 0 {
			name := p.parts[0].field
			if _, ok := c.def.Inputs[name]; !ok {
				return fail(c.hint(name, func() []string { return slices.Sorted(maps.Keys(c.def.Inputs)) }), "the pattern declares no input %q", name)
			}
		}
		ref.root = rootInputs
		return c.shaped(ref, fail)
	case pattern.RootCtx:
		if len(p.parts) > 0 && ctxTypes[p.parts[0].field] == nil {
			known := slices.Sorted(maps.Keys(ctxTypes))
			return fail(c.hint(p.parts[0].field, func() []string { return known }), "ctx has no %q; it has %s", p.parts[0].field, strings.Join(known, ", "))
		}
		if len(p.parts) == 0 || ofTheRequest(p.parts[0].field) {
			c.volatile = true
		}
		ref.root = rootCtx
		return ref
	case pattern.RootItem, pattern.RootIndex:
		if !at.item {
			return fail("", "%q is known only in the arguments and the fallback of a step with for_each", p.root)
		}
		ref.root = rootItem
		if p.root == pattern.RootIndex {
			ref.root = rootIndex
		}
		return ref
	}

	name := p.root
	if name == pattern.RootState {
		if len(p.parts) == 0 {
			return fail("", "a name is expected behind %q", p.root)
		}
		name, ref.parts = p.parts[0].field, p.parts[1:]
	}
	maker, exists := c.results[name]
	if !exists {
		known := func() []string {
			known := []string{pattern.RootInputs, pattern.RootCtx}
			if at.item {
				known = append(known, pattern.RootItem, pattern.RootIndex)
			}
			for _, s := range c.def.Steps[:min(at.step, len(c.def.Steps))] {
				known = append(known, s.As)
			}
			return known
		}
		return fail(c.hint(name, known), "no step has the result %q", name)
	}
	c.readers[maker] = append(c.readers[maker], at.step)
	switch {
	case maker == at.step:
		return fail("", "%q is this step's own result", name)
	case maker > at.step:
		if !c.references().together(at.step, maker) {
			return fail("", "%q is the result of the later step %d; move that one before this", name, maker)
		}
		return badExpr{} // told by cycles, as a whole
	}
	at.needs[maker] = struct{}{}
	ref.root = maker
	for _, part := range ref.parts {
		ref.below += part.String()
	}
	return c.shaped(ref, fail)
}

// ofTheRequest reports whether a part of ctx is about who asks, and not about the data.
func ofTheRequest(name string) bool {
	return name == "request_id" || name == "trace_id" || name == "user_id"
}

// shaped checks that what a reference looks for can be there.
func (c *compiler) shaped(ref *refExpr, fail func(suggestion, format string, args ...any) expr) expr {
	if _, err := c.find(ref); err != nil {
		return fail(err.suggestion, "%s", err.msg)
	}
	return ref
}

// outputs compiles what the answer holds.
func (c *compiler) outputs(p *plan, used *site) {
	for _, o := range c.def.Outputs {
		out := output{name: o.Name, step: -1}
		if o.Value == nil {
			out.step = c.results[o.Name] // the parser has seen to it that there is one
			used.needs[out.step] = struct{}{}
		} else {
			out.value = c.expr(used, pattern.Pointer("outputs", o.Name), o.Value)
			c.namesNoResult(used.step, pattern.Pointer("outputs", o.Name), o.Name, o.Value)
			if ref, ok := out.value.(*refExpr); ok && ref.root >= 0 && len(ref.parts) == 0 {
				out.step, out.value = ref.root, nil
			}
		}
		if raw, ok := c.def.OutputSchemas[o.Name]; ok {
			var err error
			if out.schema, err = schema.Compile(raw); err != nil {
				c.fail(used.step, pattern.Pointer("output_schemas", o.Name), "", "%v", err)
			}
		}
		p.outputs = append(p.outputs, out)
	}
}

// namesNoResult warns of an output, or an item of one, that is the bare name of a result: the list of
// panels that older definitions have would yield those names, and none of the results.
func (c *compiler) namesNoResult(step int, pointer, output string, v any) {
	switch v := v.(type) {
	case string:
		if _, ok := c.results[v]; ok {
			c.report(Warning, step, pointer, openBraces+v+closeBraces, "the output %q is the text %q and not the result of that name", output, v)
		}
	case []any:
		for i, item := range v {
			c.namesNoResult(step, pointer+pattern.Pointer(strconv.Itoa(i)), output, item)
		}
	}
}

// views are the keys of which a Vega-Lite specification has at least one.
var views = []string{"mark", "layer", "hconcat", "vconcat", "concat", "facet", "repeat", "spec"}

func (c *compiler) charts(p *plan, used *site) {
	for i, v := range c.def.Charts {
		pointer := pattern.Pointer("charts", strconv.Itoa(i))
		at := newSite(used.step)
		e := c.expr(at, pointer, v)
		switch v := v.(type) {
		case map[string]any:
			if !slices.ContainsFunc(views, func(key string) bool { return v[key] != nil }) {
				c.fail(used.step, pointer, "", "a Vega-Lite specification has one of %s", strings.Join(views, ", "))
			}
			c.noAddresses(used.step, pointer, v)
		default:
			_, bad := e.(badExpr)
			if _, ok := e.(*refExpr); !ok && !bad {
				c.fail(used.step, pointer, "", "a chart is a Vega-Lite specification, or one template that yields one")
			}
		}
		maps.Copy(used.needs, at.needs)
		p.charts = append(p.charts, chart{value: e, needs: at.sorted()})
	}
}

// noAddresses refuses data that whoever shows the chart would have to fetch: an answer holds
// everything that it is made of.
func (c *compiler) noAddresses(step int, pointer string, v any) {
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			c.noAddresses(step, pointer+pattern.Pointer(strconv.Itoa(i)), item)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			below := pointer + pattern.Pointer(key)
			if key == "datasets" || key == "values" { // the data themselves, whatever they look like
				continue
			}
			if data, ok := v[key].(map[string]any); ok && key == "data" && data["url"] != nil {
				c.fail(step, below+"/url", "values", "a chart holds its data; put them under values")
				continue
			}
			c.noAddresses(step, below, v[key])
		}
	}
}

// fits reports whether what stands in for a result is known to be like one.
func fits(fallback expr, s *schema.Schema) bool {
	constant, ok := fallback.(constExpr)
	return ok && (constant.value == nil || s != nil && len(schema.Violations(s, "", constant.value)) == 0)
}

// graph is which steps look at which, as the definition stands, forwards as well as backwards.
type graph struct {
	mentions  [][]int
	component []int // by step; those that have the same wait for each other
}

// together reports whether two steps wait for each other, directly or through others.
func (g *graph) together(a, b int) bool { return g.component[a] == g.component[b] }

// references returns the definition's graph.
func (c *compiler) references() *graph {
	if c.graph != nil {
		return c.graph
	}
	n := len(c.def.Steps)
	g := &graph{mentions: make([][]int, n), component: make([]int, n)}
	for i := range n {
		g.mentions[i] = c.mentions(i)
	}
	// Tarjan's: every step and every reference is looked at once.
	order, low := make([]int, n), make([]int, n) // 0: not seen yet
	seen, open := 0, []int(nil)
	var visit func(i int)
	visit = func(i int) {
		seen++
		order[i], low[i] = seen, seen
		open = append(open, i)
		g.component[i] = -1 // it is open
		for _, next := range g.mentions[i] {
			switch {
			case order[next] == 0:
				visit(next)
				low[i] = min(low[i], low[next])
			case g.component[next] == -1:
				low[i] = min(low[i], order[next])
			}
		}
		if low[i] < order[i] {
			return
		}
		at := slices.Index(open, i)
		for _, member := range open[at:] {
			g.component[member] = i
		}
		open = open[:at]
	}
	for i := range n {
		if order[i] == 0 {
			visit(i)
		}
	}
	c.graph = g
	return g
}

// mentions returns the steps whose results a step looks at, as its text stands.
func (c *compiler) mentions(index int) []int {
	found := make(map[int]struct{})
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			t, err := parseTemplate(v)
			if err != nil {
				return
			}
			for _, segment := range t {
				if segment.path == nil {
					continue
				}
				name := segment.path.root
				if name == pattern.RootState && len(segment.path.parts) > 0 {
					name = segment.path.parts[0].field
				}
				if maker, ok := c.results[name]; ok {
					found[maker] = struct{}{}
				}
			}
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			for _, field := range v {
				walk(field)
			}
		}
	}
	s := c.def.Steps[index]
	walk(s.Args)
	walk(s.ForEach)
	walk(s.OnError.Fallback)
	return slices.Sorted(maps.Keys(found))
}

// cycles reports steps that wait for each other: of those that are tied to each other, the shortest way
// from the first back to it.
func (c *compiler) cycles() {
	if !slices.ContainsFunc(c.readers, func(by []int) bool { return len(by) > 0 }) {
		return // nobody looks at anything
	}
	g := c.references()
	told := make(map[int]bool)
	for first := range c.def.Steps { // in this order the first of each component comes first
		if told[g.component[first]] {
			continue
		}
		told[g.component[first]] = true
		way := g.wayBack(first)
		if way == nil {
			continue
		}
		names := make([]string, len(way))
		for i, step := range way {
			names[i] = c.def.Steps[step].As
		}
		c.fail(first, pattern.Pointer("steps", strconv.Itoa(first)), "", "steps wait for each other: %s", strings.Join(names, " needs "))
	}
}

// wayBack returns a shortest way from a step through others back to it, nil when there is none.
func (g *graph) wayBack(first int) []int {
	from := map[int]int{} // how a step was reached
	for queue := []int{first}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		for _, next := range g.mentions[at] {
			if next == at || !g.together(next, first) { // its own result is told where it stands
				continue
			}
			if next == first {
				way := []int{first}
				for ; at != first; at = from[at] {
					way = append(way, at)
				}
				way = append(way, first)
				slices.Reverse(way)
				return way
			}
			if _, seen := from[next]; !seen {
				from[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// unused warns of results that nothing looks at. Steps with effects are there for those.
func (c *compiler) unused(used *site) {
	for i, s := range c.def.Steps {
		if _, output := used.needs[i]; output || len(c.readers[i]) > 0 {
			continue
		}
		if d := c.lookup(s.Capability); d != nil && d.decl.Purity == agent.Effectful {
			continue
		}
		c.report(Warning, i, pattern.Pointer("steps", strconv.Itoa(i), "as"), "", "the result %q is not used: no other step, output or chart looks at it", s.As)
	}
}
