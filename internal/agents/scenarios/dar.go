package scenarios

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/scenario"
	"github.com/dawsos/dawsos/pkg/agent"
)

// What drawdowns are of.
const (
	methodRealised = "realised_returns" // what the portfolio earned
	methodCurrent  = "current_holdings" // what today's weights would have earned
)

const (
	defaultConfidence = 0.95
	// minPhaseReturns is how many returns a phase needs for its volatility to be told: a quarter's.
	minPhaseReturns = 63
	maxPhases       = 2000
)

// drawdownAtRisk is the answer of macro.compute_dar.
type drawdownAtRisk struct {
	Confidence   float64                   `json:"confidence"`
	Method       string                    `json:"method"`
	DaR          *float64                  `json:"dar"`
	CDaR         *float64                  `json:"cdar"`
	MaxDrawdown  *float64                  `json:"max_drawdown"`
	Drawdown     *float64                  `json:"drawdown"` // at the window's end
	Cycle        *cycleAdjustment          `json:"cycle_adjustment,omitempty"`
	Window       *capability.Window        `json:"window"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

// cycleAdjustment says what was made of cycle_adjusted.
type cycleAdjustment struct {
	Applied bool     `json:"applied"`
	Phase   *string  `json:"phase"`
	Scale   *float64 `json:"scale"`   // what the window's returns were multiplied with
	Returns int      `json:"returns"` // of the portfolio within the phase
	DaR     *float64 `json:"unadjusted_dar"`
	CDaR    *float64 `json:"unadjusted_cdar"`
}

// cycle is what is read of a short-term cycle's answer.
type cycle struct {
	Phase   *string      `json:"phase"`
	History []datedPhase `json:"history"`
}

type datedPhase struct {
	Date  string `json:"date"`
	Phase string `json:"phase"`
}

func (d *desk) computeDaR(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		PortfolioID   string          `json:"portfolio_id"`
		PackID        string          `json:"pack_id"`
		Confidence    *float64        `json:"confidence_level"`
		CycleAdjusted bool            `json:"cycle_adjusted"`
		Cycle         json.RawMessage `json:"stdc"`
		Method        *string         `json:"method"`
		LookbackDays  *int            `json:"lookback_days"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	if err := capability.SamePack(req, args.PackID); err != nil {
		return agent.Result{}, err
	}
	days, err := capability.Lookback(args.LookbackDays)
	if err != nil {
		return agent.Result{}, err
	}
	answer := drawdownAtRisk{Confidence: defaultConfidence, Method: methodRealised}
	if c := args.Confidence; c != nil {
		if !(*c >= 0.5 && *c < 1) {
			return agent.Result{}, fault.InvalidField("/args/confidence_level", "%v is outside 0.5 to 1, 1 excluded", *c)
		}
		answer.Confidence = *c
	}
	if m := args.Method; m != nil {
		if *m != methodRealised && *m != methodCurrent {
			return agent.Result{}, fault.InvalidField("/args/method", "%q is neither %s nor %s", *m, methodRealised, methodCurrent)
		}
		answer.Method = *m
	}
	phases, err := readCycle(args.Cycle)
	if err != nil {
		return agent.Result{}, err
	}
	wanted := capability.Wanted{}
	if answer.Method == methodCurrent {
		wanted.Returns = days
	}
	dossier, err := capability.Open(ctx, d.ledger, d.market, req, args.PortfolioID, wanted)
	if err != nil {
		return agent.Result{}, err
	}

	g := capability.NewGaps()
	m := darMeasurement{Dossier: dossier, asof: req.Context.Asof, gaps: g, answer: &answer}
	r, err := m.returns(days)
	figures := []string{"dar", "cdar", "max_drawdown", "drawdown"}
	if answer.Window == nil {
		figures = append(figures, "window")
	}
	if err != nil {
		g.Note(err, figures...)
	} else {
		m.measure(r)
	}
	if args.CycleAdjusted {
		m.adjust(r, err, phases)
	}
	if g.Err() != nil {
		return agent.Result{}, fmt.Errorf("drawdown at risk of portfolio %s: %w", dossier.Portfolio.ID, g.Err())
	}
	answer.Insufficient = g.List
	return agent.Result{Value: answer, Sources: capability.Sources(dossier, m.panel), Warnings: m.warnings}, nil
}

type darMeasurement struct {
	capability.Dossier

	asof     time.Time
	gaps     *capability.Gaps
	answer   *drawdownAtRisk
	panel    *capability.Panel // of current holdings
	warnings []string
}

// returns returns what the drawdowns are of, and describes the window.
func (m *darMeasurement) returns(days int) ([]float64, error) {
	if m.answer.Method == methodRealised {
		w, err := m.History.Last(days)
		if err != nil {
			return nil, err
		}
		m.answer.Window = capability.Describe(m.History, w)
		m.warnings = append(m.warnings, capability.Shorter(m.History, w, days)...)
		return m.History.Returns(w)
	}
	v, err := m.Value(m.asof)
	if err != nil {
		return nil, err
	}
	lines, err := capability.Lines(v)
	if err != nil {
		return nil, err
	}
	if m.panel, err = m.Market(m.asof, days); err != nil {
		return nil, err
	}
	m.answer.Window = capability.Describe(m.panel.History, m.panel.Window)
	if n := m.panel.Window.Len(); n < days {
		m.warnings = append(m.warnings, fmt.Sprintf("The window holds %d daily returns instead of %d: the calendar series begins on %s.",
			n, days, m.answer.Window.Start))
	}
	return m.panel.Returns(lines)
}

func (m *darMeasurement) measure(r []float64) {
	dar, cdar := scenario.DrawdownAtRisk(r, m.answer.Confidence)
	deepest, _ := portfolio.MaxDrawdown(r)
	d := portfolio.Drawdowns(r)
	m.answer.DaR = m.gaps.Field("dar").Number(dar, nil)
	m.answer.CDaR = m.gaps.Field("cdar").Number(cdar, nil)
	m.answer.MaxDrawdown = m.gaps.Field("max_drawdown").Number(deepest, nil)
	m.answer.Drawdown = m.gaps.Field("drawdown").Number(d[len(d)-1], nil)
}

// adjust replaces dar and cdar by what they would be at the volatility of the present phase.
func (m *darMeasurement) adjust(r []float64, rErr error, c *cycle) {
	a := &cycleAdjustment{DaR: m.answer.DaR, CDaR: m.answer.CDaR}
	m.answer.Cycle = a
	scale, err := func() (float64, error) {
		if c == nil || c.Phase == nil || len(c.History) == 0 {
			return 0, portfolio.Shortages{{
				Missing: "stdc", Reason: "no short-term cycle with a phase and its history was given",
			}}
		}
		a.Phase = c.Phase
		if rErr != nil {
			return 0, rErr
		}
		inPhase, err := m.within(c)
		if err != nil {
			return 0, err
		}
		a.Returns = len(inPhase)
		return scenario.PhaseScale(inPhase, r, minPhaseReturns)
	}()
	a.Scale = m.gaps.Field("cycle_adjustment.scale").Number(scale, err)
	if a.Phase == nil {
		m.gaps.Note(err, "cycle_adjustment.phase")
	}
	if rErr != nil {
		m.gaps.Note(rErr, "cycle_adjustment.unadjusted_dar", "cycle_adjustment.unadjusted_cdar")
	}
	if a.Scale == nil {
		if rErr == nil {
			m.warnings = append(m.warnings, "The drawdown at risk is not adjusted to the cycle: insufficient_data says why.")
		}
		return
	}
	scaled := make([]float64, len(r))
	for i, x := range r {
		scaled[i] = math.Max(*a.Scale*x, -1)
	}
	dar, cdar := scenario.DrawdownAtRisk(scaled, m.answer.Confidence)
	a.Applied = true
	m.answer.DaR = m.gaps.Field("dar").Number(dar, nil)
	m.answer.CDaR = m.gaps.Field("cdar").Number(cdar, nil)
}

// within returns the portfolio's realised returns since inception on the days of the present phase: a
// day's phase is the last one dated on or before it.
func (m *darMeasurement) within(c *cycle) ([]float64, error) {
	w, err := m.History.All()
	if err != nil {
		return nil, err
	}
	r, err := m.History.Returns(w)
	if err != nil {
		return nil, err
	}
	var in []float64
	next, phase := 0, ""
	for i, x := range r {
		day := m.History.Days[w.Start+1+i].Format(time.DateOnly)
		for next < len(c.History) && c.History[next].Date <= day {
			phase = c.History[next].Phase
			next++
		}
		if phase == *c.Phase {
			in = append(in, x)
		}
	}
	return in, nil
}

// readCycle reads what is needed of an answer of cycles.compute_short_term, which has more fields.
func readCycle(raw json.RawMessage) (*cycle, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var c cycle
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fault.InvalidField("/args/stdc", "it is no answer of cycles.compute_short_term")
	}
	if len(c.History) > maxPhases {
		return nil, fault.InvalidField("/args/stdc/history", "it has %d entries, more than %d", len(c.History), maxPhases)
	}
	for i, h := range c.History {
		if _, err := time.Parse(time.DateOnly, h.Date); err != nil {
			return nil, fault.InvalidField(fmt.Sprintf("/args/stdc/history/%d/date", i), "%q is not a date such as 2007-04-30", h.Date)
		}
	}
	if !slices.IsSortedFunc(c.History, func(a, b datedPhase) int { return cmp.Compare(a.Date, b.Date) }) {
		return nil, fault.InvalidField("/args/stdc/history", "it is not in order of date")
	}
	return &c, nil
}
