package macro

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"time"

	"github.com/dawsos/dawsos/internal/tables"
)

// Config is what the economy is judged by. Its files' heads describe every key.
type Config struct {
	Settings  Settings
	Regimes   Model
	ShortTerm Model
	// HistoryYears is how far back the short-term cycle's past is told.
	HistoryYears int
	LongTerm     Model
	// Empire lists what the cycle of empires would be judged by, of which there is no data.
	Empire []Unavailable
	// Sources name the files by a hash of their content: "config:regimes.yaml@0123456789ab".
	RegimesSource, CyclesSource, MacroSource string
}

// Settings is how series are measured.
type Settings struct {
	Publication Publication
	// MaxAge is how long ago the newest value may have become known, in days, for its series to be
	// used.
	MaxAge map[Frequency]int
	Z      struct {
		Years    int // length of the window
		MinYears int // how much of it must hold values
	}
	TrendShifts struct {
		MinConfidence float64 // of a regime that a shift leads to
		MinStdErrors  float64 // that a beta must move
	}
	CreditGap struct {
		Lambda   float64 // of the filter, for quarters
		MinYears int     // of quarters before the first gap
	}
}

// Publication says when values are known.
type Publication struct {
	ByFrequency map[Frequency]int // days from the end of the period, of series not listed
	BySeries    map[string]Release
}

// Release says when the values of one series are known.
type Release struct {
	Days      int       // from the end of the period
	NotBefore time.Time // values dated earlier are placeholders; zero when there are none
}

func (p Publication) lag(series string, f Frequency) (days int, notBefore time.Time) {
	if r, listed := p.BySeries[series]; listed {
		return r.Days, r.NotBefore
	}
	return p.ByFrequency[f], time.Time{}
}

// KnownOn returns the first day on which the value of a period was known.
func (p Publication) KnownOn(info Info, periodEnd time.Time) time.Time {
	days, _ := p.lag(info.Name, info.Frequency)
	return periodEnd.AddDate(0, 0, days)
}

// Unavailable is an input without data, and why there is none.
type Unavailable struct {
	Missing string `yaml:"missing"`
	Reason  string `yaml:"reason"`
}

// The files that a folder of settings holds.
const (
	regimesFile = "regimes.yaml"
	cyclesFile  = "cycles.yaml"
	macroFile   = "macro.yaml"
)

// LoadConfig reads regimes.yaml, cycles.yaml and macro.yaml in a folder. Unknown keys, repeated keys and
// values out of bounds are errors, which are all named.
func LoadConfig(dir string) (Config, error) {
	var f filesYAML
	var sources [3]string
	for i, into := range f.all() {
		var err error
		if sources[i], err = tables.Read(dir, into.name, into.dst); err != nil {
			return Config{}, err
		}
	}
	cfg, err := f.config()
	cfg.RegimesSource, cfg.CyclesSource, cfg.MacroSource = sources[0], sources[1], sources[2]
	return cfg, err
}

// ParseConfig reads the content of regimes.yaml, cycles.yaml and macro.yaml, without a name of it in the
// sources.
func ParseConfig(regimes, cycles, macro []byte) (Config, error) {
	var f filesYAML
	data := [3][]byte{regimes, cycles, macro}
	for i, into := range f.all() {
		if err := tables.Parse(data[i], into.dst); err != nil {
			return Config{}, fmt.Errorf("%s: %w", into.name, err)
		}
	}
	return f.config()
}

// filesYAML is what the three files hold.
type filesYAML struct {
	regimes modelYAML
	cycles  cyclesYAML
	macro   macroYAML
}

type fileYAML struct {
	name string
	dst  any
}

func (f *filesYAML) all() [3]fileYAML {
	return [3]fileYAML{{regimesFile, &f.regimes}, {cyclesFile, &f.cycles}, {macroFile, &f.macro}}
}

// config checks what was read.
func (f *filesYAML) config() (Config, error) {
	var (
		ps  tables.Problems
		cfg Config
		c   = f.cycles
	)
	cfg.Regimes = f.regimes.model(&ps, regimesFile+": ")
	cfg.ShortTerm = c.ShortTerm.model(&ps, cyclesFile+": short_term.")
	cfg.LongTerm = c.LongTerm.model(&ps, cyclesFile+": long_term.")
	cfg.HistoryYears = tables.Within(&ps, cyclesFile+": history_years", c.HistoryYears, 1, 50)
	cfg.Settings.CreditGap.Lambda = tables.Within(&ps, cyclesFile+": credit_gap.lambda", c.CreditGap.Lambda, 1, 1e7)
	cfg.Settings.CreditGap.MinYears = tables.Within(&ps, cyclesFile+": credit_gap.min_years", c.CreditGap.MinYears, 1, 50)
	cfg.Empire = c.Empire.Unavailable
	ps.Cited(cyclesFile+": empire.sources", c.Empire.Sources...)
	if n := len(cfg.Empire); n == 0 || n > maxInputs {
		ps.Add(cyclesFile+": empire.unavailable", "name 1 to %d inputs", maxInputs)
	}
	for i, u := range cfg.Empire {
		if u.Missing == "" || u.Reason == "" {
			ps.Add(fmt.Sprintf("%s: empire.unavailable[%d]", cyclesFile, i), "missing and reason are required")
		}
	}
	f.macro.settings(&ps, &cfg.Settings)
	return cfg, ps.Err()
}

// The files as written.
type cyclesYAML struct {
	HistoryYears int       `yaml:"history_years"`
	ShortTerm    modelYAML `yaml:"short_term"`
	LongTerm     modelYAML `yaml:"long_term"`
	CreditGap    struct {
		Lambda   float64 `yaml:"lambda"`
		MinYears int     `yaml:"min_years"`
	} `yaml:"credit_gap"`
	Empire struct {
		Sources     []string      `yaml:"sources"`
		Unavailable []Unavailable `yaml:"unavailable"`
	} `yaml:"empire"`
}

type modelYAML struct {
	Sources   []string    `yaml:"sources"`
	MinInputs int         `yaml:"min_inputs"`
	Required  []string    `yaml:"required"`
	Inputs    []inputYAML `yaml:"inputs"`
	States    []stateYAML `yaml:"states"`
}

type inputYAML struct {
	Name       string          `yaml:"name"`
	Transform  string          `yaml:"transform"`
	Candidates []candidateYAML `yaml:"candidates"`
}

type candidateYAML struct {
	Series     string   `yaml:"series"`
	Difference []string `yaml:"difference"`
	Ratio      []string `yaml:"ratio"`
	Proxy      string   `yaml:"proxy"`
}

type stateYAML struct {
	Name        string              `yaml:"name"`
	Label       string              `yaml:"label"`
	Contraction bool                `yaml:"contraction"`
	Rules       map[string]ruleYAML `yaml:"rules"`
}

type ruleYAML struct {
	Above  *float64 `yaml:"above"`
	Below  *float64 `yaml:"below"`
	Weight float64  `yaml:"weight"`
}

type macroYAML struct {
	Publication struct {
		ByFrequency map[Frequency]int      `yaml:"by_frequency"`
		BySeries    map[string]releaseYAML `yaml:"by_series"`
	} `yaml:"publication"`
	MaxAge map[Frequency]int `yaml:"max_age"`
	Z      struct {
		Years    int `yaml:"years"`
		MinYears int `yaml:"min_years"`
	} `yaml:"z"`
	TrendShifts struct {
		MinConfidence float64 `yaml:"min_confidence"`
		MinStdErrors  float64 `yaml:"min_std_errors"`
	} `yaml:"trend_shifts"`
}

type releaseYAML struct {
	Days      *int   `yaml:"days"`
	Source    string `yaml:"source"`
	NotBefore string `yaml:"not_before"`
}

const (
	maxInputs     = 32
	maxStates     = 16
	maxCandidates = 10
	maxSeries     = 10_000
	maxName       = 100
	maxLag        = 3 * 366
)

var stateName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// model checks a model whose keys begin with a prefix.
func (y modelYAML) model(ps *tables.Problems, prefix string) Model {
	ps.Cited(prefix+"sources", y.Sources...)
	var m Model
	names := map[string]bool{}
	if n := len(y.Inputs); n == 0 || n > maxInputs {
		ps.Add(prefix+"inputs", "name 1 to %d", maxInputs)
	}
	for i, in := range y.Inputs {
		at := fmt.Sprintf("%sinputs[%d]", prefix, i)
		if !stateName.MatchString(in.Name) || names[in.Name] {
			ps.Add(at+".name", "%q is not allowed; use a name of its own, such as unemployment_change", in.Name)
		}
		names[in.Name] = true
		t, err := ParseTransform(in.Transform)
		if err != nil {
			ps.Add(at+".transform", "%w", err)
		}
		if n := len(in.Candidates); n == 0 || n > maxCandidates {
			ps.Add(at+".candidates", "name 1 to %d", maxCandidates)
		}
		input := Input{Name: in.Name, Transform: t}
		for k, c := range in.Candidates {
			input.Candidates = append(input.Candidates, c.candidate(ps, fmt.Sprintf("%s.candidates[%d]", at, k)))
		}
		m.Inputs = append(m.Inputs, input)
	}
	m.States = y.states(ps, prefix)
	scored := 0
	for _, in := range m.Inputs {
		if m.Scored(in.Name) {
			scored++
		}
	}
	m.MinInputs = tables.Within(ps, prefix+"min_inputs", y.MinInputs, 1, max(scored, 1))
	for _, name := range y.Required {
		if !names[name] {
			ps.Add(prefix+"required", "there is no input %q", name)
		}
	}
	m.Required = y.Required
	return m
}

// states checks that all states' rules are about the same inputs: a state without a rule for what the
// others are scored by would have another scale than they.
func (y modelYAML) states(ps *tables.Problems, prefix string) []State {
	if n := len(y.States); n < 2 || n > maxStates {
		ps.Add(prefix+"states", "name 2 to %d", maxStates)
		return nil
	}
	var states []State
	names, scored := map[string]bool{}, slices.Sorted(maps.Keys(y.States[0].Rules))
	if len(scored) == 0 {
		ps.Add(prefix+"states[0].rules", "are required")
	}
	for i, s := range y.States {
		at := fmt.Sprintf("%sstates[%d]", prefix, i)
		if !stateName.MatchString(s.Name) || names[s.Name] {
			ps.Add(at+".name", "%q is not allowed; use a name of its own, such as early_expansion", s.Name)
		}
		names[s.Name] = true
		if s.Label == "" || len(s.Label) > maxName {
			ps.Add(at+".label", "use 1 to %d bytes", maxName)
		}
		if !slices.Equal(slices.Sorted(maps.Keys(s.Rules)), scored) {
			ps.Add(at+".rules", "must be about the same inputs as those of the first state, %v", scored)
		}
		state := State{Name: s.Name, Label: s.Label, Contraction: s.Contraction}
		for _, in := range y.Inputs {
			if r, ok := s.Rules[in.Name]; ok {
				state.Rules = append(state.Rules, r.rule(ps, at+".rules."+in.Name, in.Name))
			}
		}
		if len(state.Rules) != len(s.Rules) {
			ps.Add(at+".rules", "name an input that there is not")
		}
		states = append(states, state)
	}
	return states
}

const maxBound = 100 // standard deviations

func (y ruleYAML) rule(ps *tables.Problems, key, input string) Rule {
	for name, bound := range map[string]*float64{"above": y.Above, "below": y.Below} {
		if bound != nil && !(math.Abs(*bound) <= maxBound) {
			ps.Add(key+"."+name, "%v is not allowed; use -%d to %d", *bound, maxBound, maxBound)
		}
	}
	switch {
	case y.Above == nil && y.Below == nil:
		ps.Add(key, "above or below is required")
	case y.Above != nil && y.Below != nil && *y.Above >= *y.Below:
		ps.Add(key, "above %v leaves nothing below %v", *y.Above, *y.Below)
	}
	return Rule{Input: input, Above: y.Above, Below: y.Below, Weight: tables.Within(ps, key+".weight", y.Weight, 0.01, 100)}
}

func (y candidateYAML) candidate(ps *tables.Problems, key string) Candidate {
	c := Candidate{Proxy: y.Proxy}
	given := 0
	if y.Series != "" {
		given, c.Series = given+1, []string{y.Series}
	}
	if y.Difference != nil {
		given, c.Operation, c.Series = given+1, Difference, y.Difference
	}
	if y.Ratio != nil {
		given, c.Operation, c.Series = given+1, Ratio, y.Ratio
	}
	switch {
	case given != 1:
		ps.Add(key, "give one of series, difference and ratio")
	case c.Operation != Alone && len(c.Series) != 2:
		ps.Add(key, "two series are needed")
	}
	for _, name := range c.Series {
		if name == "" || len(name) > maxName {
			ps.Add(key, "a series' name has 1 to %d bytes", maxName)
		}
	}
	return c
}

func (y macroYAML) settings(ps *tables.Problems, s *Settings) {
	key := macroFile + ": "
	s.Publication.ByFrequency = byFrequency(ps, key+"publication.by_frequency", y.Publication.ByFrequency)
	s.MaxAge = byFrequency(ps, key+"max_age", y.MaxAge)
	if len(y.Publication.BySeries) > maxSeries {
		ps.Add(key+"publication.by_series", "name at most %d", maxSeries)
	}
	s.Publication.BySeries = map[string]Release{}
	for _, name := range slices.Sorted(maps.Keys(y.Publication.BySeries)) {
		r, at := y.Publication.BySeries[name], key+"publication.by_series."+name
		if r.Days == nil {
			ps.Add(at+".days", "is required")
			continue
		}
		release := Release{Days: tables.Within(ps, at+".days", *r.Days, 0, maxLag)}
		if r.Source == "" {
			ps.Add(at+".source", "is required: who publishes it, and when")
		}
		if r.NotBefore != "" {
			var err error
			if release.NotBefore, err = time.Parse(time.DateOnly, r.NotBefore); err != nil {
				ps.Add(at+".not_before", "%q is not a date such as 1959-06-30", r.NotBefore)
			}
		}
		s.Publication.BySeries[name] = release
	}
	s.Z.Years = tables.Within(ps, key+"z.years", y.Z.Years, 1, 50)
	s.Z.MinYears = tables.Within(ps, key+"z.min_years", y.Z.MinYears, 1, max(s.Z.Years, 1))
	s.TrendShifts.MinConfidence = tables.Within(ps, key+"trend_shifts.min_confidence", y.TrendShifts.MinConfidence, 0.01, 1)
	s.TrendShifts.MinStdErrors = tables.Within(ps, key+"trend_shifts.min_std_errors", y.TrendShifts.MinStdErrors, 0.01, 100)
}

func byFrequency(ps *tables.Problems, key string, given map[Frequency]int) map[Frequency]int {
	for _, f := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(frequencies, f) {
			ps.Add(key, "%q is not a frequency; use %v", f, frequencies)
		}
	}
	days := map[Frequency]int{}
	for _, f := range frequencies {
		d, there := given[f]
		if !there {
			ps.Add(key+"."+string(f), "is required")
			continue
		}
		days[f] = tables.Within(ps, key+"."+string(f), d, 0, maxLag)
	}
	return days
}
