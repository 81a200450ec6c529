package macro

import (
	"time"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// Indicator is a series as it stood on a day.
type Indicator struct {
	Info
	Observation // the newest value known

	// Change1Y is the value less the one a year before, in the series' unit; ChangeErr says why there is
	// none.
	Change1Y  float64
	ChangeErr error // portfolio.Shortages
	// Z is the value's z-score within the window; ZErr says why there is none.
	Z    float64
	ZErr error // portfolio.Shortages
}

// Indicator returns how a series stood on a day, however old its newest value is; false when nothing of it
// was known yet.
func (s Settings) Indicator(o Observed, asof time.Time) (Indicator, bool) {
	all := s.observations(o)
	n := known(all, asof)
	if n == 0 {
		return Indicator{}, false
	}
	last := all[n-1]
	in := Indicator{Info: o.Info, Observation: last}
	yearBefore := monthsBefore(last.Date, 12)
	if k := near(all, n-1, yearBefore, o.Frequency.slack()); k >= 0 {
		in.Change1Y = last.Value - all[k].Value
	} else {
		in.ChangeErr = portfolio.Short("macro:"+o.Name, "%s has no value around %s", o.Name, yearBefore.Format(time.DateOnly))
	}
	z, reason := s.standardize(all[:n], o.Frequency)
	if reason != "" {
		in.ZErr = portfolio.Short("macro:"+o.Name, "%s %s", o.Name, reason)
	}
	in.Z = z
	return in, true
}

// Reach returns how far before a day, in years, observations matter to a model's reading of that day.
// All of them do to a credit gap, whose trend goes back to the first: 0.
func (s Settings) Reach(m Model) (years int) {
	months := 0
	for _, in := range m.Inputs {
		if in.Transform.kind == "credit_gap" {
			return 0
		}
		months = max(months, in.Transform.months)
	}
	// The newest value's own age, at most the lag and the age allowed, comes on top.
	late := 0
	for _, f := range frequencies {
		late = max(late, s.Publication.ByFrequency[f]+s.MaxAge[f])
	}
	for _, r := range s.Publication.BySeries {
		late = max(late, r.Days+s.MaxAge[Annual])
	}
	return s.Z.Years + months/12 + late/365 + 2
}
