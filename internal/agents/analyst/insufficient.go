package analyst

import (
	"errors"
	"math"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// insufficient says why a field of an answer is null.
type insufficient struct {
	Field   string `json:"field"` // path within the answer: "sharpe_ratio", "benchmark.beta"
	Missing string `json:"missing"`
	Reason  string `json:"reason"`
}

// gaps collects the reasons for the nulls of one answer.
type gaps struct {
	list []insufficient
	err  error // a failure that is not a lack of data
}

func newGaps() *gaps { return &gaps{list: []insufficient{}} }

// note records that fields are null because of err.
func (g *gaps) note(err error, fields ...string) {
	shortages, ok := errors.AsType[portfolio.Shortages](err)
	if !ok {
		g.err = errors.Join(g.err, err)
		return
	}
	for _, f := range fields {
		for _, s := range shortages {
			g.list = append(g.list, insufficient{Field: f, Missing: s.Missing, Reason: s.Reason})
		}
	}
}

// field is a place for one number.
type field struct {
	gaps *gaps
	name string
}

func (g *gaps) field(name string) field { return field{g, name} }

// number returns what goes into the field: the value, or null with its reason noted. JSON has no
// infinities, so that a figure beyond float64 is a gap too.
func (f field) number(value float64, err error) *float64 {
	if err == nil && (math.IsNaN(value) || math.IsInf(value, 0)) {
		err = portfolio.Shortages{{Missing: "range", Reason: "the figure is too large to be a number"}}
	}
	if err != nil {
		f.gaps.note(err, f.name)
		return nil
	}
	return &value
}
