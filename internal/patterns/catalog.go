package patterns

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// catalog is the patterns that were found in a directory at one time. It never changes.
type catalog struct {
	plans    map[string]*plan  // those that can be run, by id
	problems []Problem         // of all files, in order
	files    map[string]source // by base name
	origin   map[string]string // file by pattern
}

// source is what became of one file.
type source struct {
	content    [sha256.Size]byte
	definition *pattern.Definition // nil when it can't be read as one
	bad        bool                // its pattern is not served
}

func newCatalog() *catalog {
	return &catalog{plans: make(map[string]*plan), files: make(map[string]source), origin: make(map[string]string)}
}

// Severity tells whether a problem keeps a pattern from being served.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // the pattern is not served
	Warning Severity = "warning" // it is, but something in it is of no use
)

// Problem is something that is wrong with a definition.
type Problem struct {
	Severity     Severity
	File         string // its base name
	Line, Column int    // from 1; 0 when the problem has no place in the file
	Pointer      string // JSON pointer to the value at fault, "" for the whole file
	Pattern      string // the pattern's id, "" when it could not be read
	Step         string // the result that the step at fault makes, "" when it is not about a step
	Msg          string
	Suggestion   string // the name that was probably meant, "" when there is none
}

func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if p.Severity == Warning {
		b.WriteString("warning: ")
	}
	if p.Step != "" {
		fmt.Fprintf(&b, "step %s: ", p.Step)
	}
	b.WriteString(p.Msg)
	if p.Suggestion != "" {
		fmt.Fprintf(&b, "; did you mean %q?", p.Suggestion)
	}
	return b.String()
}

func hasErrors(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return p.Severity == Error })
}

// sortProblems puts problems into the order of files and places.
func sortProblems(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// loadDir reads the patterns in a directory, one in each file that ends in .json; other files and
// folders are left alone. A bad file yields problems and never keeps the others from loading; of two
// files with the same id the first by name counts. The error is about the directory itself.
func loadDir(dir string, capabilities Capabilities) (*catalog, error) {
	return newLibrary(capabilities).loadDir(dir)
}

func (l *library) loadDir(dir string) (*catalog, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the patterns: %w", err)
	}
	c := newCatalog()
	for _, entry := range entries { // sorted by name
		name := entry.Name()
		if entry.IsDir() || filepath.Ext(name) != ".json" {
			continue
		}
		data, err := readFile(filepath.Join(dir, name))
		if err != nil {
			c.reject(Problem{Severity: Error, File: name, Msg: err.Error()})
			continue
		}
		def, p, problems := l.load(name, data)
		c.add(name, source{content: sha256.Sum256(data), definition: def}, p, problems)
	}
	c.settle()
	return c, nil
}

// refit returns what a catalog is with the capabilities that there are now: its files as they were read then,
// whatever has become of them since.
func (l *library) refit(before *catalog) *catalog {
	c := newCatalog()
	for _, name := range slices.Sorted(maps.Keys(before.files)) {
		f := before.files[name]
		var p *plan
		var problems []Problem
		if f.definition != nil {
			p, problems = l.check(name, f.definition)
		}
		c.add(name, f, p, problems)
	}
	c.settle()
	return c
}

// add puts what became of a file into the catalog. Files come in their order; the plan is nil when there is
// none.
func (c *catalog) add(name string, f source, p *plan, problems []Problem) {
	f.bad = p == nil
	c.files[name] = f
	c.problems = append(c.problems, problems...)
	if p == nil {
		return
	}
	id := p.definition.ID
	if first, taken := c.origin[id]; taken {
		at := p.definition.Position("/id")
		c.reject(Problem{
			Severity: Error, File: name, Line: at.Line, Column: at.Column, Pointer: "/id", Pattern: id,
			Msg: fmt.Sprintf("the id %q is already that of %s", id, first),
		})
		return
	}
	c.origin[id] = name
	c.plans[id] = p
}

// settle takes out what can't be run among the others: a pattern that runs one which is not served is not
// served either, and so on.
func (c *catalog) settle() {
	for {
		var out []string
		for _, id := range slices.Sorted(maps.Keys(c.plans)) {
			problems := checkNested(c.origin[id], c.plans[id], c.plans)
			for _, p := range problems {
				c.reject(p)
			}
			if len(problems) > 0 {
				out = append(out, id)
			}
		}
		if len(out) == 0 {
			break
		}
		for _, id := range out {
			delete(c.plans, id)
		}
	}
	sortProblems(c.problems)
}

// reject notes a problem for which a file's pattern is not served.
func (c *catalog) reject(p Problem) {
	f := c.files[p.File]
	f.bad = true
	c.files[p.File] = f
	c.problems = append(c.problems, p)
}

// bad returns the names of the files whose patterns are not served, sorted.
func (c *catalog) bad() []string {
	var names []string
	for name, f := range c.files {
		if f.bad {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// breaks returns the files of c that are bad because of a change since before, sorted: they were not so in
// the same words, or they run a pattern whose file has changed, or gone.
func (c *catalog) breaks(before *catalog) []string {
	changed := func(name string) bool { return c.files[name].content != before.files[name].content }
	lost := make(map[string]bool) // files whose patterns run one that has gone by a change
	for id, p := range before.plans {
		for _, n := range p.nested {
			if c.plans[n.pattern] == nil && changed(before.origin[n.pattern]) {
				lost[before.origin[id]] = true
			}
		}
	}
	return slices.DeleteFunc(c.bad(), func(name string) bool {
		was, there := before.files[name]
		return there && !changed(name) && (was.bad || !lost[name])
	})
}

// load parses and compiles one file. The definition is nil when it can't be read, the plan when one of the
// problems is an error.
func (l *library) load(name string, data []byte) (def *pattern.Definition, checked *plan, problems []Problem) {
	defer l.survive(name, &checked, &problems)
	def, err := pattern.Parse(data)
	if err == nil {
		checked, problems = l.check(name, def)
		return def, checked, problems
	}
	all, _ := errors.AsType[pattern.Errors](err) // Parse returns no others
	problems = make([]Problem, len(all))
	for i, e := range all {
		problems[i] = Problem{
			Severity: Error, File: name, Line: e.Line, Column: e.Column, Pointer: e.Path,
			Msg: e.Msg, Suggestion: e.Suggestion,
		}
		if e.Path != "" {
			problems[i].Msg = e.Path + ": " + e.Msg
		}
	}
	return nil, nil, problems
}

// check is compile for files of a directory.
func (l *library) check(name string, def *pattern.Definition) (checked *plan, problems []Problem) {
	defer l.survive(name, &checked, &problems)
	return l.compile(name, def)
}

// survive is deferred: it makes a problem of a panic. A file that brings a defect of ours to light must
// neither end the process nor keep the others from being served.
func (l *library) survive(name string, checked **plan, problems *[]Problem) {
	if p := recover(); p != nil {
		l.log.Error("panic while a pattern file was checked", "file", name, "panic", p, "stack", string(debug.Stack()))
		*checked, *problems = nil, []Problem{{Severity: Error, File: name, Msg: "checking the file " + brokeOff}}
	}
}

// brokeOff is what became of something that panicked.
const brokeOff = "broke off, for a defect that the log has more about"

// readFile reads no more of a file than tells that it is too big.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // what lies in PATTERNS_DIR
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, pattern.MaxSize+1))
}

// checkNested looks at the patterns that a plan names in its steps: they must be there, declare the
// inputs that are given, and not come back to it.
func checkNested(name string, p *plan, plans map[string]*plan) []Problem {
	var problems []Problem
	fail := func(n nestedRun, pointer, suggestion, format string, args ...any) {
		pointer = pattern.Pointer("steps", strconv.Itoa(n.step), "args") + pointer
		at := p.definition.Position(pointer)
		problems = append(problems, Problem{
			Severity: Error, File: name, Line: at.Line, Column: at.Column, Pointer: pointer, Pattern: p.definition.ID,
			Step: p.steps[n.step].as, Msg: fmt.Sprintf(format, args...), Suggestion: suggestion,
		})
	}
	for _, n := range p.nested {
		if n.pattern == p.definition.ID {
			fail(n, "/pattern", "", "the pattern runs itself")
			continue
		}
		target, ok := plans[n.pattern]
		if !ok {
			fail(n, "/pattern", pattern.Closest(n.pattern, slices.Sorted(maps.Keys(plans))), "there is no pattern %q that can be run", n.pattern)
			continue
		}
		known := slices.Sorted(maps.Keys(target.definition.Inputs))
		for _, input := range known {
			if target.definition.Inputs[input].Required && n.known && !slices.Contains(n.inputs, input) {
				fail(n, "", "", "the input %q of the pattern %q is missing", input, n.pattern)
			}
		}
		for _, input := range n.inputs {
			if !slices.Contains(known, input) {
				fail(n, "/inputs"+pattern.Pointer(input), pattern.Closest(input, known), "the pattern %q has no input %q", n.pattern, input)
			}
		}
		if way := wayBack(target, p.definition.ID, plans, map[string]bool{}); way != nil {
			fail(n, "/pattern", "", "patterns run each other without end: %s", strings.Join(append([]string{p.definition.ID}, way...), " runs "))
		}
	}
	return problems
}

// wayBack returns how a pattern comes to run the one named id, nil when it does not.
func wayBack(p *plan, id string, plans map[string]*plan, seen map[string]bool) []string {
	own := p.definition.ID
	if own == id {
		return []string{own}
	}
	if seen[own] {
		return nil
	}
	seen[own] = true
	for _, n := range p.nested {
		if next, ok := plans[n.pattern]; ok {
			if way := wayBack(next, id, plans, seen); way != nil {
				return append([]string{own}, way...)
			}
		}
	}
	return nil
}

// definitions returns all definitions by id, sorted. They must not be changed.
func (c *catalog) definitions() []*pattern.Definition {
	all := make([]*pattern.Definition, 0, len(c.plans))
	for _, p := range c.plans {
		all = append(all, p.definition)
	}
	slices.SortFunc(all, func(a, b *pattern.Definition) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// plan returns the plan of a pattern, or fault.NotFound.
func (c *catalog) plan(id string) (*plan, error) {
	if p, ok := c.plans[id]; ok {
		return p, nil
	}
	return nil, fault.New(fault.NotFound, "there is no pattern %q%s", id, didYouMean(id, slices.Sorted(maps.Keys(c.plans))))
}

// Validate checks all definitions in a directory, or in one file. The error is about the path itself.
func Validate(path string, capabilities Capabilities) ([]Problem, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the patterns: %w", err)
	}
	if info.IsDir() {
		c, err := loadDir(path, capabilities)
		if err != nil {
			return nil, err
		}
		return c.problems, nil
	}
	// The patterns beside a file are those that it may run.
	c, err := loadDir(filepath.Dir(path), capabilities)
	if err != nil {
		return nil, err
	}
	data, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the pattern: %w", err)
	}
	return newLibrary(capabilities).validate(filepath.Base(path), data, c.plans), nil
}

// validate checks one definition among others, in the place of the one that has its id.
func (l *library) validate(name string, data []byte, others map[string]*plan) []Problem {
	_, p, problems := l.load(name, data)
	if p == nil {
		return problems
	}
	plans := make(map[string]*plan, len(others)+1)
	maps.Copy(plans, others)
	plans[p.definition.ID] = p
	problems = append(problems, checkNested(name, p, plans)...)
	sortProblems(problems)
	return problems
}
