// Package factor holds what portfolios' returns are regressed on: a model of factors, read from
// configuration.
package factor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/dawsos/dawsos/internal/portfolio"
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
	maxFile    = 64 << 10
	maxFactors = 20
	minWindow  = 20
	maxWindow  = 10_000
	maxText    = 300 // characters
)

var name = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,39}$`)

// Load reads the model from its [File] in a directory. Errors name the file and what is wrong in it.
func Load(dir string) (Model, error) {
	path := filepath.Join(dir, File)
	f, err := os.Open(path)
	if err != nil {
		return Model{}, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Model{}, fmt.Errorf("reading %s: %w", path, err)
	}
	m, err := Parse(raw)
	if err != nil {
		return Model{}, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// Parse reads a model, strictly: keys that are not known and values out of bounds are errors, all of
// them reported.
func Parse(raw []byte) (Model, error) {
	if len(raw) > maxFile {
		return Model{}, fmt.Errorf("more than %d bytes", maxFile)
	}
	var file struct {
		Window       int      `yaml:"window"`
		PhaseReturns int      `yaml:"phase_returns"`
		Factors      []Factor `yaml:"factors"`
		Absent       []Absent `yaml:"absent"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		return Model{}, err
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return Model{}, errors.New("more than one document")
	}
	m := Model{Window: file.Window, PhaseReturns: file.PhaseReturns, Factors: file.Factors, Absent: file.Absent}
	if err := m.check(); err != nil {
		return Model{}, err
	}
	sum := sha256.Sum256(raw)
	m.Source = "config:" + File + "@" + hex.EncodeToString(sum[:])[:12]
	return m, nil
}

func (m Model) check() error {
	var problems []error
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if m.Window < minWindow || m.Window > maxWindow {
		add("window: %d is outside %d to %d", m.Window, minWindow, maxWindow)
	}
	if m.PhaseReturns < 2 || m.PhaseReturns > maxWindow {
		add("phase_returns: %d is outside 2 to %d", m.PhaseReturns, maxWindow)
	}
	if n := len(m.Factors); n < 1 || n > maxFactors || n+2 > m.Window {
		add("factors: there are %d; 1 to %d are allowed, and 2 fewer than returns in the window", n, maxFactors)
	}
	names := map[string]bool{}
	unique := func(where, n string) {
		if !name.MatchString(n) {
			add("%s.name: %q is not a letter and up to 39 more letters, digits and underscores", where, n)
		} else if names[n] {
			add("%s.name: %q is there twice", where, n)
		}
		names[n] = true
	}
	text := func(where, s string) {
		if strings.TrimSpace(s) == "" || len(s) > maxText {
			add("%s: it needs 1 to %d characters", where, maxText)
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
				add("%s.symbol: %q is no pair such as USD/CHF", where, f.Symbol)
			}
		default:
			add("%s.kind: %q is not %s, %s or %s", where, f.Kind, Security, FX, Macro)
		}
	}
	for i, a := range m.Absent {
		where := fmt.Sprintf("absent[%d]", i)
		unique(where, a.Name)
		text(where+".missing", a.Missing)
		text(where+".reason", a.Reason)
	}
	return errors.Join(problems...)
}
