package patterns

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// Catalog is the patterns that can be run, by id. It never changes.
type Catalog struct {
	plans map[string]*plan
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
	if p.Step != "" {
		fmt.Fprintf(&b, ": step %s", p.Step)
	}
	return b.String() + ": " + p.Msg
}

// LoadDir reads the patterns in a directory, one in each file that ends in .json; other files and
// folders are left alone. capabilities are the names of all that exist. A bad file yields problems
// and never keeps the others from loading; of two files with the same id the first by name counts.
// The error is about the directory itself.
func LoadDir(dir string, capabilities []string) (*Catalog, []Problem, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("read the patterns: %w", err)
	}
	catalog := &Catalog{plans: make(map[string]*plan)}
	files := make(map[string]string) // by pattern
	var problems []Problem
	for _, entry := range entries { // sorted by name
		file := entry.Name()
		if entry.IsDir() || filepath.Ext(file) != ".json" {
			continue
		}
		p, bad := loadFile(filepath.Join(dir, file), capabilities)
		if len(bad) > 0 {
			problems = append(problems, bad...)
			continue
		}
		id := p.definition.ID
		if first, taken := files[id]; taken {
			at := p.definition.Position("/id")
			problems = append(problems, Problem{
				File: file, Line: at.Line, Column: at.Column, Pattern: id,
				Msg: fmt.Sprintf("the id %q is already that of %s", id, first),
			})
			continue
		}
		files[id] = file
		catalog.plans[id] = p
	}
	return catalog, problems, nil
}

func loadFile(path string, capabilities []string) (*plan, []Problem) {
	file := filepath.Base(path)
	data, err := readFile(path)
	if err != nil {
		return nil, []Problem{{File: file, Msg: err.Error()}}
	}
	def, err := pattern.Parse(data)
	if all, ok := errors.AsType[pattern.Errors](err); ok {
		problems := make([]Problem, len(all))
		for i, e := range all {
			problems[i] = Problem{File: file, Line: e.Line, Column: e.Column, Msg: e.Msg}
			if e.Path != "" {
				problems[i].Msg = e.Path + ": " + e.Msg
			}
		}
		return nil, problems
	}
	return compile(file, def, capabilities)
}

// readFile reads no more of a file than tells that it is too big.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, pattern.MaxSize+1))
}

// Definitions returns all definitions by id, sorted. They must not be changed.
func (c *Catalog) Definitions() []*pattern.Definition {
	all := make([]*pattern.Definition, 0, len(c.plans))
	for _, p := range c.plans {
		all = append(all, p.definition)
	}
	slices.SortFunc(all, func(a, b *pattern.Definition) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Definition returns one definition, which must not be changed, or fault.NotFound.
func (c *Catalog) Definition(id string) (*pattern.Definition, error) {
	if p, ok := c.plans[id]; ok {
		return p.definition, nil
	}
	return nil, fault.New(fault.NotFound, "there is no pattern %q%s", id, didYouMean(id, slices.Sorted(maps.Keys(c.plans))))
}
