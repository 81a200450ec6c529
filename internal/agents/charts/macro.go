package charts

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// phases are the regimes in the order in which a business cycle goes through them, with their
// colours. A chart shows others behind them.
var phases = []struct{ name, colour string }{
	{"early_expansion", sky},
	{"mid_expansion", blue},
	{"late_expansion", orange},
	{"early_contraction", vermillion},
	{"deep_contraction", purple},
}

// inOrder sorts regimes as phases does; the others follow by name.
func inOrder(names []string) []string {
	place := func(name string) int {
		for i, p := range phases {
			if p.name == name {
				return i
			}
		}
		return len(phases)
	}
	names = slices.Clone(names)
	slices.SortFunc(names, func(a, b string) int {
		if d := place(a) - place(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return slices.Compact(names)
}

// regimeColours maps names, as they are shown, to colours.
func regimeColours(names []string) spec {
	shown, colours := make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		shown[i], colours[i] = words(name), grey
		for _, p := range phases {
			if p.name == name {
				colours[i] = p.colour
			}
		}
	}
	return spec{"field": "regime", "type": "nominal", "title": "Regime", "scale": spec{"domain": shown, "range": colours}}
}

// regime is what is read of macro.detect_regime, and of each entry of macro.get_regime_history.
type regime struct {
	lacks

	Date          string                  `json:"date"`
	Asof          string                  `json:"asof"`
	Regime        *string                 `json:"regime"`
	Confidence    *json.Number            `json:"confidence"`
	Probabilities map[string]*json.Number `json:"probabilities"`
}

func (r regime) names() []string { return inOrder(slices.Collect(maps.Keys(r.Probabilities))) }

func (s *sheet) regime(raw json.RawMessage) {
	const name = "regime"
	var r regime
	if !s.read("regime", raw, &r, name) {
		return
	}
	if r.Regime == nil || len(r.Probabilities) == 0 {
		s.omit(name, "%s", r.why("regime"))
		return
	}
	values := []spec{}
	for _, n := range r.names() {
		if p := r.Probabilities[n]; p != nil {
			values = append(values, spec{"regime": words(n), "probability": *p})
		}
	}
	note := "Probability of each regime"
	if r.Asof != "" {
		note += " on " + r.Asof
	}
	s.add(figure(name, "Regime: "+words(*r.Regime), note,
		fmt.Sprintf("Bars of %d regimes' probabilities; the likeliest is %s.", len(values), words(*r.Regime)), values,
		bars(values, "regime", "probability", "Probability", ".0%", regimeColours(r.names()), hint("regime", "Regime", ""), hint("probability", "Probability", ".1%"))))
}

func (s *sheet) regimes(raw json.RawMessage) {
	charts := []string{"regime_history", "regime_probabilities"}
	var h struct {
		lacks

		History []regime `json:"history"`
	}
	if !s.read("regime_history", raw, &h, charts...) {
		return
	}
	dated := slices.DeleteFunc(h.History, func(r regime) bool { return r.Regime == nil || r.Date == "" })
	if len(dated) == 0 {
		for _, c := range charts {
			s.omit(c, "%s", h.why("history"))
		}
		return
	}
	probabilities := map[string]bool{}
	regimes := make([]string, 0, len(dated))
	for _, r := range dated {
		regimes = append(regimes, *r.Regime)
		for n := range r.Probabilities {
			probabilities[n] = true
		}
	}
	all := inOrder(append(slices.Collect(maps.Keys(probabilities)), regimes...))
	span := fmt.Sprintf("%s to %s", dated[0].Date, dated[len(dated)-1].Date)
	s.regimeStrip(charts[0], dated, all, span)
	s.regimeAreas(charts[1], dated, all, span)
}

// evenly returns at most most places of n, the first and the last among them.
func evenly(n, most int) []int {
	if n <= most {
		most = n
	}
	places := make([]int, most)
	for i := range places {
		places[i] = i
		if most > 1 {
			places[i] = i * (n - 1) / (most - 1)
		}
	}
	return places
}

// regimeStrip shows when which regime was likeliest; a name has its own height, so that colour is
// not what tells them apart.
func (s *sheet) regimeStrip(name string, dated []regime, all []string, span string) {
	values := []spec{}
	for _, i := range evenly(len(dated), maxPoints) {
		values = append(values, spec{"date": dated[i].Date, "regime": words(*dated[i].Regime), "confidence": dated[i].Confidence})
	}
	colours := regimeColours(all)
	colours["legend"] = nil
	y := category("regime")
	y["sort"] = colours["scale"].(spec)["domain"]
	y["scale"] = spec{"domain": colours["scale"].(spec)["domain"]}
	last := dated[len(dated)-1]
	s.add(figure(name, "Regimes", "The likeliest at each date, "+span+"; larger is surer",
		fmt.Sprintf("Marks of the likeliest regime by date, %s; the last is %s.", span, words(*last.Regime)), values,
		spec{
			"mark":   spec{"type": "point", "filled": true, "shape": "square", "opacity": 0.9, "stroke": grey, "strokeWidth": 0.3},
			"height": spec{"step": 26},
			"encoding": spec{
				"x": days(dated[0].Date, last.Date), "y": y, "color": colours,
				"size":    spec{"field": "confidence", "type": "quantitative", "scale": spec{"domain": []int{0, 1}, "range": []int{10, 140}}, "legend": nil},
				"tooltip": []spec{hintDay(), hint("regime", "Regime", ""), hint("confidence", "Confidence", ".1%")},
			},
		}))
}

// regimeAreas shows all probabilities, one above the other.
func (s *sheet) regimeAreas(name string, dated []regime, all []string, span string) {
	last := dated[len(dated)-1]
	if len(dated) == 1 {
		s.omit(name, "one date makes no history")
		return
	}
	values := []spec{}
	for _, i := range evenly(len(dated), maxPoints/max(len(all), 1)) {
		for order, n := range all {
			if p := dated[i].Probabilities[n]; p != nil {
				values = append(values, spec{"date": dated[i].Date, "regime": words(n), "order": order, "probability": *p})
			}
		}
	}
	if len(values) == 0 {
		s.omit(name, "the history has no probabilities")
		return
	}
	y := quantity("probability", "Probability", ".0%")
	y["stack"], y["scale"] = true, spec{"domain": []int{0, 1}}
	s.add(figure(name, "Regime probabilities", span,
		fmt.Sprintf("Stacked areas of %d regimes' probabilities by date, %s.", len(all), span), values,
		spec{
			"mark":   spec{"type": "area", "stroke": grey, "strokeWidth": 0.5},
			"height": 220,
			"encoding": spec{
				"x": days(dated[0].Date, last.Date), "y": y,
				"color":   regimeColours(all),
				"order":   spec{"field": "order", "type": "quantitative"},
				"tooltip": []spec{hintDay(), hint("regime", "Regime", ""), hint("probability", "Probability", ".1%")},
			},
		}))
}

// indicators shows how unusual each macro series is.
func (s *sheet) indicators(raw json.RawMessage) {
	const name = "indicators"
	type indicator struct {
		Name   string       `json:"name"`
		Series string       `json:"series"`
		Z      *json.Number `json:"z"`
		Date   string       `json:"date"`
	}
	var in struct {
		lacks

		Indicators []indicator `json:"indicators"`
	}
	if !s.read("indicators", raw, &in, name) {
		return
	}
	known := slices.DeleteFunc(in.Indicators, func(i indicator) bool { return i.Z == nil })
	if len(known) == 0 {
		s.omit(name, "%s", in.why("indicators"))
		return
	}
	label := func(i indicator) string {
		if i.Series != "" {
			return i.Series
		}
		return i.Name
	}
	shown := largest(known, func(i indicator) json.Number { return *i.Z }, label)
	values := make([]spec, 0, len(shown))
	for _, i := range shown {
		values = append(values, spec{"series": label(i), "z": *i.Z, "date": i.Date})
	}
	s.add(figure(name, "Indicators", "Latest value in standard deviations from its mean"+most(len(shown), len(known)),
		fmt.Sprintf("Bars of %d series' z-scores; the most unusual is %s with %.1f.", len(shown), values[0]["series"], number(values[0]["z"])), values,
		bars(values, "series", "z", "z-score", "+.1f", signed("z"), hint("series", "Series", ""), hint("z", "z-score", "+.2f"), hint("date", "Observed", ""))))
}
