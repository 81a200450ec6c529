// Package scenario computes what a portfolio would lose under assumed shocks, and how deep it has been
// below its highs. It is pure: no database, no clock, no randomness.
//
// What is assumed is configuration, see [Library]. What follows from it for a holding is arithmetic:
// dV = MV sum(beta_k shock_k), with betas that are exact (currencies, durations) or estimated.
package scenario

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/tables"
)

// File is the name of the library's file.
const File = "scenarios.yaml"

// Mapping is how a shock reaches a line of a portfolio. The head of configs/analytics/scenarios.yaml
// says what each means.
type Mapping string

// The mappings.
const (
	Duration Mapping = "duration"
	Beta     Mapping = "beta"
	Class    Mapping = "class"
	FX       Mapping = "fx"
	None     Mapping = "none"
)

// Unit is what the size of a shock is written in.
type Unit string

// The units.
const (
	BasisPoints Unit = "bps"
	Percent     Unit = "pct"
)

func (u Unit) fraction() float64 {
	if u == BasisPoints {
		return 1e-4
	}
	return 1e-2
}

// Shock is something that can be shocked.
type Shock struct {
	Name         string            `yaml:"name"`
	Description  string            `yaml:"description"`
	Unit         Unit              `yaml:"unit"`
	Min          float64           `yaml:"min"` // in Unit
	Max          float64           `yaml:"max"`
	Mapping      Mapping           `yaml:"mapping"`
	AssetClasses []string          `yaml:"asset_classes"` // of duration, beta and class
	Factors      map[string]string `yaml:"factors"`       // of beta: symbol by currency
	Currency     string            `yaml:"currency"`      // of fx
	Against      string            `yaml:"against"`       // of fx: "" means all other currencies
	Missing      string            `yaml:"missing"`       // of none
	Reason       string            `yaml:"reason"`        // of none
}

// Scenario is shocks that happen together.
type Scenario struct {
	ID     string             `yaml:"id"`
	Name   string             `yaml:"name"`
	Shocks map[string]float64 `yaml:"shocks"` // by name, in the shock's unit
}

// Estimation says what betas are estimated over.
type Estimation struct {
	Returns    int `yaml:"returns"`     // daily returns, 20 to 2520
	MinReturns int `yaml:"min_returns"` // 20 to Returns
}

// Library is the shocks and scenarios that are known.
type Library struct {
	Source       string     `yaml:"-"`      // names the file by its content
	Origin       string     `yaml:"source"` // where the sizes come from
	Estimation   Estimation `yaml:"estimation"`
	Shocks       []Shock    `yaml:"shocks"`
	Scenarios    []Scenario `yaml:"scenarios"`
	Deleveraging []Scenario `yaml:"deleveraging"`
}

// Load reads and checks the library in a folder. All problems are told at once.
func Load(dir string) (*Library, error) {
	var l Library
	source, err := tables.Read(dir, File, &l)
	if err != nil {
		return nil, err
	}
	l.Source = source
	return &l, l.check().In(File)
}

// Parse reads and checks a library.
func Parse(raw []byte) (*Library, error) {
	var l Library
	if err := tables.Parse(raw, &l); err != nil {
		return nil, err
	}
	return &l, l.check().Err()
}

var (
	name     = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	currency = regexp.MustCompile(`^[A-Z]{3}$`)
)

// Bounds of a library's size.
const (
	maxShocks    = 50
	maxScenarios = 200
)

// DeleveragingIDs are the scenarios that the list deleveraging must hold: capabilities are named after
// them.
var DeleveragingIDs = []string{"money_printing", "austerity", "default"}

func (l *Library) check() tables.Problems {
	var ps tables.Problems
	ps.Cited("source", l.Origin)
	if e := l.Estimation; e.Returns < 20 || e.Returns > 2520 || e.MinReturns < 20 || e.MinReturns > e.Returns {
		ps.Add("estimation", "returns must be 20 to 2520, min_returns 20 to returns")
	}
	if len(l.Shocks) == 0 || len(l.Shocks) > maxShocks {
		ps.Add("shocks", "there must be 1 to %d", maxShocks)
	}
	if len(l.Scenarios)+len(l.Deleveraging) > maxScenarios {
		ps.Add("scenarios", "there may be %d, deleveraging included", maxScenarios)
	}
	known := map[string]Shock{}
	for i, s := range l.Shocks {
		at := fmt.Sprintf("shocks[%d]", i)
		if _, twice := known[s.Name]; twice {
			ps.Add(at, "%q stands twice", s.Name)
		}
		known[s.Name] = s
		if err := s.check(); err != nil {
			ps.Add(at, "%s: %w", s.Name, err)
		}
	}
	ids := map[string]bool{}
	for list, scenarios := range map[string][]Scenario{"scenarios": l.Scenarios, "deleveraging": l.Deleveraging} {
		for i, s := range scenarios {
			at := fmt.Sprintf("%s[%d]", list, i)
			switch {
			case !name.MatchString(s.ID):
				ps.Add(at, "id %q must match %s", s.ID, name)
			case ids[s.ID]:
				ps.Add(at, "id %q stands twice", s.ID)
			case s.Name == "":
				ps.Add(at, "%s: name is missing", s.ID)
			case len(s.Shocks) == 0:
				ps.Add(at, "%s: shocks are missing", s.ID)
			}
			ids[s.ID] = true
			for _, shock := range slices.Sorted(maps.Keys(s.Shocks)) {
				size := s.Shocks[shock]
				k, ok := known[shock]
				switch {
				case !ok:
					ps.Add(at, "%s: there is no shock %q", s.ID, shock)
				case !(size >= k.Min && size <= k.Max) || size == 0:
					ps.Add(at, "%s: %s is %v, allowed are %v to %v without 0", s.ID, shock, size, k.Min, k.Max)
				}
			}
		}
	}
	for _, id := range DeleveragingIDs {
		if !slices.ContainsFunc(l.Deleveraging, func(s Scenario) bool { return s.ID == id }) {
			ps.Add("deleveraging", "%q is missing", id)
		}
	}
	return ps
}

func (s Shock) check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !name.MatchString(s.Name) {
		wrong("name must match %s", name)
	}
	if s.Unit != BasisPoints && s.Unit != Percent {
		wrong("unit %q is neither bps nor pct", s.Unit)
	}
	if !(s.Min < 0 && s.Max > 0) || s.Min*s.Unit.fraction() <= -1 || s.Max*s.Unit.fraction() > 10 {
		wrong("min must be below 0 and above -100 %%, max above 0 and at most 1000 %%")
	}
	if s.Description == "" {
		wrong("description is missing")
	}
	classes := s.Mapping == Duration || s.Mapping == Beta || s.Mapping == Class
	switch {
	case !classes && s.Mapping != FX && s.Mapping != None:
		wrong("mapping %q is none of duration, beta, class, fx, none", s.Mapping)
	case classes != (len(s.AssetClasses) > 0):
		wrong("asset_classes belong to the mappings duration, beta and class, and only to them")
	case (s.Mapping == Beta) != (len(s.Factors) > 0):
		wrong("factors belong to the mapping beta, and only to it")
	case (s.Mapping == FX) != (s.Currency != ""), s.Mapping != FX && s.Against != "":
		wrong("currency and against belong to the mapping fx, and only to it")
	case (s.Mapping == None) != (s.Missing != "" && s.Reason != ""):
		wrong("missing and reason belong to the mapping none, and only to it")
	}
	codes := slices.Collect(maps.Keys(s.Factors))
	for _, c := range append(codes, s.Currency, s.Against) {
		if c != "" && !currency.MatchString(c) {
			wrong("%q is no currency", c)
		}
	}
	if s.Currency != "" && s.Currency == s.Against {
		wrong("a currency can't move against itself")
	}
	for c, symbol := range s.Factors {
		if symbol == "" {
			wrong("factors: %s has no symbol", c)
		}
	}
	return errors.Join(errs...)
}

// Shock returns the shock of a name.
func (l *Library) Shock(name string) (Shock, bool) {
	i := slices.IndexFunc(l.Shocks, func(s Shock) bool { return s.Name == name })
	if i < 0 {
		return Shock{}, false
	}
	return l.Shocks[i], true
}

// Symbols returns the securities that betas are estimated against, sorted.
func (l *Library) Symbols() []string {
	set := map[string]bool{}
	for _, s := range l.Shocks {
		for _, symbol := range s.Factors {
			set[symbol] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// Custom is the id of a scenario that is not one of the library's.
const Custom = "custom"

// Choose returns the scenario that a caller asks for: the library's of an id, with the caller's own
// shocks in place of its, or the caller's alone. Pointers of errors are "/scenario_id" and
// "/custom_shocks/<name>". A shock of size 0 is none.
func (l *Library) Choose(id string, own map[string]float64) (Scenario, error) {
	chosen := Scenario{ID: Custom, Name: "Custom shocks", Shocks: map[string]float64{}}
	if id != "" {
		i := slices.IndexFunc(l.Scenarios, func(s Scenario) bool { return s.ID == id })
		if i < 0 {
			ids := make([]string, len(l.Scenarios))
			for i, s := range l.Scenarios {
				ids[i] = s.ID
			}
			return Scenario{}, fault.InvalidField("/scenario_id", "there is no scenario %q; there are %s", id, strings.Join(ids, ", "))
		}
		chosen = Scenario{ID: id, Name: l.Scenarios[i].Name, Shocks: maps.Clone(l.Scenarios[i].Shocks)}
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		size := own[name]
		s, ok := l.Shock(name)
		pointer := "/custom_shocks/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		if !ok {
			names := make([]string, len(l.Shocks))
			for i, s := range l.Shocks {
				names[i] = s.Name
			}
			return Scenario{}, fault.InvalidField(pointer, "there is no such shock; there are %s", strings.Join(names, ", "))
		}
		if math.IsNaN(size) || size < s.Min || size > s.Max {
			return Scenario{}, fault.InvalidField(pointer, "%v is outside %v to %v", size, s.Min, s.Max)
		}
		chosen.Shocks[name] = size
	}
	maps.DeleteFunc(chosen.Shocks, func(_ string, size float64) bool { return size == 0 })
	if len(chosen.Shocks) == 0 {
		return Scenario{}, fault.InvalidField("/scenario_id", "give scenario_id, custom_shocks with a size other than 0, or both")
	}
	if id != "" && len(own) > 0 {
		chosen.Name += ", with custom shocks"
	}
	return chosen, nil
}

// Delever returns the scenario of the list deleveraging with an id.
func (l *Library) Delever(id string) (Scenario, bool) {
	i := slices.IndexFunc(l.Deleveraging, func(s Scenario) bool { return s.ID == id })
	if i < 0 {
		return Scenario{}, false
	}
	return l.Deleveraging[i], true
}
