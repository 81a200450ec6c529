package macro

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// Rule says which z-scores of an input speak for a state.
type Rule struct {
	Input string
	// Above and Below bound the range in which the input speaks for the state in full. Nil: no bound.
	Above, Below *float64
	Weight       float64 // > 0
}

// Fit returns how well a z-score fits: 1 within the range, halved with each standard deviation outside.
func (r Rule) Fit(z float64) float64 {
	distance := 0.0
	switch {
	case r.Above != nil && z < *r.Above:
		distance = *r.Above - z
	case r.Below != nil && z > *r.Below:
		distance = z - *r.Below
	}
	return math.Exp2(-distance)
}

// State is one of a model's outcomes.
type State struct {
	Name  string
	Label string // for people
	// Contraction says that the state claims that the economy shrinks, what judging by the dates of
	// recessions goes by.
	Contraction bool
	Rules       []Rule // one an input that is scored, in the inputs' order
}

// Model tells states by z-scores of inputs.
type Model struct {
	Inputs []Input
	States []State
	// MinInputs is how many scored inputs must be there for a state to be told.
	MinInputs int
	// Required inputs must be there for a state to be told, besides any others.
	Required []string
}

// Scored reports whether the states' rules look at an input; others are measured and shown beside.
func (m Model) Scored(input string) bool {
	return len(m.States) > 0 && slices.ContainsFunc(m.States[0].Rules, func(r Rule) bool { return r.Input == input })
}

// SeriesNames returns the names of all series that the model may look at, sorted.
func (m Model) SeriesNames() []string {
	var names []string
	for _, in := range m.Inputs {
		for _, c := range in.Candidates {
			names = append(names, c.Series...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Detector tells a model's states on any day from one panel.
type Detector struct {
	model  Model
	gauges []gauge
}

// NewDetector prepares a model over the series that were read.
func NewDetector(m Model, panel Panel, s Settings) (*Detector, error) {
	d := &Detector{model: m}
	for _, in := range m.Inputs {
		g, err := newGauge(in, panel, s)
		if err != nil {
			return nil, err
		}
		d.gauges = append(d.gauges, g)
	}
	return d, nil
}

// Gap is an input that could not be measured.
type Gap struct {
	Input string
	Err   error // portfolio.Shortages
}

// Reading is what a model says of one day.
type Reading struct {
	Asof time.Time
	// State is the likeliest; nil when none can be told, for which Err has the reason.
	State *State
	// Probabilities of the model's states, in their order; they sum to 1. Nil without State.
	Probabilities []float64
	Inputs        []Measured // those that could be measured, in the model's order
	Gaps          []Gap      // the others
	Err           error      // portfolio.Shortages
}

// Confidence is the probability of the state that was told; 0 when none was.
func (r Reading) Confidence() float64 {
	if len(r.Probabilities) == 0 {
		return 0
	}
	return slices.Max(r.Probabilities)
}

// At reads the model with what was known on a day.
//
// A state's score is the mean of its rules' fits, weighted, over the inputs that are there; scores are
// divided by their sum to become probabilities. Of states with the same probability the first counts.
func (d *Detector) At(asof time.Time) Reading {
	r := Reading{Asof: asof}
	z := map[string]float64{}
	scored := 0
	for _, g := range d.gauges {
		m, err := g.at(asof)
		if err != nil {
			r.Gaps = append(r.Gaps, Gap{g.Name, err})
			continue
		}
		r.Inputs = append(r.Inputs, m)
		z[g.Name] = m.Z
		if d.model.Scored(g.Name) {
			scored++
		}
	}
	if r.Err = d.enough(r.Gaps, scored); r.Err != nil {
		return r
	}
	sum := 0.0
	for _, s := range d.model.States {
		score, weights := 0.0, 0.0
		for _, rule := range s.Rules {
			if v, measured := z[rule.Input]; measured {
				score += rule.Weight * rule.Fit(v)
				weights += rule.Weight
			}
		}
		r.Probabilities = append(r.Probabilities, score/weights)
		sum += score / weights
	}
	best := 0
	for i := range r.Probabilities {
		r.Probabilities[i] /= sum
		if r.Probabilities[i] > r.Probabilities[best] {
			best = i
		}
	}
	r.State = &d.model.States[best]
	return r
}

// enough says which inputs a state can't be told without.
func (d *Detector) enough(gaps []Gap, scored int) error {
	var lacking portfolio.Shortages
	for _, g := range gaps {
		if slices.Contains(d.model.Required, g.Input) {
			lacking = append(lacking, shortages(g.Err)...)
		}
	}
	if scored < d.model.MinInputs {
		var missing []string
		for _, g := range gaps {
			if !d.model.Scored(g.Input) {
				continue
			}
			for _, s := range shortages(g.Err) {
				missing = append(missing, s.Missing)
			}
		}
		lacking = append(lacking, portfolio.Shortage{
			Missing: strings.Join(missing, ", "),
			Reason:  fmt.Sprintf("%d of the inputs can be measured, %d are needed", scored, d.model.MinInputs),
		})
	}
	if len(lacking) == 0 {
		return nil
	}
	return lacking
}

func shortages(err error) portfolio.Shortages {
	s, _ := err.(portfolio.Shortages) //nolint:errorlint // gauges return it bare
	return s
}
