package macro

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// Judged is a state at one day of a history; State is "" when none could be told.
type Judged struct {
	Date       time.Time
	State      string
	Confidence float64
}

// RegimeShift is a change from one regime to another.
type RegimeShift struct {
	Date       time.Time // first day of the new one
	From, To   string
	Confidence float64 // of the new one on that day
}

// RegimeShifts returns the changes of regime in a history, ascending. Days without a regime are passed
// over: a change is from the last one that could be told.
func RegimeShifts(history []Judged) []RegimeShift {
	var shifts []RegimeShift
	last := ""
	for _, j := range history {
		if j.State == "" {
			continue
		}
		if last != "" && j.State != last {
			shifts = append(shifts, RegimeShift{Date: j.Date, From: last, To: j.State, Confidence: j.Confidence})
		}
		last = j.State
	}
	return shifts
}

// Exposure is an estimated beta to a factor.
type Exposure struct {
	Factor   string
	Beta     float64
	StdError float64
}

// Exposures are the betas estimated on one day.
type Exposures struct {
	Date    time.Time
	Factors []Exposure
}

// FactorShift is the change of a beta between two days.
type FactorShift struct {
	Factor    string
	From, To  time.Time
	Beta      float64 // on the last day
	Change    float64
	StdErrors float64 // the change in standard errors of the first estimate, positive
}

// FactorShifts compares the first and the last estimates: a beta has shifted when the last lies more than
// minStdErrors standard errors of the first away from it. The two windows overlap, so that this is a
// screen and not a test of significance. Factors come in the order of the last estimates; one that is in
// the last alone, or has no standard error, is a shortage.
func FactorShifts(history []Exposures, minStdErrors float64) ([]FactorShift, portfolio.Shortages) {
	if len(history) < 2 {
		return nil, portfolio.Short("factor_history", "it holds %d estimates, a change needs two", len(history))
	}
	first, last := history[0], history[len(history)-1]
	var (
		shifts  []FactorShift
		lacking portfolio.Shortages
	)
	for _, now := range last.Factors {
		i := slices.IndexFunc(first.Factors, func(e Exposure) bool { return e.Factor == now.Factor })
		if i < 0 || !(first.Factors[i].StdError > 0) {
			lacking = append(lacking, portfolio.Shortage{
				Missing: "factor_history", Reason: fmt.Sprintf("%s has no beta with a standard error on %s", now.Factor, first.Date.Format(time.DateOnly)),
			})
			continue
		}
		change := now.Beta - first.Factors[i].Beta
		if distance := math.Abs(change) / first.Factors[i].StdError; distance > minStdErrors {
			shifts = append(shifts, FactorShift{
				Factor: now.Factor, From: first.Date, To: last.Date, Beta: now.Beta, Change: change, StdErrors: distance,
			})
		}
	}
	return shifts, lacking
}
