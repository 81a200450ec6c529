package charts

import (
	"encoding/json"
	"fmt"
)

// exposures is what is read of risk.compute_factor_exposures.
type exposures struct {
	lacks

	Factors []struct {
		Name          string       `json:"name"`
		Beta          *json.Number `json:"beta"`
		StdError      *json.Number `json:"std_error"`
		VarianceShare *json.Number `json:"variance_share"`
	} `json:"factors"`
	RSquared *json.Number `json:"r_squared"`
}

// fit says in a subtitle how much the factors explain.
func (e exposures) fit() string {
	if e.RSquared == nil {
		return ""
	}
	return "; R² " + percent(*e.RSquared)
}

func (s *sheet) betas(raw json.RawMessage) {
	const name = "factor_betas"
	var e exposures
	if !s.read("factor_exposures", raw, &e, name) {
		return
	}
	values := []spec{}
	for _, f := range e.Factors {
		if f.Beta != nil && f.StdError != nil && len(values) < maxBars {
			values = append(values, spec{"factor": f.Name, "beta": *f.Beta, "std_error": *f.StdError})
		}
	}
	if len(values) == 0 {
		s.omit(name, "%s", e.why("factors"))
		return
	}
	s.add(figure(name, "Factor betas", "Regression estimates with 95 % intervals (1.96 standard errors)"+e.fit(),
		fmt.Sprintf("Points of %d factors' betas with intervals; %s has %.2f.", len(values), values[0]["factor"], number(values[0]["beta"])), values,
		spec{
			"transform": []spec{{"calculate": "1.96 * datum.std_error", "as": "interval"}},
			"height":    spec{"step": 28},
			"encoding": spec{
				"y": category("factor"),
			},
			"layer": []spec{
				zero("x"),
				{
					"mark": spec{"type": "errorbar", "ticks": true, "color": blue, "thickness": 1.5},
					"encoding": spec{
						"x":      spec{"field": "beta", "type": "quantitative", "scale": spec{"zero": true}, "axis": spec{"title": "Beta", "format": ".2~f", "tickCount": 8}},
						"xError": spec{"field": "interval"},
					},
				},
				{
					"mark": spec{"type": "point", "filled": true, "size": 70, "color": blue, "opacity": 1},
					"encoding": spec{
						"x":       spec{"field": "beta", "type": "quantitative"},
						"tooltip": []spec{hint("factor", "Factor", ""), hint("beta", "Beta", ".4f"), hint("std_error", "Standard error", ".4f")},
					},
				},
			},
		}))
}

// number is a figure for a description.
func number(v any) float64 {
	n, _ := v.(json.Number)
	f, _ := n.Float64()
	return f
}

func (s *sheet) varianceShares(raw json.RawMessage) {
	const name = "factor_variance"
	var e exposures
	if !s.read("factor_exposures", raw, &e, name) {
		return
	}
	values := []spec{}
	for _, f := range e.Factors {
		if f.VarianceShare != nil && len(values) < maxBars {
			values = append(values, spec{"factor": f.Name, "variance_share": *f.VarianceShare})
		}
	}
	if len(values) == 0 {
		s.omit(name, "%s", e.why("factors"))
		return
	}
	s.add(figure(name, "What the variance comes from", "Share of the portfolio's variance by factor"+e.fit(),
		fmt.Sprintf("Bars of %d factors' shares of variance; %s has %s.", len(values), values[0]["factor"], percent(values[0]["variance_share"])), values,
		bars(values, "factor", "variance_share", "Share of variance", ".1%", signed("variance_share"),
			hint("factor", "Factor", ""), hint("variance_share", "Share of variance", ".2%"))))
}

// scenarioResult is what is read of macro.run_scenario.
type scenarioResult struct {
	lacks

	Name         string       `json:"name"`
	Currency     string       `json:"currency"`
	BaseValue    *json.Number `json:"base_value"`
	ShockedValue *json.Number `json:"shocked_value"`
	Delta        *json.Number `json:"delta"`
	DeltaPct     *json.Number `json:"delta_pct"`
	Positions    []struct {
		Symbol   string       `json:"symbol"`
		Delta    *json.Number `json:"delta"`
		DeltaPct *json.Number `json:"delta_pct"`
	} `json:"positions"`
	Cash []struct {
		Currency string       `json:"currency"`
		Delta    *json.Number `json:"delta"`
		DeltaPct *json.Number `json:"delta_pct"`
	} `json:"cash"`
	Unmapped []struct {
		Symbol string `json:"symbol"`
	} `json:"unmapped"`
}

// title names the scenario; the currency is the run's unless the answer has one.
func (r *scenarioResult) title(s *sheet, what string) string {
	if r.Currency == "" {
		r.Currency = s.currency
	}
	if r.Name == "" {
		return what
	}
	return what + ": " + r.Name
}

func (s *sheet) scenario(raw json.RawMessage) {
	const name = "scenario_value"
	var r scenarioResult
	if !s.read("scenario_result", raw, &r, name) {
		return
	}
	title := r.title(s, "Value under stress")
	values := []spec{}
	for _, part := range []struct {
		field, label, kind string
		value              *json.Number
	}{
		{"base_value", "Today", "part", r.BaseValue},
		{"delta", "Change", "part", r.Delta},
		{"shocked_value", "Shocked", "total", r.ShockedValue},
	} {
		if part.value == nil {
			s.omit(name, "%s", r.why(part.field))
			return
		}
		values = append(values, spec{"part": part.label, "kind": part.kind, "amount": *part.value})
	}
	note := "Market value in " + r.Currency
	if r.DeltaPct != nil {
		note += ", change " + percent(*r.DeltaPct)
	}
	if n := len(r.Unmapped); n > 0 {
		note += fmt.Sprintf("; exposures not shocked: %d", n)
	}
	s.add(figure(name, title, note,
		fmt.Sprintf("Waterfall from %s through a change of %s to %s %s.", *r.BaseValue, *r.Delta, *r.ShockedValue, r.Currency), values,
		steps("part", ",.0f", ",.0f", r.Currency)))
}

func (s *sheet) scenarioLines(raw json.RawMessage) {
	const name = "scenario_deltas"
	var r scenarioResult
	if !s.read("scenario_result", raw, &r, name) {
		return
	}
	title := r.title(s, "Change by line")
	type line struct {
		symbol string
		delta  json.Number
		pct    *json.Number
	}
	var lines []line
	for _, p := range r.Positions {
		if p.Delta != nil {
			lines = append(lines, line{p.Symbol, *p.Delta, p.DeltaPct})
		}
	}
	for _, c := range r.Cash {
		if c.Delta != nil {
			lines = append(lines, line{"Cash " + c.Currency, *c.Delta, c.DeltaPct})
		}
	}
	if len(lines) == 0 {
		s.omit(name, "%s", r.why("positions"))
		return
	}
	shown := largest(lines, func(l line) json.Number { return l.delta }, func(l line) string { return l.symbol })
	values := make([]spec, 0, len(shown))
	for _, l := range shown {
		values = append(values, spec{"symbol": l.symbol, "delta": l.delta, "delta_pct": l.pct})
	}
	s.add(figure(name, title, "Change of market value in "+r.Currency+most(len(shown), len(lines)),
		fmt.Sprintf("Bars of %d lines' changes; the largest is %s with %s %s.", len(shown), shown[0].symbol, shown[0].delta, r.Currency), values,
		bars(values, "symbol", "delta", "Change, "+r.Currency, ",.0f", signed("delta"),
			hint("symbol", "Line", ""), hint("delta", "Change, "+r.Currency, ",.2f"), hint("delta_pct", "Change of the line", ".2%"))))
}

// drawdownAtRisk shows the quantile of drawdowns and the mean of those beyond.
func (s *sheet) drawdownAtRisk(raw json.RawMessage) {
	const name = "drawdown_at_risk"
	var d struct {
		lacks

		Confidence *json.Number `json:"confidence"`
		DaR        *json.Number `json:"dar"`
		CDaR       *json.Number `json:"cdar"`
	}
	if !s.read("dar", raw, &d, name) {
		return
	}
	values := []spec{}
	for _, m := range []struct {
		field, label string
		value        *json.Number
	}{{"dar", "Drawdown at risk", d.DaR}, {"cdar", "Mean beyond it", d.CDaR}} {
		if m.value == nil {
			s.omit(name, "%s", d.why(m.field))
			return
		}
		values = append(values, spec{"measure": m.label, "drawdown": *m.value})
	}
	note := "Of the window's drawdowns"
	if d.Confidence != nil {
		note += ", at a confidence of " + percent(*d.Confidence)
	}
	s.add(figure(name, "Drawdown at risk", note,
		fmt.Sprintf("Bars of the drawdown at risk, %s, and the mean drawdown beyond it, %s.", percent(*d.DaR), percent(*d.CDaR)), values,
		bars(values, "measure", "drawdown", "Drawdown", ".1%", spec{"value": vermillion}, hint("measure", "Measure", ""), hint("drawdown", "Drawdown", ".2%"))))
}
