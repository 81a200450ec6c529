// Package macro judges the state of the economy from macroeconomic series: the regime, the short- and
// the long-term debt cycle, and what has shifted. It is pure: no database, no clock, no randomness. What
// it judges by, thresholds above all, is configuration (LoadConfig).
//
// Nothing is used before it was published: an observation is dated by the end of the period that it is
// about, and is known only after its series' publication lag. Values are those of the cut that was read,
// hence with later statistical revisions of the same rows when the cut holds them: the lag is respected,
// vintages are not reconstructed.
package macro

import (
	"sort"
	"time"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// Frequency is how often a series is observed.
type Frequency string

// The frequencies of series.
const (
	Daily     Frequency = "daily"
	Weekly    Frequency = "weekly"
	Monthly   Frequency = "monthly"
	Quarterly Frequency = "quarterly"
	Annual    Frequency = "annual"
)

// frequencies in order, most frequent first.
var frequencies = []Frequency{Daily, Weekly, Monthly, Quarterly, Annual}

// perYear is how many observations a year has at least; of a daily series, with its holidays.
func (f Frequency) perYear() int {
	switch f {
	case Daily:
		return 240
	case Weekly:
		return 52
	case Monthly:
		return 12
	case Quarterly:
		return 4
	default:
		return 1
	}
}

// slack is how far from the day asked for an observation may lie to stand for it: less than half of the
// period, but for daily ones, which have holidays.
func (f Frequency) slack() time.Duration {
	const day = 24 * time.Hour
	switch f {
	case Daily, Weekly:
		return 6 * day
	case Monthly:
		return 14 * day
	case Quarterly:
		return 44 * day
	default:
		return 180 * day
	}
}

// coarser returns the less frequent of two frequencies.
func coarser(a, b Frequency) Frequency {
	if a.perYear() < b.perYear() {
		return a
	}
	return b
}

// Info describes a series.
type Info struct {
	Name      string
	Unit      string // free text: "percent", "index 1982-84=100"
	Frequency Frequency
}

// Observed is a series as it was read: points dated by the end of the observed period, ascending.
type Observed struct {
	Info

	Points portfolio.Series
}

// Panel is the series that were read, by name. One without observations is absent.
type Panel map[string]Observed

// Observation is one value and the first day on which it was known.
type Observation struct {
	Date    time.Time // end of the observed period
	KnownOn time.Time
	Value   float64
}

// known returns how many of the observations, which are ascending, were known on a day.
func known(all []Observation, asof time.Time) int {
	return sort.Search(len(all), func(i int) bool { return all[i].KnownOn.After(asof) })
}

// near returns the place of the observation before place i that is nearest to a day, -1 when none lies
// within slack of it.
func near(all []Observation, i int, day time.Time, slack time.Duration) int {
	at := sort.Search(i, func(k int) bool { return !all[k].Date.Before(day) })
	best, distance := -1, slack+1
	for _, k := range []int{at - 1, at} {
		if k < 0 || k >= i {
			continue
		}
		if d := all[k].Date.Sub(day).Abs(); d < distance {
			best, distance = k, d
		}
	}
	return best
}

// monthsBefore returns the day n months earlier; the last day of a month stays one.
func monthsBefore(d time.Time, n int) time.Time {
	first := time.Date(d.Year(), d.Month()-time.Month(n), 1, 0, 0, 0, 0, time.UTC)
	last := first.AddDate(0, 1, -1)
	if d.AddDate(0, 0, 1).Day() == 1 || d.Day() > last.Day() {
		return last
	}
	return first.AddDate(0, 0, d.Day()-1)
}

// MonthEnds returns the last days of months from one day to another, both included.
func MonthEnds(from, to time.Time) []time.Time {
	var days []time.Time
	for m := time.Date(from.Year(), from.Month(), 1, 0, 0, 0, 0, time.UTC); ; m = m.AddDate(0, 1, 0) {
		end := m.AddDate(0, 1, -1)
		if end.After(to) {
			return days
		}
		if !end.Before(from) {
			days = append(days, end)
		}
	}
}
