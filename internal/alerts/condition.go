package alerts

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/portfolio"
)

// Type says what a condition watches.
type Type string

// The types of leaves, and what a tree of them is called.
const (
	Macro         Type = "macro"          // the newest observation of a macro series
	Metric        Type = "metric"         // a figure of a portfolio
	Rating        Type = "rating"         // a score of a security, 0 to 10
	Price         Type = "price"          // the newest price of a security
	NewsSentiment Type = "news_sentiment" // what the news say of a security, -1 to 1
	DrawdownLimit Type = "drawdown_limit" // a portfolio lies a fraction below its highest value
	DaRBreach     Type = "dar_breach"     // a portfolio's drawdown at risk reaches a fraction
	RegimeShift   Type = "regime_shift"   // the macro regime has changed, with some confidence
	Compound      Type = "compound"       // all, any or not
)

// Types returns every type, in the order of documentation.
func Types() []Type {
	return []Type{Macro, Metric, Rating, Price, NewsSentiment, DrawdownLimit, DaRBreach, RegimeShift, Compound}
}

// Op compares a value with a threshold.
type Op string

// The operators.
const (
	Above     Op = ">"
	Below     Op = "<"
	AtLeast   Op = ">="
	AtMost    Op = "<="
	Equals    Op = "=="
	NotEquals Op = "!="
)

var ops = []string{string(Above), string(Below), string(AtLeast), string(AtMost), string(Equals), string(NotEquals)}

// holds reports whether value op threshold.
func (o Op) holds(value, threshold decimal.Decimal) bool {
	c := value.Cmp(threshold)
	switch o {
	case Above:
		return c > 0
	case Below:
		return c < 0
	case AtLeast:
		return c >= 0
	case AtMost:
		return c <= 0
	case Equals:
		return c == 0
	default:
		return c != 0
	}
}

// Condition is a leaf, or a tree of them: of Type, All, Any and Not exactly one is set.
type Condition struct {
	Type      Type
	Subject   string // series, portfolio id or symbol; "" for a regime
	Metric    string
	Op        Op
	Threshold decimal.Decimal

	All []Condition
	Any []Condition
	Not *Condition
}

// Limits of a condition.
const (
	maxDepth  = 8  // trees within trees
	maxLeaves = 32 // of the whole condition
)

// form is how a type of leaf is written.
type form struct {
	subject string   // name of the field that says of what; "" when there is one only
	metrics []string // what may be compared, the first by default
	needed  bool     // the metric must be given
	// limit names the field of the threshold. Where it isn't "value", the operator is always op, and
	// fallback the threshold that a missing one means.
	limit    string
	op       Op
	fallback string
	least    string // bounds of the threshold; "" for none
	most     string
}

const valueField = "value"

// The metrics of figures that limits stand for.
const (
	drawdownMetric = "drawdown"
	darMetric      = "dar_95_1y"
)

var forms = map[Type]form{
	Macro:  {subject: "entity", metrics: []string{MetricLevel}, limit: valueField},
	Metric: {subject: "portfolio_id", metrics: portfolio.FigureNames(), needed: true, limit: valueField},
	Rating: {
		subject: "symbol", needed: true, limit: valueField, least: "0", most: "10",
		metrics: []string{
			"quality_score", "moat_score", "balance_sheet_score", "management_score", "valuation_score",
			"dividend_safety", "overall_rating",
		},
	},
	Price: {
		subject: "symbol", needed: true, limit: valueField,
		metrics: []string{MetricClose, MetricOpen, MetricHigh, MetricLow, MetricVolume, MetricChangePct, MetricChangeAbs},
	},
	NewsSentiment: {subject: "symbol", metrics: []string{MetricSentiment}, limit: valueField, least: "-1", most: "1"},
	DrawdownLimit: {
		subject: "portfolio_id", metrics: []string{drawdownMetric},
		limit: "limit", op: AtLeast, fallback: "0.2", least: "0.1", most: "0.4",
	},
	DaRBreach: {
		subject: "portfolio_id", metrics: []string{darMetric},
		limit: "level", op: AtLeast, fallback: "0.15", least: "0.05", most: "0.5",
	},
	RegimeShift: {
		metrics: []string{MetricShiftConfidence},
		limit:   "confidence", op: AtLeast, fallback: "0.9", least: "0", most: "1",
	},
}

// Comparison says how one of a type is written, for those who make forms of it.
type Comparison struct {
	Subject string   // name of the field that says of what; "" where there is nothing to choose
	Metrics []string // what may be compared
	// Limit is the name of the threshold's field. Where Op is not "", it is the operator, and neither
	// metric nor operator are written.
	Limit   string
	Op      Op
	Default string // the threshold that a missing one means; "" where it must be given
	// Least and Most bound the threshold; "" for none.
	Least, Most string
}

// ComparisonOf returns how a comparison of a type is written; false for Compound, which is none.
func ComparisonOf(t Type) (Comparison, bool) {
	f, ok := forms[t]
	return Comparison{
		Subject: f.subject, Metrics: slices.Clone(f.metrics), Limit: f.limit, Op: f.op, Default: f.fallback, Least: f.least, Most: f.most,
	}, ok
}

// Ops returns the operators.
func Ops() []string { return slices.Clone(ops) }

// MaxComparisons bounds the comparisons of a condition.
const MaxComparisons = maxLeaves

// The metrics of macro series, prices and news.
const (
	MetricLevel           = "level"
	MetricClose           = "close" // of the newest day, as with the four below
	MetricOpen            = "open"
	MetricHigh            = "high"
	MetricLow             = "low"
	MetricVolume          = "volume"
	MetricSentiment       = "sentiment"
	MetricShiftConfidence = "shift_confidence"
	MetricChangePct       = "change_pct" // from the close before, in percent
	MetricChangeAbs       = "change_abs" // from the close before, in the price's currency
)

// leaves calls f for every leaf, with its JSON pointer below pointer.
func (c Condition) leaves(pointer string, f func(pointer string, leaf Condition)) {
	switch {
	case c.All != nil:
		for i, part := range c.All {
			part.leaves(at(pointer+"/all", i), f)
		}
	case c.Any != nil:
		for i, part := range c.Any {
			part.leaves(at(pointer+"/any", i), f)
		}
	case c.Not != nil:
		c.Not.leaves(pointer+"/not", f)
	default:
		f(pointer, c)
	}
}

// Kind returns the condition's type, Compound for a tree.
func (c Condition) Kind() Type {
	if c.Type == "" {
		return Compound
	}
	return c.Type
}

// MarshalJSON writes the condition as ParseCondition reads it, every field spelt out.
func (c Condition) MarshalJSON() ([]byte, error) {
	switch {
	case c.All != nil:
		return plainJSON(map[string][]Condition{"all": c.All})
	case c.Any != nil:
		return plainJSON(map[string][]Condition{"any": c.Any})
	case c.Not != nil:
		return plainJSON(map[string]*Condition{"not": c.Not})
	}
	f := forms[c.Type]
	fields := []member{{"type", string(c.Type)}}
	if f.subject != "" {
		fields = append(fields, member{f.subject, c.Subject})
	}
	if f.limit == valueField {
		fields = append(fields, member{"metric", c.Metric}, member{"op", string(c.Op)})
	}
	fields = append(fields, member{f.limit, json.Number(c.Threshold.String())})
	var b bytes.Buffer
	for i, m := range fields {
		b.WriteByte("{,"[min(i, 1)])
		name, err := plainJSON(m.name)
		if err != nil {
			return nil, err
		}
		value, err := plainJSON(m.value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// member is a field of an object that is written in order.
type member struct {
	name  string
	value any
}

// plainJSON writes operators as they are read: "<" and not "\u003c".
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// String says the condition in words: "all of (VIX > 30; SBI close < 90)".
func (c Condition) String() string {
	switch {
	case c.All != nil:
		return "all of (" + list(c.All) + ")"
	case c.Any != nil:
		return "any of (" + list(c.Any) + ")"
	case c.Not != nil:
		return "not (" + c.Not.String() + ")"
	}
	return c.watched() + " " + string(c.Op) + " " + c.Threshold.String()
}

// watched says what a leaf looks at.
func (c Condition) watched() string {
	switch c.Type {
	case Macro:
		return c.Subject
	case Metric, DrawdownLimit, DaRBreach:
		return "portfolio " + c.Subject + " " + c.Metric
	case RegimeShift:
		return "regime " + c.Metric
	}
	return c.Subject + " " + c.Metric
}

func list(conditions []Condition) string {
	parts := make([]string, len(conditions))
	for i, c := range conditions {
		parts[i] = c.String()
	}
	return strings.Join(parts, "; ")
}
