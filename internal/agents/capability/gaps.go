package capability

import (
	"errors"
	"math"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// Insufficient says why a field of an answer is null.
type Insufficient struct {
	Field   string `json:"field"` // path within the answer: "sharpe_ratio", "benchmark.beta"
	Missing string `json:"missing"`
	Reason  string `json:"reason"`
}

// Gaps collects the reasons for the nulls of one answer.
type Gaps struct {
	List []Insufficient // never nil, so that it is [] in JSON
	err  error
}

// NewGaps returns none.
func NewGaps() *Gaps { return &Gaps{List: []Insufficient{}} }

// Note records that fields are null because of err. What is no [portfolio.Shortages] is a failure: see
// Err.
func (g *Gaps) Note(err error, fields ...string) {
	shortages, ok := errors.AsType[portfolio.Shortages](err)
	if !ok {
		g.err = errors.Join(g.err, err)
		return
	}
	for _, f := range fields {
		for _, s := range shortages {
			g.List = append(g.List, Insufficient{Field: f, Missing: s.Missing, Reason: s.Reason})
		}
	}
}

// Err returns what was noted that is not a lack of data: the answer must not be given.
func (g *Gaps) Err() error { return g.err }

// Field is a place for one number.
type Field struct {
	gaps *Gaps
	name string
}

// Field returns the place of a name.
func (g *Gaps) Field(name string) Field { return Field{g, name} }

// Number returns what goes into the field: the value, or null with its reason noted. JSON has no
// infinities, so that a figure beyond float64 is a gap too.
func (f Field) Number(value float64, err error) *float64 {
	if err == nil && (math.IsNaN(value) || math.IsInf(value, 0)) {
		err = portfolio.Short("range", "the figure is too large to be a number")
	}
	if err != nil {
		f.gaps.Note(err, f.name)
		return nil
	}
	return &value
}
