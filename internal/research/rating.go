package research

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The ratings that are computed.
const (
	DividendSafety = "dividend_safety"
	MoatStrength   = "moat_strength"
	Resilience     = "resilience"
)

// Names returns the ratings' names, in the order of answers.
func Names() []string { return []string{DividendSafety, MoatStrength, Resilience} }

// MaxScore is the best score of a rating and of a component; 0 is the worst.
const MaxScore = 10

// Model says how figures become scores. LoadModel reads it.
type Model struct {
	Source string // names the file by its content: "config:ratings.yaml@0123456789ab"

	Ratings []Definition // one for each of Names, in that order
	Grades  []Grade      // of the overall score, best first
}

// Definition is how one rating is made.
type Definition struct {
	Name       string
	Weight     float64 // in the overall score
	Sources    []string
	Components []Component
}

// Grade is a range of the overall score that reaches up to the grade before.
type Grade struct {
	Grade   string  `yaml:"grade"`
	AtLeast float64 `yaml:"at_least"`
}

// Rule is how a figure passes a step's limit.
type Rule string

// The rules.
const (
	Above   Rule = "above"
	AtLeast Rule = "at_least"
	Below   Rule = "below"
)

// Component is one figure's part in a rating. See configs/analytics/ratings.yaml.
type Component struct {
	Name      string   `yaml:"name"`
	Metric    string   `yaml:"metric"`
	Per       string   `yaml:"per"`    // "": the figure stands for itself
	Weight    float64  `yaml:"weight"` // in the rating
	Judged    bool     `yaml:"judged"` // the figure is the score
	Rule      Rule     `yaml:"rule"`
	Steps     []Step   `yaml:"steps"` // best score first
	Otherwise float64  `yaml:"otherwise"`
	Floor     *float64 `yaml:"floor"`    // nil: none
	Positive  string   `yaml:"positive"` // a fundamental; "": none
	Why       string   `yaml:"why"`
}

// Step is a limit and the score of what passes it.
type Step struct {
	Limit float64 `yaml:"limit"`
	Score float64 `yaml:"score"`
}

// passes reports whether a figure passes the step's limit.
func (s Step) passes(rule Rule, v float64) bool {
	switch rule {
	case Above:
		return v > s.Limit
	case AtLeast:
		return v >= s.Limit
	default:
		return v < s.Limit
	}
}

// Metrics returns the metrics of fundamentals that scores are made of, sorted.
func (m Model) Metrics() []string {
	var names []string
	for _, d := range m.Ratings {
		for _, c := range d.Components {
			names = append(names, c.Metric)
			for _, other := range []string{c.Per, c.Positive} {
				if other != "" {
					names = append(names, other)
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Definition returns how a rating is made.
func (m Model) Definition(name string) (Definition, bool) {
	i := slices.IndexFunc(m.Ratings, func(d Definition) bool { return d.Name == name })
	if i < 0 {
		return Definition{}, false
	}
	return m.Ratings[i], true
}

// Figures are a company's figures by metric.
type Figures map[string]Fundamental

// Latest returns, of each metric, the figure that became known last; of two of the same day that of
// the provider whose name comes first.
func Latest(list []Fundamental) Figures {
	figures := make(Figures, len(list))
	for _, f := range list {
		best, ok := figures[f.Metric]
		if !ok || f.Date.After(best.Date) || (f.Date.Equal(best.Date) && f.Provider < best.Provider) {
			figures[f.Metric] = f
		}
	}
	return figures
}

// BySecurity returns the latest figures of each security, by its id.
func BySecurity(list []Fundamental) map[string]Figures {
	lists := map[string][]Fundamental{}
	for _, f := range list {
		lists[f.SecurityID] = append(lists[f.SecurityID], f)
	}
	figures := make(map[string]Figures, len(lists))
	for id, l := range lists {
		figures[id] = Latest(l)
	}
	return figures
}

// Score is a rating, with what it was made of.
type Score struct {
	Name string
	// Score is 0 to 10; nil when not a single component has its figure.
	Score *float64
	// Coverage is the share of the rating's weight whose figures are there, 0 to 1.
	Coverage   float64
	Components []ComponentScore
}

// ComponentScore is what one figure earned.
type ComponentScore struct {
	Component

	// Applied is the weight after those of missing components were spread over the others; 0 when this
	// one is missing.
	Applied float64
	Value   *float64 // the figure; nil when missing
	Score   *float64 // nil when missing
	Asof    time.Time
	Step    string // the step that it passed: "below 0.3"; "otherwise"; "judged"; "" when missing
	Note    string // what else is to say about it
	Missing string // the fundamental that is not there; "" when none is
	Reason  string // why it is missing
}

// Rate scores the figures of one company.
//
// A component's figure earns the score of the first step that it passes. The rating is the mean by
// weight; a missing component drops, and the others' weights are scaled up to 1.
func (d Definition) Rate(figures Figures) Score {
	s := Score{Name: d.Name, Components: make([]ComponentScore, len(d.Components))}
	var sum float64
	for i, c := range d.Components {
		s.Components[i] = c.score(figures)
		if got := s.Components[i].Score; got != nil {
			s.Coverage += c.Weight
			sum += c.Weight * *got
		}
	}
	if s.Coverage == 0 {
		return s
	}
	s.Score = new(rounded(sum / s.Coverage))
	for i := range s.Components {
		if s.Components[i].Score != nil {
			s.Components[i].Applied = rounded(s.Components[i].Weight / s.Coverage)
		}
	}
	s.Coverage = rounded(s.Coverage)
	return s
}

// rounded takes off what binary sums of decimal weights leave behind, so that a score that reaches a
// grade's bound has its grade.
func rounded(x float64) float64 { return math.Round(x*1e9) / 1e9 }

func (c Component) score(figures Figures) ComponentScore {
	s := ComponentScore{Component: c}
	missing := func(metric, format string, args ...any) ComponentScore {
		s.Missing, s.Reason = metric, fmt.Sprintf(format, args...)
		return s
	}
	f, ok := figures[c.Metric]
	if !ok {
		return missing(c.Metric, "no figure is stored")
	}
	value := f.Value
	s.Asof = f.Date
	if c.Per != "" {
		per, ok := figures[c.Per]
		switch {
		case !ok:
			return missing(c.Per, "no figure is stored, %s is measured by it", c.Metric)
		case per.Value <= 0:
			return missing(c.Per, "it is %s, %s can't be measured by it", number(per.Value), c.Metric)
		}
		value /= per.Value
		if math.IsInf(value, 0) {
			return missing(c.Per, "it is too small to measure %s by", c.Metric)
		}
		if per.Date.Before(s.Asof) {
			s.Asof = per.Date // as old as its oldest part
		}
	}
	if c.Judged && !within(value, 0, MaxScore) {
		return missing(c.Metric, "it is %s, a judgement is from 0 to 10", number(value))
	}
	s.Value = &value
	switch {
	case c.Judged:
		s.Score, s.Step = &value, "judged"
		return s
	case c.Floor != nil && value < *c.Floor:
		s.Note = fmt.Sprintf("it is below %s, where it says nothing good", number(*c.Floor))
	default:
		if other, ok := figures[c.Positive]; ok && c.Positive != "" && other.Value <= 0 {
			s.Note = fmt.Sprintf("%s is %s, so that the figure says nothing good", c.Positive, number(other.Value))
			break
		}
		for _, step := range c.Steps {
			if step.passes(c.Rule, value) {
				s.Score = new(step.Score)
				s.Step = strings.ReplaceAll(string(c.Rule), "_", " ") + " " + number(step.Limit)
				return s
			}
		}
	}
	s.Score, s.Step = new(c.Otherwise), "otherwise"
	return s
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// Overall is the ratings of one company together.
type Overall struct {
	Ratings []Score // one for each of Names, in that order
	// Score is 0 to 100: ten times the mean of the ratings by weight. A rating without a score drops, as
	// components do. It is nil when there is none.
	Score    *float64
	Grade    string  // "" without a score
	Coverage float64 // share of all weight whose figures are there, 0 to 1
}

// Rate computes all ratings of one company.
func (m Model) Rate(figures Figures) Overall {
	o := Overall{Ratings: make([]Score, len(m.Ratings))}
	var sum, weight float64
	for i, d := range m.Ratings {
		r := d.Rate(figures)
		o.Ratings[i] = r
		o.Coverage += d.Weight * r.Coverage
		if r.Score != nil {
			weight += d.Weight
			sum += d.Weight * *r.Score
		}
	}
	o.Coverage = rounded(o.Coverage)
	if weight > 0 {
		o.Score = new(rounded(10 * sum / weight))
		o.Grade = m.grade(*o.Score)
	}
	return o
}

// grade returns the grade of an overall score.
func (m Model) grade(score float64) string {
	for _, g := range m.Grades {
		if score >= g.AtLeast {
			return g.Grade
		}
	}
	return ""
}

// Holding is a position to be rated.
type Holding struct {
	Symbol     string
	SecurityID string
	Weight     *float64 // of the portfolio's net asset value; nil when the position is unpriced
}

// RatedHolding is a position with its ratings.
type RatedHolding struct {
	Holding
	Overall

	Excluded string // why it does not count in the portfolio's scores; "" when it does
}

// RatedPortfolio is a portfolio's ratings.
type RatedPortfolio struct {
	Holdings []RatedHolding // in the order given
	// Ratings are the means of the holdings' scores, by Names, each over the holdings that have it,
	// weighted by value. Nil where no holding has it.
	Ratings []*float64
	Score   *float64 // 0 to 100: the same mean of the overall scores
	Grade   string
	// RatedWeight is the weight of the holdings that count in Score, as a share of the portfolio's net
	// asset value.
	RatedWeight float64
}

// Aggregate rates each holding, and the portfolio by the mean of its holdings' scores, weighted by
// value. Holdings that are short or unpriced are rated but don't count: a good company sold short is
// no quality of the portfolio.
func (m Model) Aggregate(holdings []Holding, figures map[string]Figures) RatedPortfolio {
	p := RatedPortfolio{Holdings: make([]RatedHolding, len(holdings)), Ratings: make([]*float64, len(m.Ratings))}
	sums, weights := make([]float64, len(m.Ratings)+1), make([]float64, len(m.Ratings)+1)
	add := func(i int, score *float64, weight float64) {
		if score != nil {
			sums[i] += *score * weight
			weights[i] += weight
		}
	}
	for i, h := range holdings {
		r := RatedHolding{Holding: h, Overall: m.Rate(figures[h.SecurityID])}
		switch {
		case r.Score == nil:
			r.Excluded = "it has no score"
		case h.Weight == nil:
			r.Excluded = "it has no weight"
		case *h.Weight <= 0:
			r.Excluded = "it is not held long"
		default:
			for n, s := range r.Ratings {
				add(n, s.Score, *h.Weight)
			}
			add(len(m.Ratings), r.Score, *h.Weight)
		}
		p.Holdings[i] = r
	}
	mean := func(i int) *float64 {
		if weights[i] == 0 {
			return nil
		}
		return new(rounded(sums[i] / weights[i]))
	}
	for i := range m.Ratings {
		p.Ratings[i] = mean(i)
	}
	if p.Score = mean(len(m.Ratings)); p.Score != nil {
		p.Grade = m.grade(*p.Score)
	}
	p.RatedWeight = rounded(weights[len(m.Ratings)])
	return p
}
