// Package factor holds what portfolios' returns are regressed on: a model of factors, read from
// configuration.
package factor

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/tables"
)

// File is the name of the model's file in the directory of analytics' tables.
const File = "factors.yaml"

// Kind says what a factor's symbol names.
type Kind string

// The kinds of factors.
const (
	Security Kind = "security" // the daily return of its close, in its own currency
	FX       Kind = "fx"       // the daily change of a rate; the symbol is a pair BASE/QUOTE
	Macro    Kind = "macro"    // a macro series that holds daily returns
)

// Factor is one explanation of returns.
type Factor struct {
	Name   string `yaml:"name"` // as results call it
	Kind   Kind   `yaml:"kind"`
	Symbol string `yaml:"symbol"` // of the security, pair or series
	Why    string `yaml:"why"`    // what it stands for
}

// Absent is a factor that a reader would expect and that the data do not have.
type Absent struct {
	Name    string `yaml:"name"`
	Missing string `yaml:"missing"` // the input, as results name it
	Reason  string `yaml:"reason"`
}

// Model is what a portfolio's returns are regressed on.
type Model struct {
	Window       int      // number of daily returns
	PhaseReturns int      // fewest daily returns that a volatility within a phase is measured over
	Factors      []Factor // in the order of results
	Absent       []Absent

	// Source names the very file: "config:factors.yaml@" and the first 12 hex digits of its SHA-256.
	Source string
}

// Bounds of a model.
const (
	maxFactors = 20
	minWindow  = 20
	maxWindow  = 10_000
	maxText    = 300 // characters
)

var name = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,39}$`)

// modelYAML is the file as written.
type modelYAML struct {
	Window       int      `yaml:"window"`
	PhaseReturns int      `yaml:"phase_returns"`
	Factors      []Factor `yaml:"factors"`
	Absent       []Absent `yaml:"absent"`
}

func (y modelYAML) model() (Model, error) {
	m := Model{Window: y.Window, PhaseReturns: y.PhaseReturns, Factors: y.Factors, Absent: y.Absent}
	return m, m.check()
}

// Load reads the model from its [File] in a directory. Errors name the file and all that is wrong in it.
func Load(dir string) (Model, error) {
	var y modelYAML
	source, err := tables.Read(dir, File, &y)
	if err != nil {
		return Model{}, err
	}
	m, err := y.model()
	if err != nil {
		return Model{}, fmt.Errorf("%s: %w", File, err)
	}
	m.Source = source
	return m, nil
}

// Parse reads a model, strictly: keys that are not known and values out of bounds are errors, all of
// them reported. Its Source is empty.
func Parse(raw []byte) (Model, error) {
	var y modelYAML
	if err := tables.Parse(raw, &y); err != nil {
		return Model{}, err
	}
	return y.model()
}

func (m Model) check() error {
	var ps tables.Problems
	tables.Within(&ps, "window", m.Window, minWindow, maxWindow)
	tables.Within(&ps, "phase_returns", m.PhaseReturns, 2, maxWindow)
	if n := len(m.Factors); n < 1 || n > maxFactors || n+2 > m.Window {
		ps.Add("factors", "there are %d; 1 to %d are allowed, and 2 fewer than returns in the window", n, maxFactors)
	}
	names := map[string]bool{}
	unique := func(where, n string) {
		if !name.MatchString(n) {
			ps.Add(where+".name", "%q is not a letter and up to 39 more letters, digits and underscores", n)
		} else if names[n] {
			ps.Add(where+".name", "%q is there twice", n)
		}
		names[n] = true
	}
	text := func(where, s string) {
		if strings.TrimSpace(s) == "" || len(s) > maxText {
			ps.Add(where, "it needs 1 to %d characters", maxText)
		}
	}
	for i, f := range m.Factors {
		where := fmt.Sprintf("factors[%d]", i)
		unique(where, f.Name)
		text(where+".symbol", f.Symbol)
		text(where+".why", f.Why)
		switch f.Kind {
		case Security, Macro:
		case FX:
			if base, quote, ok := portfolio.SplitPair(f.Symbol); !ok || base == quote {
				ps.Add(where+".symbol", "%q is no pair such as USD/CHF", f.Symbol)
			}
		default:
			ps.Add(where+".kind", "%q is not %s, %s or %s", f.Kind, Security, FX, Macro)
		}
	}
	for i, a := range m.Absent {
		where := fmt.Sprintf("absent[%d]", i)
		unique(where, a.Name)
		text(where+".missing", a.Missing)
		text(where+".reason", a.Reason)
	}
	return ps.Err()
}
