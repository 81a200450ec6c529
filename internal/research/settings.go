package research

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Document is where a value of settings was read from.
type Document struct {
	// Source names the file and its content: "config:ratings.yaml@" and the first 12 digits of the
	// SHA-256 of the file, in hex.
	Source string
}

// Load reads one settings file strictly into dst, a pointer to a struct with yaml tags: a key that dst
// does not declare, a key twice or a second document is an error.
func Load(path string, dst any) (Document, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Document{}, fmt.Errorf("read settings: %w", err)
	}
	if err := decode(data, dst); err != nil {
		return Document{}, fmt.Errorf("%s: %w", path, err)
	}
	sum := sha256.Sum256(data)
	return Document{Source: "config:" + filepath.Base(path) + "@" + hex.EncodeToString(sum[:6])}, nil
}

func decode(data []byte, dst any) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(dst); err != nil && !errors.Is(err, io.EOF) { // EOF: the file is empty, see the checks
		return err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("one YAML document is expected, a second one follows")
	}
	return nil
}

// problems collects what is wrong with a file.
type problems []error

func (ps *problems) add(key, format string, args ...any) {
	*ps = append(*ps, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
}

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

// LoadModel reads ratings.yaml. The error names everything that is wrong with it.
func LoadModel(path string) (Model, error) {
	var f modelFile
	doc, err := Load(path, &f)
	if err != nil {
		return Model{}, err
	}
	m, err := f.model()
	if err != nil {
		return Model{}, fmt.Errorf("%s: %w", path, err)
	}
	m.Document = doc
	return m, nil
}

// weightsTolerance is how far from 1 weights may sum, for want of binary tenths.
const weightsTolerance = 1e-9

func (f modelFile) model() (Model, error) {
	var ps problems
	var m Model
	for _, name := range slices.Sorted(maps.Keys(f.Ratings)) {
		if !slices.Contains(Names(), name) {
			ps.add("ratings."+name, "there is no such rating; there are %v", Names())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Overall.Weights)) {
		if !slices.Contains(Names(), name) {
			ps.add("overall.weights."+name, "there is no such rating; there are %v", Names())
		}
	}
	var sum float64
	for _, name := range Names() {
		key := "ratings." + name
		given, ok := f.Ratings[name]
		if !ok {
			ps.add(key, "is missing")
		}
		weight := f.Overall.Weights[name]
		if !within(weight, 1e-6, 1) {
			ps.add("overall.weights."+name, "must be above 0 and up to 1")
		}
		sum += weight
		if len(given.Sources) == 0 {
			ps.add(key+".sources", "say where the figures come from")
		}
		checkComponents(&ps, key+".components", given.Components)
		m.Ratings = append(m.Ratings, Definition{Name: name, Weight: weight, Sources: given.Sources, Components: given.Components})
	}
	if math.Abs(sum-1) > weightsTolerance {
		ps.add("overall.weights", "sum to %.9g, they must sum to 1", sum)
	}
	m.Grades = f.Overall.Grades
	checkGrades(&ps, m.Grades)
	return m, errors.Join(ps...)
}

func checkGrades(ps *problems, grades []Grade) {
	const key = "overall.grades"
	if len(grades) == 0 {
		ps.add(key, "is missing")
		return
	}
	for i, g := range grades {
		at := fmt.Sprintf("%s[%d]", key, i)
		if g.Grade == "" {
			ps.add(at+".grade", "is missing")
		}
		if !within(g.AtLeast, 0, 100) || (i > 0 && g.AtLeast >= grades[i-1].AtLeast) {
			ps.add(at+".at_least", "must be from 0 to 100, and below the one before")
		}
	}
	if grades[len(grades)-1].AtLeast != 0 {
		ps.add(key, "the last must begin at 0: every score has a grade")
	}
}

func checkComponents(ps *problems, key string, components []Component) {
	const most = 50
	if len(components) == 0 || len(components) > most {
		ps.add(key, "1 to %d are needed", most)
		return
	}
	var sum float64
	names := map[string]bool{}
	for i, c := range components {
		at := fmt.Sprintf("%s[%d]", key, i)
		if c.Name == "" || c.Metric == "" || c.Why == "" {
			ps.add(at, "name, metric and why are needed")
		}
		if names[c.Name] {
			ps.add(at+".name", "%q stands twice", c.Name)
		}
		names[c.Name] = true
		if !within(c.Weight, 1e-6, 1) {
			ps.add(at+".weight", "must be above 0 and up to 1")
		}
		sum += c.Weight
		if c.Floor != nil && !within(*c.Floor, -math.MaxFloat64, math.MaxFloat64) {
			ps.add(at+".floor", "must be a number")
		}
		if c.Judged {
			if c.Rule != "" || len(c.Steps) > 0 || c.Otherwise != 0 || c.Floor != nil || c.Per != "" || c.Positive != "" {
				ps.add(at, "a judged component has metric, weight and why alone")
			}
			continue
		}
		checkSteps(ps, at, c)
	}
	if math.Abs(sum-1) > weightsTolerance {
		ps.add(key, "weights sum to %.9g, they must sum to 1", sum)
	}
}

func checkSteps(ps *problems, key string, c Component) {
	if !slices.Contains([]Rule{Above, AtLeast, Below}, c.Rule) {
		ps.add(key+".rule", "must be above, at_least or below")
	}
	if len(c.Steps) == 0 {
		ps.add(key+".steps", "is missing")
		return
	}
	last := c.Otherwise
	if !within(last, 0, MaxScore) {
		ps.add(key+".otherwise", "must be from 0 to 10")
	}
	for i, s := range slices.Backward(c.Steps) {
		at := fmt.Sprintf("%s.steps[%d]", key, i)
		if !within(s.Score, 0, MaxScore) || s.Score <= last {
			ps.add(at+".score", "must be up to 10, and above what stands below it")
		}
		last = s.Score
		if !within(s.Limit, -math.MaxFloat64, math.MaxFloat64) {
			ps.add(at+".limit", "must be a number")
		}
		if i+1 < len(c.Steps) {
			next := c.Steps[i+1].Limit
			if (c.Rule == Below && next <= s.Limit) || (c.Rule != Below && next >= s.Limit) {
				ps.add(at+".limit", "a better score must be harder to earn than the next")
			}
		}
	}
}

// NewsSettings bounds searches of news. See configs/analytics/news.yaml.
type NewsSettings struct {
	Document `yaml:"-"`

	LookbackHours      int     `yaml:"lookback_hours"`
	MaxLookbackHours   int     `yaml:"max_lookback_hours"`
	MaxItems           int     `yaml:"max_items"`
	MinImpactThreshold float64 `yaml:"min_impact_threshold"`
}

// LoadNewsSettings reads news.yaml. The error names everything that is wrong with it.
func LoadNewsSettings(path string) (NewsSettings, error) {
	var s NewsSettings
	doc, err := Load(path, &s)
	if err != nil {
		return NewsSettings{}, err
	}
	s.Document = doc
	const year = 8760
	var ps problems
	if s.MaxLookbackHours < 1 || s.MaxLookbackHours > year {
		ps.add("max_lookback_hours", "must be 1 to %d", year)
	}
	if s.LookbackHours < 1 || s.LookbackHours > s.MaxLookbackHours {
		ps.add("lookback_hours", "must be 1 to max_lookback_hours")
	}
	if s.MaxItems < 1 || s.MaxItems > 1000 {
		ps.add("max_items", "must be 1 to 1000")
	}
	if !within(s.MinImpactThreshold, 0, 1) {
		ps.add("min_impact_threshold", "must be 0 to 1")
	}
	if err := errors.Join(ps...); err != nil {
		return NewsSettings{}, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}
