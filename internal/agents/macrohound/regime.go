package macrohound

import (
	"context"
	"fmt"
	"time"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/macro"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// regime is the answer of macro.detect_regime.
type regime struct {
	Regime *string `json:"regime"`
	told

	Inputs       []input                   `json:"inputs"`
	Asof         string                    `json:"asof"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

func (h *Hound) detectRegime(ctx context.Context, req agent.Request) (agent.Result, error) {
	asof, err := readAsof(req)
	if err != nil {
		return agent.Result{}, err
	}
	model := h.config.Regimes
	d, err := h.detector(ctx, req.Context, model, asof)
	if err != nil {
		return agent.Result{}, err
	}
	r, gaps := d.At(asof), capability.NewGaps()
	answer := regime{told: tell(model, r), Asof: text(asof)}
	answer.Regime = answer.Name
	untold(r, gaps, "regime", "label", "confidence", "probabilities")
	inputs, warnings := measured(model, r, gaps)
	if gaps.Err() != nil {
		return agent.Result{}, gaps.Err()
	}
	answer.Inputs, answer.Insufficient = inputs, gaps.List
	u := configured(h.config.RegimesSource, h.config.MacroSource)
	u.readings(r)
	return agent.Result{Value: answer, Sources: u.sources(), Warnings: warnings}, nil
}

// datedRegime is one entry of macro.get_regime_history.
type datedRegime struct {
	Date   string  `json:"date"`
	Regime *string `json:"regime"`
	told
}

type regimeHistory struct {
	History      []datedRegime             `json:"history"`
	Asof         string                    `json:"asof"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

func (h *Hound) regimeHistory(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		Weeks *int    `json:"lookback_weeks"`
		Asof  *string `json:"asof"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	asof, err := asofOf(req, args.Asof)
	if err != nil {
		return agent.Result{}, err
	}
	weeks, err := capability.Weeks(args.Weeks)
	if err != nil {
		return agent.Result{}, err
	}
	model := h.config.Regimes
	d, err := h.detector(ctx, req.Context, model, asof.AddDate(0, 0, -7*weeks))
	if err != nil {
		return agent.Result{}, err
	}
	answer := regimeHistory{Asof: text(asof), History: make([]datedRegime, 0, weeks+1)}
	gaps, missing, u := capability.NewGaps(), gapsOf{}, configured(h.config.RegimesSource, h.config.MacroSource)
	proxies := proxies{}
	for i := range weeks + 1 {
		r := d.At(asof.AddDate(0, 0, -7*(weeks-i)))
		entry := datedRegime{Date: text(r.Asof), told: tell(model, r)}
		entry.Regime = entry.Name
		answer.History = append(answer.History, entry)
		untold(r, gaps, fmt.Sprintf("history[%d].regime", i))
		missing.note(r, gaps, "history")
		u.readings(r)
		proxies.note(r)
	}
	if gaps.Err() != nil {
		return agent.Result{}, gaps.Err()
	}
	answer.Insufficient = gaps.List
	return agent.Result{Value: answer, Sources: u.sources(), Warnings: proxies.warnings}, nil
}

// proxies warns of each input that something else stood in for, once.
type proxies struct {
	seen     map[string]bool
	warnings []string
}

func (p *proxies) note(r macro.Reading) {
	for _, in := range r.Inputs {
		key := in.Input + in.Candidate.String()
		if in.Candidate.Proxy == "" || p.seen[key] {
			continue
		}
		if p.seen == nil {
			p.seen = map[string]bool{}
		}
		p.seen[key] = true
		p.warnings = append(p.warnings, proxyWarning(in))
	}
}

func proxyWarning(in macro.Measured) string {
	return fmt.Sprintf("The input %s is %s: %s.", in.Input, in.Candidate, in.Candidate.Proxy)
}

// indicator is one series as macro.get_indicators shows it.
type indicator struct {
	Series    string   `json:"series"`
	Unit      string   `json:"unit"`
	Frequency string   `json:"frequency"`
	Value     float64  `json:"value"`
	Date      string   `json:"date"`
	KnownOn   string   `json:"known_on"`
	Change1Y  *float64 `json:"change_1y"` // in the series' unit
	Z         *float64 `json:"z"`
}

type indicators struct {
	Indicators   []indicator               `json:"indicators"`
	Omitted      int                       `json:"omitted"` // series beyond the most that are shown
	Asof         string                    `json:"asof"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

// maxIndicators bounds what one answer shows and reads.
const maxIndicators = 200

func (h *Hound) indicators(ctx context.Context, req agent.Request) (agent.Result, error) {
	asof, err := readAsof(req)
	if err != nil {
		return agent.Result{}, err
	}
	// Series that ended long ago are shown too, with the date they ended on.
	panel, omitted, err := h.panel(ctx, req.Context, nil, beginning, maxIndicators)
	if err != nil {
		return agent.Result{}, err
	}
	answer := indicators{Indicators: []indicator{}, Omitted: omitted, Asof: text(asof)}
	gaps, u := capability.NewGaps(), configured(h.config.MacroSource)
	for _, name := range sortedKeys(panel) {
		in, there := h.config.Settings.Indicator(panel[name], asof)
		if !there {
			continue
		}
		at := fmt.Sprintf("indicators[%d]", len(answer.Indicators))
		answer.Indicators = append(answer.Indicators, indicator{
			Series: in.Name, Unit: in.Unit, Frequency: string(in.Frequency), Value: in.Value,
			Date: text(in.Date), KnownOn: text(in.KnownOn),
			Change1Y: gaps.Field(at+".change_1y").Number(in.Change1Y, in.ChangeErr),
			Z:        gaps.Field(at+".z").Number(in.Z, in.ZErr),
		})
		u.series(name, in.Date)
	}
	if len(answer.Indicators) == 0 {
		gaps.Note(noSeries(asof), "indicators")
	}
	if gaps.Err() != nil {
		return agent.Result{}, gaps.Err()
	}
	answer.Insufficient = gaps.List
	var warnings []string
	if omitted > 0 {
		warnings = append(warnings, fmt.Sprintf("The first %d series by name are shown, %d are not.", maxIndicators, omitted))
	}
	return agent.Result{Value: answer, Sources: u.sources(), Warnings: warnings}, nil
}

func noSeries(asof time.Time) error {
	return portfolio.Short("macro", "no macro series had a value that was known on %s", text(asof))
}
