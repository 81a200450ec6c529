package macrohound

import (
	"strings"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/macro"
)

// input is one measured quantity as answers show it.
type input struct {
	Name      string  `json:"name"`
	Series    string  `json:"series"` // "US_TCM_10Y - US_TCM_1Y" when it is made of two
	Transform string  `json:"transform"`
	Value     float64 `json:"value"`
	Z         float64 `json:"z"`
	Date      string  `json:"date"`     // end of the observed period
	KnownOn   string  `json:"known_on"` // when it was published
	Proxy     bool    `json:"proxy"`
	Note      *string `json:"note"`   // what a proxy stands in for
	Scored    bool    `json:"scored"` // false: shown beside
}

// told is a state of a model as answers show it; null fields when none can be told.
type told struct {
	Name          *string            `json:"-"`
	Label         *string            `json:"label"`
	Confidence    *float64           `json:"confidence"`
	Probabilities map[string]float64 `json:"probabilities"`
}

func tell(m macro.Model, r macro.Reading) told {
	if r.State == nil {
		return told{}
	}
	name, label, confidence := r.State.Name, r.State.Label, r.Confidence()
	t := told{Name: &name, Label: &label, Confidence: &confidence, Probabilities: map[string]float64{}}
	for i, s := range m.States {
		t.Probabilities[s.Name] = r.Probabilities[i]
	}
	return t
}

// measured describes a reading's inputs, notes what is missing, and warns of proxies.
func measured(m macro.Model, r macro.Reading, gaps *capability.Gaps) (inputs []input, warnings []string) {
	inputs = make([]input, 0, len(r.Inputs))
	for _, in := range r.Inputs {
		shown := input{
			Name: in.Input, Series: in.Candidate.String(), Transform: in.Transform.String(),
			Value: in.Value, Z: in.Z, Date: text(in.Date), KnownOn: text(in.KnownOn), Scored: m.Scored(in.Input),
		}
		if p := in.Candidate.Proxy; p != "" {
			shown.Proxy, shown.Note = true, &p
			warnings = append(warnings, proxyWarning(in))
		}
		inputs = append(inputs, shown)
	}
	for _, g := range r.Gaps {
		gaps.Note(g.Err, "inputs."+g.Input)
	}
	return inputs, warnings
}

// untold notes why the fields about a state are null.
func untold(r macro.Reading, gaps *capability.Gaps, fields ...string) {
	if r.Err != nil {
		gaps.Note(r.Err, fields...)
	}
}

// gapsOf is the distinct things that inputs lacked over many readings, in the order of their first
// appearance.
type gapsOf struct {
	seen map[string]bool
}

// note records a reading's missing inputs once each: reasons hold days, and would repeat with every one.
func (o *gapsOf) note(r macro.Reading, gaps *capability.Gaps, field string) {
	if o.seen == nil {
		o.seen = map[string]bool{}
	}
	for _, g := range r.Gaps {
		if key := g.Input; !o.seen[key] {
			o.seen[key] = true
			gaps.Note(g.Err, strings.TrimSuffix(field, ".")+".inputs."+g.Input)
		}
	}
}
