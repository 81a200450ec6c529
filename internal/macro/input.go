package macro

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gonum.org/v1/gonum/stat"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// Operation combines the series of a candidate.
type Operation string

// The operations.
const (
	Alone      Operation = ""    // one series as it is
	Difference Operation = " - " // the first less the second, on days that both have
	Ratio      Operation = " / " // the first over the second, on days that both have
)

// Candidate is one way to obtain an input.
type Candidate struct {
	Operation Operation
	Series    []string // one for Alone, else two
	// Proxy says what the candidate stands in for; "" when it is the quantity itself.
	Proxy string
}

// String names the candidate: "T10Y2Y", "US_TCM_10Y - US_TCM_1Y".
func (c Candidate) String() string { return strings.Join(c.Series, string(c.Operation)) }

// Transform is what is measured of a candidate's values.
type Transform struct {
	kind   string // level, growth, change or credit_gap
	months int    // of growth and change
}

var transformName = regexp.MustCompile(`^(growth|change)_([1-9][0-9]{0,2})m$`)

// ParseTransform reads a transform's name:
//
//   - level: the value.
//   - growth_<n>m: (value / value n months before)^(12/n) - 1, a fraction a year; growth_12m is year on
//     year.
//   - change_<n>m: value less the value n months before, in the value's unit.
//   - credit_gap: the one-sided gap of OneSidedGap, in the value's unit.
func ParseTransform(name string) (Transform, error) {
	if name == "level" || name == "credit_gap" {
		return Transform{kind: name}, nil
	}
	m := transformName.FindStringSubmatch(name)
	if m == nil {
		return Transform{}, fmt.Errorf("%q is not allowed; use level, growth_12m, change_12m (or other months) or credit_gap", name)
	}
	months, err := strconv.Atoi(m[2])
	if err != nil || months > maxTransformMonths {
		return Transform{}, fmt.Errorf("%q is not allowed; use at most %d months", name, maxTransformMonths)
	}
	return Transform{kind: m[1], months: months}, nil
}

const maxTransformMonths = 120

// String is the name that ParseTransform reads.
func (t Transform) String() string {
	if t.months == 0 {
		return t.kind
	}
	return t.kind + "_" + strconv.Itoa(t.months) + "m"
}

// Input is one measured quantity of a model.
type Input struct {
	Name       string
	Transform  Transform
	Candidates []Candidate // in order of preference
}

// Measured is an input at one day.
type Measured struct {
	Observation

	Input     string
	Candidate Candidate
	Transform Transform
	// Z is the distance of the value from the mean of the values of the window that ends with it, in
	// their sample standard deviations.
	Z float64
}

// candidateValues is one candidate's transformed history.
type candidateValues struct {
	Candidate

	frequency Frequency
	missing   []string // series without observations
	values    []Observation
}

// gauge measures one input at any day.
type gauge struct {
	Input

	settings   Settings
	candidates []candidateValues
}

func newGauge(in Input, panel Panel, s Settings) (gauge, error) {
	g := gauge{Input: in, settings: s}
	for _, c := range in.Candidates {
		v := candidateValues{Candidate: c}
		for _, name := range c.Series {
			if len(panel[name].Points) == 0 {
				v.missing = append(v.missing, name)
			}
		}
		if len(v.missing) == 0 {
			raw := s.combine(c, panel)
			v.frequency = panel[c.Series[0]].Frequency
			if len(c.Series) == 2 {
				v.frequency = coarser(v.frequency, panel[c.Series[1]].Frequency)
			}
			var err error
			if v.values, err = s.transform(raw, in.Transform, v.frequency); err != nil {
				return gauge{}, fmt.Errorf("%s of %s: %w", in.Transform, c, err)
			}
		}
		g.candidates = append(g.candidates, v)
	}
	return g, nil
}

// observations returns a series with the days from which its values were known.
func (s Settings) observations(o Observed) []Observation {
	p := s.Publication
	lag, notBefore := p.lag(o.Name, o.Frequency)
	all := make([]Observation, 0, len(o.Points))
	for _, point := range o.Points {
		if !point.Date.Before(notBefore) {
			all = append(all, Observation{Date: point.Date, KnownOn: point.Date.AddDate(0, 0, lag), Value: point.Value})
		}
	}
	return all
}

// combine returns the candidate's own values. Two series meet on the days that both have.
func (s Settings) combine(c Candidate, panel Panel) []Observation {
	first := s.observations(panel[c.Series[0]])
	if c.Operation == Alone {
		return first
	}
	second := s.observations(panel[c.Series[1]])
	var all []Observation
	for i, j := 0, 0; i < len(first) && j < len(second); {
		a, b := first[i], second[j]
		switch {
		case a.Date.Before(b.Date):
			i++
			continue
		case b.Date.Before(a.Date):
			j++
			continue
		}
		i, j = i+1, j+1
		if b.KnownOn.After(a.KnownOn) {
			a.KnownOn = b.KnownOn
		}
		if c.Operation == Difference {
			a.Value -= b.Value
		} else {
			a.Value /= b.Value
		}
		if finite(a.Value) {
			all = append(all, a)
		}
	}
	return all
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// transform measures each observation by itself and earlier ones only. Those that can't be (no earlier
// one to compare with) are left out.
func (s Settings) transform(raw []Observation, t Transform, f Frequency) ([]Observation, error) {
	switch t.kind {
	case "level":
		return raw, nil
	case "credit_gap":
		return s.creditGaps(raw, f)
	}
	var all []Observation
	for i, o := range raw {
		k := near(raw, i, monthsBefore(o.Date, t.months), f.slack())
		if k < 0 {
			continue
		}
		base := raw[k].Value
		if t.kind == "change" {
			o.Value -= base
		} else {
			if base <= 0 || o.Value <= 0 {
				continue
			}
			o.Value = math.Pow(o.Value/base, 12/float64(t.months)) - 1
		}
		if finite(o.Value) {
			all = append(all, o)
		}
	}
	return all, nil
}

// creditGaps returns the gap of each quarter that has enough quarters before it. The filter's parameter
// is for quarters: a series of another frequency has no gaps.
func (s Settings) creditGaps(raw []Observation, f Frequency) ([]Observation, error) {
	if f != Quarterly {
		return nil, nil
	}
	values := make([]float64, len(raw))
	for i, o := range raw {
		values[i] = o.Value
	}
	var all []Observation
	for i, o := range raw {
		if i < s.CreditGap.MinYears*Quarterly.perYear() {
			continue
		}
		gap, err := OneSidedGap(values[:i+1], s.CreditGap.Lambda)
		if err != nil {
			return nil, err
		}
		o.Value = gap
		all = append(all, o)
	}
	return all, nil
}

// at measures the input with what was known on a day, from the first candidate that can.
func (g gauge) at(asof time.Time) (Measured, error) {
	reasons := make([]string, len(g.candidates))
	for i, c := range g.candidates {
		m, reason := g.settings.measure(c, asof)
		if reason == "" {
			m.Input, m.Transform = g.Name, g.Transform
			return m, nil
		}
		reasons[i] = reason
	}
	missing := make([]string, len(g.Candidates[0].Series))
	for i, name := range g.Candidates[0].Series {
		missing[i] = "macro:" + name
	}
	return Measured{}, portfolio.Shortages{{
		Missing: strings.Join(missing, ", "), Reason: g.Name + ": " + strings.Join(reasons, "; "),
	}}
}

// measure returns the newest value known, or why it can't be used.
func (s Settings) measure(c candidateValues, asof time.Time) (Measured, string) {
	if len(c.missing) > 0 {
		return Measured{}, strings.Join(c.missing, " and ") + " is not in the data"
	}
	n := known(c.values, asof)
	if n == 0 {
		return Measured{}, fmt.Sprintf("%s has no value known on %s", c, asof.Format(time.DateOnly))
	}
	newest := c.values[n-1]
	if newest.KnownOn.Before(asof.AddDate(0, 0, -s.MaxAge[c.frequency])) {
		return Measured{}, fmt.Sprintf("%s ends on %s, too old on %s",
			c, newest.Date.Format(time.DateOnly), asof.Format(time.DateOnly))
	}
	z, err := s.standardize(c.values[:n], c.frequency)
	if err != "" {
		return Measured{}, c.String() + " " + err
	}
	return Measured{Observation: newest, Candidate: c.Candidate, Z: z}, ""
}

// standardize returns the z-score of the last value within the window that ends with it, or why there
// is none.
func (s Settings) standardize(values []Observation, f Frequency) (z float64, reason string) {
	last := values[len(values)-1]
	start := monthsBefore(last.Date, 12*s.Z.Years)
	if f != Daily && f != Weekly {
		// Periods may be dated by their last trading day, which differs from year to year.
		start = time.Date(start.Year(), start.Month()+1, 0, 0, 0, 0, 0, time.UTC)
	}
	var window []float64
	for i := len(values) - 1; i >= 0 && values[i].Date.After(start); i-- {
		window = append(window, values[i].Value)
	}
	if need := s.Z.MinYears * f.perYear(); len(window) < need {
		return 0, fmt.Sprintf("has %d values in the %d years up to %s, a z-score needs %d",
			len(window), s.Z.Years, last.Date.Format(time.DateOnly), need)
	}
	mean, deviation := stat.MeanStdDev(window, nil)
	if deviation == 0 || !finite(deviation) || !finite(mean) {
		return 0, fmt.Sprintf("did not vary in the %d years up to %s", s.Z.Years, last.Date.Format(time.DateOnly))
	}
	return (last.Value - mean) / deviation, ""
}
