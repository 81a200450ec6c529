package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
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
	if err := capability.DecodeForPack(req, &args, &args.PackID); err != nil {
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
	phases, err := capability.ReadCycle("stdc", args.Cycle)
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
func (m *darMeasurement) adjust(r []float64, rErr error, c *capability.Cycle) {
	a := &cycleAdjustment{DaR: m.answer.DaR, CDaR: m.answer.CDaR}
	m.answer.Cycle = a
	scale, err := func() (float64, error) {
		if c == nil || c.Phase == nil || len(c.History) == 0 {
			return 0, portfolio.Short("stdc", "no short-term cycle with a phase and its history was given")
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

// within returns the portfolio's realised returns since inception on the days of the present phase.
func (m *darMeasurement) within(c *capability.Cycle) ([]float64, error) {
	w, err := m.History.All()
	if err != nil {
		return nil, err
	}
	r, err := m.History.Returns(w)
	if err != nil {
		return nil, err
	}
	var in []float64
	for i, x := range r {
		if phase, ok := c.At(m.History.Days[w.Start+1+i]); ok && phase == *c.Phase {
			in = append(in, x)
		}
	}
	return in, nil
}
