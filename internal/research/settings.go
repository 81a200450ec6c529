package research

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/dawsos/dawsos/internal/tables"
)

// The names of the tables' files.
const (
	RatingsFile = "ratings.yaml"
	NewsFile    = "news.yaml"
)

// within reports whether v is a number from low to high; NaN is not.
func within(v, low, high float64) bool { return v >= low && v <= high }

type modelFile struct {
	Overall struct {
		Weights map[string]float64 `yaml:"weights"`
		Grades  []Grade            `yaml:"grades"`
	} `yaml:"overall"`
	Ratings map[string]struct {
		Sources    []string    `yaml:"sources"`
		Components []Component `yaml:"components"`
	} `yaml:"ratings"`
}

// LoadModel reads ratings.yaml in a folder. The error names everything that is wrong with it.
func LoadModel(dir string) (Model, error) {
	var f modelFile
	source, err := tables.Read(dir, RatingsFile, &f)
	if err != nil {
		return Model{}, err
	}
	m, err := f.model()
	m.Source = source
	return m, err
}

// weightsTolerance is how far from 1 weights may sum, for want of binary tenths.
const weightsTolerance = 1e-9

func (f modelFile) model() (Model, error) {
	var ps tables.Problems
	var m Model
	for _, name := range slices.Sorted(maps.Keys(f.Ratings)) {
		if !slices.Contains(Names(), name) {
			ps.Add("ratings."+name, "there is no such rating; there are %v", Names())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Overall.Weights)) {
		if !slices.Contains(Names(), name) {
			ps.Add("overall.weights."+name, "there is no such rating; there are %v", Names())
		}
	}
	var sum float64
	for _, name := range Names() {
		key := "ratings." + name
		given, ok := f.Ratings[name]
		if !ok {
			ps.Add(key, "is missing")
		}
		weight := f.Overall.Weights[name]
		if !within(weight, 1e-6, 1) {
			ps.Add("overall.weights."+name, "must be above 0 and up to 1")
		}
		sum += weight
		ps.Cited(key+".sources", given.Sources...)
		checkComponents(&ps, key+".components", given.Components)
		m.Ratings = append(m.Ratings, Definition{Name: name, Weight: weight, Sources: given.Sources, Components: given.Components})
	}
	if math.Abs(sum-1) > weightsTolerance {
		ps.Add("overall.weights", "sum to %.9g, they must sum to 1", sum)
	}
	m.Grades = f.Overall.Grades
	checkGrades(&ps, m.Grades)
	return m, ps.In(RatingsFile)
}

func checkGrades(ps *tables.Problems, grades []Grade) {
	const key = "overall.grades"
	if len(grades) == 0 {
		ps.Add(key, "is missing")
		return
	}
	for i, g := range grades {
		at := fmt.Sprintf("%s[%d]", key, i)
		if g.Grade == "" {
			ps.Add(at+".grade", "is missing")
		}
		if !within(g.AtLeast, 0, 100) || (i > 0 && g.AtLeast >= grades[i-1].AtLeast) {
			ps.Add(at+".at_least", "must be from 0 to 100, and below the one before")
		}
	}
	if grades[len(grades)-1].AtLeast != 0 {
		ps.Add(key, "the last must begin at 0: every score has a grade")
	}
}

func checkComponents(ps *tables.Problems, key string, components []Component) {
	const most = 50
	if len(components) == 0 || len(components) > most {
		ps.Add(key, "1 to %d are needed", most)
		return
	}
	var sum float64
	names := map[string]bool{}
	for i, c := range components {
		at := fmt.Sprintf("%s[%d]", key, i)
		if c.Name == "" || c.Metric == "" || c.Why == "" {
			ps.Add(at, "name, metric and why are needed")
		}
		if names[c.Name] {
			ps.Add(at+".name", "%q stands twice", c.Name)
		}
		names[c.Name] = true
		if !within(c.Weight, 1e-6, 1) {
			ps.Add(at+".weight", "must be above 0 and up to 1")
		}
		sum += c.Weight
		if c.Floor != nil && !within(*c.Floor, -math.MaxFloat64, math.MaxFloat64) {
			ps.Add(at+".floor", "must be a number")
		}
		if c.Judged {
			if c.Rule != "" || len(c.Steps) > 0 || c.Otherwise != 0 || c.Floor != nil || c.Per != "" || c.Positive != "" {
				ps.Add(at, "a judged component has metric, weight and why alone")
			}
			continue
		}
		checkSteps(ps, at, c)
	}
	if math.Abs(sum-1) > weightsTolerance {
		ps.Add(key, "weights sum to %.9g, they must sum to 1", sum)
	}
}

func checkSteps(ps *tables.Problems, key string, c Component) {
	if !slices.Contains([]Rule{Above, AtLeast, Below}, c.Rule) {
		ps.Add(key+".rule", "must be above, at_least or below")
	}
	if len(c.Steps) == 0 {
		ps.Add(key+".steps", "is missing")
		return
	}
	last := c.Otherwise
	if !within(last, 0, MaxScore) {
		ps.Add(key+".otherwise", "must be from 0 to 10")
	}
	for i, s := range slices.Backward(c.Steps) {
		at := fmt.Sprintf("%s.steps[%d]", key, i)
		if !within(s.Score, 0, MaxScore) || s.Score <= last {
			ps.Add(at+".score", "must be up to 10, and above what stands below it")
		}
		last = s.Score
		if !within(s.Limit, -math.MaxFloat64, math.MaxFloat64) {
			ps.Add(at+".limit", "must be a number")
		}
		if i+1 < len(c.Steps) {
			next := c.Steps[i+1].Limit
			if (c.Rule == Below && next <= s.Limit) || (c.Rule != Below && next >= s.Limit) {
				ps.Add(at+".limit", "a better score must be harder to earn than the next")
			}
		}
	}
}

// NewsSettings bounds searches of news. See configs/analytics/news.yaml.
type NewsSettings struct {
	Source string `yaml:"-"` // names the file by its content

	LookbackHours      int     `yaml:"lookback_hours"`
	MaxLookbackHours   int     `yaml:"max_lookback_hours"`
	MaxItems           int     `yaml:"max_items"`
	MinImpactThreshold float64 `yaml:"min_impact_threshold"`
}

// LoadNewsSettings reads news.yaml in a folder. The error names everything that is wrong with it.
func LoadNewsSettings(dir string) (NewsSettings, error) {
	var s NewsSettings
	source, err := tables.Read(dir, NewsFile, &s)
	if err != nil {
		return NewsSettings{}, err
	}
	s.Source = source
	const year = 8760
	var ps tables.Problems
	tables.Within(&ps, "max_lookback_hours", s.MaxLookbackHours, 1, year)
	tables.Within(&ps, "lookback_hours", s.LookbackHours, 1, max(s.MaxLookbackHours, 1))
	tables.Within(&ps, "max_items", s.MaxItems, 1, 1000)
	tables.Within(&ps, "min_impact_threshold", s.MinImpactThreshold, 0, 1)
	return s, ps.In(NewsFile)
}
