// Package ratings is the agent ratings: it scores the figures of companies, and portfolios by the
// scores of what they hold.
//
// Arithmetic is in package research, thresholds and weights are its [research.Model]; this package
// checks arguments, reads, and shapes answers.
package ratings

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/research"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Name is the agent's name in traces, metrics and breaker settings.
const Name = "ratings"

// Figures reads companies' figures.
type Figures interface {
	// FundamentalsOf returns the newest figure of each of the metrics, of all providers ("") or one.
	FundamentalsOf(ctx context.Context, cut portfolio.Cut, securityIDs []string, provider string, metrics []string) ([]research.Fundamental, error)
}

// Agent rates companies and portfolios.
type Agent struct {
	figures Figures
	model   research.Model
}

var _ agent.Agent = (*Agent)(nil)

// New returns an agent that rates by model and reads from figures.
func New(figures Figures, model research.Model) *Agent { return &Agent{figures: figures, model: model} }

// Name implements agent.Agent.
func (*Agent) Name() string { return Name }

// Capabilities implements agent.Agent. All are pure: figures are handed in or read through the pack's
// cut of an append-only table, and the model is read once, when the process starts.
func (a *Agent) Capabilities() []agent.Capability {
	about := map[string]string{
		research.DividendSafety: "Scores how safe a company's dividend is",
		research.MoatStrength:   "Scores how strong a company's competitive position is",
		research.Resilience:     "Scores how well a company's balance sheet bears bad years",
	}
	var list []agent.Capability
	for _, name := range research.Names() {
		list = append(list, agent.Capability{
			Name:        "ratings." + name,
			Description: about[name] + ", 0 to 10 by step from its fundamentals; missing ones drop and are named.",
			Args:        json.RawMessage(ratingArgs), Result: json.RawMessage(ratingResult),
			Purity: agent.Pure, Cost: agent.Low,
			Run: func(_ context.Context, req agent.Request) (agent.Result, error) { return a.rate(req, name) },
		})
	}
	return append(list, agent.Capability{
		Name:        "ratings.overall",
		Description: "A company's three ratings together: 0 to 100 by weight, with a grade A to F.",
		Args:        json.RawMessage(ratingArgs), Result: json.RawMessage(overallResult),
		Purity: agent.Pure, Cost: agent.Low,
		Run: a.overall,
	}, agent.Capability{
		Name: "ratings.aggregate",
		Description: "Rates every position of a portfolio from stored fundamentals, and the portfolio by their " +
			"value-weighted mean, 0 to 100.",
		Args: json.RawMessage(aggregateArgs), Result: json.RawMessage(aggregateResult),
		Purity: agent.Pure, Cost: agent.Medium,
		Run: a.aggregate,
	})
}

// company reads the figures that were handed in for one company.
func company(req agent.Request) (research.Report, research.Figures, error) {
	var args struct {
		SecurityID   string          `json:"security_id"`
		Fundamentals json.RawMessage `json:"fundamentals"`
	}
	var report research.Report
	if err := capability.Decode(req, &args); err != nil {
		return report, nil, err
	}
	// Members beyond the figures are the answer's that they come from, and not ours to judge.
	if err := json.Unmarshal(args.Fundamentals, &report); err != nil {
		return report, nil, fault.Wrap(err, fault.Invalid, "%s: fundamentals must be what fundamentals.load answers", req.Capability)
	}
	if !strings.EqualFold(report.SecurityID, args.SecurityID) {
		return report, nil, fault.InvalidField("/args/fundamentals/security_id",
			"the fundamentals are those of %q, %s was asked about %q", report.SecurityID, req.Capability, args.SecurityID)
	}
	list, err := report.Fundamentals()
	if err != nil {
		return report, nil, fault.Wrap(err, fault.Invalid, "%s: fundamentals can't be read: %v", req.Capability, err)
	}
	return report, research.Latest(list), nil
}

type ratingAnswer struct {
	SecurityID   string                    `json:"security_id"`
	Symbol       string                    `json:"symbol"`
	Rating       string                    `json:"rating"`
	Score        *float64                  `json:"score"`
	Coverage     float64                   `json:"coverage"`
	Components   []componentAnswer         `json:"components"`
	Method       []string                  `json:"method"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

type componentAnswer struct {
	Name          string   `json:"name"`
	Metric        string   `json:"metric"`
	Per           *string  `json:"per"`
	Why           string   `json:"why"`
	Value         *float64 `json:"value"`
	Asof          *string  `json:"asof"`
	Score         *float64 `json:"score"`
	Step          *string  `json:"step"`
	Weight        float64  `json:"weight"`
	AppliedWeight float64  `json:"applied_weight"`
	Note          *string  `json:"note"`
}

// orNull returns nil for "".
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (a *Agent) source() agent.Source { return agent.Source{Name: a.model.Source} }

func (a *Agent) rate(req agent.Request, name string) (agent.Result, error) {
	report, figures, err := company(req)
	if err != nil {
		return agent.Result{}, err
	}
	definition, ok := a.model.Definition(name)
	if !ok {
		return agent.Result{}, fault.New(fault.Internal, "the model has no rating %s", name)
	}
	s := definition.Rate(figures)
	answer := ratingAnswer{
		SecurityID: report.SecurityID, Symbol: report.Symbol, Rating: name, Score: s.Score, Coverage: s.Coverage,
		Components: make([]componentAnswer, len(s.Components)), Method: definition.Sources,
		Insufficient: missing(report.Symbol, "components.", s),
	}
	for i, c := range s.Components {
		answer.Components[i] = componentAnswer{
			Name: c.Name, Metric: c.Metric, Per: orNull(c.Per), Why: c.Why, Value: c.Value, Score: c.Score,
			Step: orNull(c.Step), Weight: c.Weight, AppliedWeight: c.Applied, Note: orNull(c.Note),
		}
		if c.Value != nil {
			answer.Components[i].Asof = new(c.Asof.Format(time.DateOnly))
		}
	}
	if s.Score == nil {
		answer.Insufficient = append(answer.Insufficient, nothing(report.Symbol, "score"))
	}
	return agent.Result{Value: answer, Sources: []agent.Source{a.source()}}, nil
}

// missing names the figures that a rating lacks.
func missing(symbol, prefix string, s research.Score) []capability.Insufficient {
	list := []capability.Insufficient{}
	for _, c := range s.Components {
		if c.Score == nil {
			list = append(list, capability.Insufficient{
				Field: prefix + c.Name + ".score", Missing: fundamentalsOf(symbol) + "/" + c.Missing, Reason: c.Reason,
			})
		}
	}
	return list
}

// nothing says why there is no score at all.
func nothing(symbol, field string) capability.Insufficient {
	return capability.Insufficient{
		Field: field, Missing: fundamentalsOf(symbol), Reason: "none of the figures that it is made of is stored",
	}
}

func fundamentalsOf(symbol string) string { return "fundamentals:" + symbol }

// ratingScores are the ratings of one company or portfolio.
type ratingScores struct {
	DividendSafety *float64 `json:"dividend_safety"`
	MoatStrength   *float64 `json:"moat_strength"`
	Resilience     *float64 `json:"resilience"`
}

// scoresOf names scores that stand in the order of research.Names.
func scoresOf(scores []*float64) ratingScores {
	return ratingScores{DividendSafety: scores[0], MoatStrength: scores[1], Resilience: scores[2]}
}

func list(o research.Overall) []*float64 {
	scores := make([]*float64, len(o.Ratings))
	for i, r := range o.Ratings {
		scores[i] = r.Score
	}
	return scores
}

type overallAnswer struct {
	SecurityID string   `json:"security_id"`
	Symbol     string   `json:"symbol"`
	Overall    *float64 `json:"overall"`
	Grade      *string  `json:"grade"`
	ratingScores
	Coverage     float64                   `json:"coverage"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

func (a *Agent) overall(_ context.Context, req agent.Request) (agent.Result, error) {
	report, figures, err := company(req)
	if err != nil {
		return agent.Result{}, err
	}
	o := a.model.Rate(figures)
	answer := overallAnswer{
		SecurityID: report.SecurityID, Symbol: report.Symbol, Overall: o.Score, Grade: orNull(o.Grade),
		ratingScores: scoresOf(list(o)), Coverage: o.Coverage, Insufficient: []capability.Insufficient{},
	}
	for _, r := range o.Ratings {
		answer.Insufficient = append(answer.Insufficient, missing(report.Symbol, r.Name+".components.", r)...)
		if r.Score == nil {
			answer.Insufficient = append(answer.Insufficient, nothing(report.Symbol, r.Name))
		}
	}
	if o.Score == nil {
		answer.Insufficient = append(answer.Insufficient, nothing(report.Symbol, "overall"))
	}
	return agent.Result{Value: answer, Sources: []agent.Source{a.source()}}, nil
}

// maxPositions bounds the positions of one call.
const maxPositions = 10_000

type aggregateAnswer struct {
	Overall *float64 `json:"overall"`
	Grade   *string  `json:"grade"`
	ratingScores
	RatedWeight  float64                   `json:"rated_weight"`
	Positions    []ratedPosition           `json:"positions"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

type ratedPosition struct {
	Symbol     string   `json:"symbol"`
	SecurityID string   `json:"security_id"`
	Weight     *float64 `json:"weight"`
	Overall    *float64 `json:"overall"`
	Grade      *string  `json:"grade"`
	ratingScores
	Coverage float64 `json:"coverage"`
	Excluded *string `json:"excluded"`
}

func (a *Agent) aggregate(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		Positions json.RawMessage `json:"positions"`
		Provider  string          `json:"provider"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	var positions []struct {
		Symbol     string   `json:"symbol"`
		SecurityID string   `json:"security_id"`
		Weight     *float64 `json:"weight"`
	}
	if err := json.Unmarshal(args.Positions, &positions); err != nil {
		return agent.Result{}, fault.Wrap(err, fault.Invalid, "%s: positions must be those that pricing.apply_pack answers", req.Capability)
	}
	if len(positions) > maxPositions {
		return agent.Result{}, fault.InvalidField("/args/positions", "there are %d, %d are allowed", len(positions), maxPositions)
	}
	holdings, ids := make([]research.Holding, len(positions)), make([]string, len(positions))
	for i, p := range positions {
		holdings[i], ids[i] = research.Holding(p), p.SecurityID
	}
	var figures []research.Fundamental
	if len(holdings) > 0 {
		slices.Sort(ids)
		var err error
		figures, err = a.figures.FundamentalsOf(ctx, capability.Cut(req.Context), slices.Compact(ids), args.Provider, a.model.Metrics())
		if err != nil {
			return agent.Result{}, err
		}
	}
	p := a.model.Aggregate(holdings, research.BySecurity(figures))
	answer := aggregateAnswer{
		Overall: p.Score, Grade: orNull(p.Grade), ratingScores: scoresOf(p.Ratings), RatedWeight: p.RatedWeight,
		Positions: make([]ratedPosition, len(p.Holdings)), Insufficient: []capability.Insufficient{},
	}
	for i, h := range p.Holdings {
		answer.Positions[i] = ratedPosition{
			Symbol: h.Symbol, SecurityID: h.SecurityID, Weight: h.Weight, Overall: h.Score, Grade: orNull(h.Grade),
			ratingScores: scoresOf(list(h.Overall)), Coverage: h.Coverage, Excluded: orNull(h.Excluded),
		}
		if h.Score == nil {
			answer.Insufficient = append(answer.Insufficient, nothing(h.Symbol, "positions."+h.Symbol+".overall"))
		}
	}
	if p.Score == nil {
		answer.Insufficient = append(answer.Insufficient, capability.Insufficient{
			Field: "overall", Missing: "fundamentals", Reason: "no long position with a weight has a score",
		})
	}
	return agent.Result{Value: answer, Sources: append(sources(figures), a.source())}, nil
}

// sources names what was read of each security, with the day of its newest figure.
func sources(figures []research.Fundamental) []agent.Source {
	var list []agent.Source // figures are ordered by symbol
	for _, f := range figures {
		name := fundamentalsOf(f.Symbol)
		if n := len(list); n == 0 || list[n-1].Name != name {
			list = append(list, agent.Source{Name: name})
		}
		if last := &list[len(list)-1]; f.Date.After(last.Asof) {
			last.Asof = f.Date
		}
	}
	return list
}
