package alerts

import (
	"encoding/json"
	"time"

	"github.com/shopspring/decimal"
)

// Source is where a value comes from.
type Source string

// The sources.
const (
	MacroSeries      Source = "macro"
	PortfolioFigures Source = "portfolio"
	Prices           Source = "price"
	Ratings          Source = "rating"
	News             Source = "news"
	Regimes          Source = "regime"
)

var sources = map[Type]Source{
	Macro: MacroSeries, Metric: PortfolioFigures, DrawdownLimit: PortfolioFigures, DaRBreach: PortfolioFigures,
	Price: Prices, Rating: Ratings, NewsSentiment: News, RegimeShift: Regimes,
}

// Key names one value. Leaves that look at the same value have the same key.
type Key struct {
	Source  Source
	Subject string // series, portfolio id or symbol
	Metric  string
}

// Value is what is known under a key.
type Value struct {
	Value decimal.Decimal
	Asof  time.Time // the day that it is of
	// Unknown says why there is none, in a clause for the reader; "" when there is one.
	Unknown string
}

// Values are what is known. A key that is not in it is unknown.
type Values map[Key]Value

func (c Condition) key() Key {
	return Key{Source: sources[c.Type], Subject: c.Subject, Metric: c.Metric}
}

// Needs returns the distinct values that a condition hangs on, in its order.
func Needs(c Condition) []Key {
	var keys []Key
	seen := map[Key]bool{}
	c.leaves("", func(_ string, leaf Condition) {
		if k := leaf.key(); !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	})
	return keys
}

// Truth is one of three.
type Truth string

// The truths.
const (
	Met     Truth = "met"
	NotMet  Truth = "not_met"
	Unknown Truth = "unknown"
)

// Truths returns all three.
func Truths() []Truth { return []Truth{Met, NotMet, Unknown} }

func truth(b bool) Truth {
	if b {
		return Met
	}
	return NotMet
}

// Observation is a value that a leaf looked at.
type Observation struct {
	Pointer   string // of the leaf within the rule: "/condition/all/0"
	Type      Type
	Subject   string
	Metric    string
	Op        Op
	Threshold decimal.Decimal
	Value     decimal.Decimal
	Asof      time.Time
	Met       bool // the leaf alone, whatever stands around it
}

// MarshalJSON writes numbers with all their digits.
func (o Observation) MarshalJSON() ([]byte, error) {
	return plainJSON(struct {
		Type      Type        `json:"type"`
		Subject   string      `json:"subject,omitempty"`
		Metric    string      `json:"metric"`
		Op        Op          `json:"op"`
		Threshold json.Number `json:"threshold"`
		Value     json.Number `json:"value"`
		Asof      string      `json:"asof"`
		Met       bool        `json:"met"`
	}{
		o.Type, o.Subject, o.Metric, o.Op, json.Number(o.Threshold.String()), json.Number(o.Value.String()),
		o.Asof.Format(time.DateOnly), o.Met,
	})
}

// String says what was seen: "VIX was 31.2 on 2026-03-02".
func (o Observation) String() string {
	c := Condition{Type: o.Type, Subject: o.Subject, Metric: o.Metric}
	return c.watched() + " was " + o.Value.String() + " on " + o.Asof.Format(time.DateOnly)
}

// Missing is a value that a leaf would have looked at.
type Missing struct {
	Pointer string // of the leaf within the rule
	Type    Type
	Subject string
	Metric  string
	Reason  string
}

// Result is what became of a condition.
type Result struct {
	Met      Truth
	Observed []Observation // in the condition's order
	Missing  []Missing     // what is not known, also where the rest decides without it
}

// Lead returns the observation that speaks for the condition: the first whose leaf is met, else the
// first; false when nothing was seen.
func (r Result) Lead() (Observation, bool) {
	for _, o := range r.Observed {
		if o.Met {
			return o, true
		}
	}
	if len(r.Observed) > 0 {
		return r.Observed[0], true
	}
	return Observation{}, false
}

// conditionPointer is where a rule's condition stands.
const conditionPointer = "/condition"

// Evaluate looks at the values. Every leaf is looked at, so that the result tells all that is known.
func Evaluate(c Condition, values Values) Result {
	r := Result{}
	r.Met = r.evaluate(c, conditionPointer, values)
	return r
}

func (r *Result) evaluate(c Condition, pointer string, values Values) Truth {
	switch {
	case c.All != nil: // not met if any is not met, else unknown if any is unknown
		verdict := Met
		for i, part := range c.All {
			verdict = and(verdict, r.evaluate(part, at(pointer+"/all", i), values))
		}
		return verdict
	case c.Any != nil: // by De Morgan's law
		verdict := Met
		for i, part := range c.Any {
			verdict = and(verdict, not(r.evaluate(part, at(pointer+"/any", i), values)))
		}
		return not(verdict)
	case c.Not != nil:
		return not(r.evaluate(*c.Not, pointer+"/not", values))
	}
	v, ok := values[c.key()]
	if !ok {
		v.Unknown = "it was not looked up"
	}
	if v.Unknown != "" {
		r.Missing = append(r.Missing, Missing{
			Pointer: pointer, Type: c.Type, Subject: c.Subject, Metric: c.Metric, Reason: v.Unknown,
		})
		return Unknown
	}
	met := c.Op.holds(v.Value, c.Threshold)
	r.Observed = append(r.Observed, Observation{
		Pointer: pointer, Type: c.Type, Subject: c.Subject, Metric: c.Metric, Op: c.Op,
		Threshold: c.Threshold, Value: v.Value, Asof: v.Asof, Met: met,
	})
	return truth(met)
}

// and and not are Kleene's.
func and(a, b Truth) Truth {
	switch {
	case a == NotMet || b == NotMet:
		return NotMet
	case a == Unknown || b == Unknown:
		return Unknown
	}
	return Met
}

func not(t Truth) Truth {
	switch t {
	case Met:
		return NotMet
	case NotMet:
		return Met
	}
	return Unknown
}
