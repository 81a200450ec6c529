package charts

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/dawsos/dawsos/internal/fault"
)

// history is what is read of metrics.history: one value a day, null where there is none.
type history struct {
	lacks

	Currency        string         `json:"currency"`
	Days            []string       `json:"days"`
	NAV             []*json.Number `json:"nav"`
	Index           []*json.Number `json:"index"`
	Drawdown        []*json.Number `json:"drawdown"`
	Benchmark       []*json.Number `json:"benchmark"`
	BenchmarkSymbol *string        `json:"benchmark_symbol"`
}

func (s *sheet) history(raw json.RawMessage) {
	var h history
	if !s.read("history", raw, &h, "nav", "growth", "drawdown") {
		return
	}
	for _, series := range []struct {
		field  string
		values []*json.Number
	}{{"nav", h.NAV}, {"index", h.Index}, {"drawdown", h.Drawdown}, {"benchmark", h.Benchmark}} {
		if n := len(series.values); n > 0 && n != len(h.Days) {
			s.err = fault.InvalidField("/args/history/"+series.field, "has %d values for %d days", n, len(h.Days))
			return
		}
	}
	s.series(h, "nav", "Net asset value", h.NAV, func(span string, last spec) spec {
		return figure("nav", "Net asset value", h.Currency+", "+span,
			fmt.Sprintf("Line of the net asset value in %s, %s; %.2f at the end.", h.Currency, span, number(last["nav"])), nil,
			spec{
				"mark": spec{"type": "line", "color": blue, "point": len(h.Days) == 1},
				"encoding": spec{
					"x": days(h.Days[0], h.Days[len(h.Days)-1]), "y": zoomed(quantity("nav", h.Currency, ",.0f")),
					"tooltip": []spec{hintDay(), hint("nav", "Net asset value", ",.2f")},
				},
			})
	})
	s.growth(h)
	s.series(h, "drawdown", "Drawdown", h.Drawdown, func(span string, last spec) spec {
		y := quantity("drawdown", "Drawdown", ".1%")
		y["scale"] = spec{"reverse": true, "zero": true}
		return figure("drawdown", "Drawdown", "Loss since the highest value so far, "+span,
			fmt.Sprintf("Area of the drawdown, %s, deeper is lower; %s at the end.", span, percent(last["drawdown"])), nil,
			spec{
				"mark":   spec{"type": "area", "color": vermillion, "fillOpacity": 0.3, "line": spec{"color": vermillion, "strokeWidth": 1.5}},
				"height": 140,
				"encoding": spec{
					"x": days(h.Days[0], h.Days[len(h.Days)-1]), "y": y,
					"tooltip": []spec{hintDay(), hint("drawdown", "Drawdown", ".2%")},
				},
			})
	})
}

// zoomed is an axis that need not start at zero: what counts in a line is its slope.
func zoomed(axis spec) spec {
	axis["scale"] = spec{"zero": false}
	return axis
}

// growth shows what one unit became, in the portfolio and in its benchmark.
func (s *sheet) growth(h history) {
	const name = "growth"
	if len(h.Index) == 0 {
		s.omit(name, "%s", h.why("index"))
		return
	}
	lines := []struct {
		name   string
		values []*json.Number
	}{{"Portfolio", h.Index}}
	if len(h.Benchmark) > 0 {
		benchmark := "Benchmark"
		if h.BenchmarkSymbol != nil {
			benchmark += " " + *h.BenchmarkSymbol
		}
		lines = append(lines, struct {
			name   string
			values []*json.Number
		}{benchmark, h.Benchmark})
	}
	values, names := []spec{}, []string{}
	for _, l := range lines {
		names = append(names, l.name)
		for _, i := range pick(l.values, maxPoints/len(lines)) {
			values = append(values, spec{"date": h.Days[i], "line": l.name, "level": l.values[i]})
		}
	}
	first, last := h.Days[0], h.Days[len(h.Days)-1]
	note := first + " to " + last
	if shown := maxPoints / len(lines); len(h.Days) > shown {
		note += fmt.Sprintf(", %d of %d days", shown, len(h.Days))
	}
	s.add(figure(name, "Growth of 1", "Without deposits and withdrawals, in "+h.Currency+", "+note,
		fmt.Sprintf("Lines of what one %s became, %s: %s.", h.Currency, note, strings.Join(names, " and ")), values,
		spec{
			"mark": spec{"type": "line", "point": len(h.Days) == 1},
			"encoding": spec{
				"x": days(first, last), "y": zoomed(quantity("level", "Growth of 1", ".2f")),
				"color":      named("line", "Line", names, []string{blue, vermillion}),
				"strokeDash": spec{"field": "line", "type": "nominal", "scale": spec{"domain": names, "range": [][]int{{1, 0}, {6, 3}}[:len(names)]}},
				"tooltip":    []spec{hintDay(), hint("line", "Line", ""), hint("level", "Growth of 1", ".4f")},
			},
		}))
}

// series adds a chart over time, made by draw for a span of days and the last value.
func (s *sheet) series(h history, field, title string, values []*json.Number, draw func(span string, last spec) spec) {
	points := []spec{}
	known := -1
	for _, i := range pick(values, maxPoints) {
		point := spec{"date": h.Days[i], field: nil}
		if values[i] != nil {
			point[field], known = *values[i], len(points)
		}
		points = append(points, point)
	}
	if known < 0 {
		s.omit(field, "%s: %s", title, h.why(field))
		return
	}
	span := fmt.Sprintf("%s to %s", h.Days[0], h.Days[len(h.Days)-1])
	if len(points) < len(values) {
		span += fmt.Sprintf(", %d of %d days", len(points), len(values))
	}
	f := draw(span, points[known])
	f["data"] = spec{"values": points}
	s.add(f)
}

// percent writes a fraction for people. It is for descriptions, which screen readers read aloud.
func percent(v any) string {
	n, ok := v.(json.Number)
	if !ok {
		return "unknown"
	}
	f, err := n.Float64()
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%.2f %%", 100*f)
}

// valued is what is read of pricing.apply_pack.
type valued struct {
	lacks

	Asof      string       `json:"asof"`
	Currency  string       `json:"currency"`
	Positions []valuedLine `json:"positions"`
	Cash      []valuedLine `json:"cash"`
	Unpriced  []struct {
		Symbol string `json:"symbol"`
	} `json:"unpriced"`
}

type valuedLine struct {
	Symbol      string       `json:"symbol"`
	Name        string       `json:"name"`
	AssetClass  string       `json:"asset_class"`
	Currency    string       `json:"currency"`
	MarketValue *json.Number `json:"market_value"`
	Weight      *json.Number `json:"weight"`
}

// lines returns those that have a weight, cash named as such.
func (v valued) lines() []valuedLine {
	lines := make([]valuedLine, 0, len(v.Positions)+len(v.Cash))
	for _, p := range v.Positions {
		if p.AssetClass == "" {
			p.AssetClass = "other"
		}
		lines = append(lines, p)
	}
	for _, c := range v.Cash {
		c.Symbol, c.Name, c.AssetClass = "Cash "+c.Currency, "Cash in "+c.Currency, "cash"
		lines = append(lines, c)
	}
	return slices.DeleteFunc(lines, func(l valuedLine) bool { return l.Weight == nil })
}

// note says in a subtitle what a chart of holdings does not show.
func (v valued) note() string {
	note := "Share of net asset value"
	if v.Asof != "" {
		note += " on " + v.Asof
	}
	if n := len(v.Unpriced); n > 0 {
		note += fmt.Sprintf("; lines without a price: %d", n)
	}
	return note
}

func (s *sheet) allocation(raw json.RawMessage) {
	const name = "allocation"
	var v valued
	if !s.read("valued_positions", raw, &v, name) {
		return
	}
	all := v.lines()
	if len(all) == 0 {
		s.omit(name, "%s", v.why("positions"))
		return
	}
	shown := largest(all, func(l valuedLine) json.Number { return *l.Weight }, func(l valuedLine) string { return l.Symbol })
	values := make([]spec, 0, len(shown))
	for _, l := range shown {
		values = append(values, spec{
			"symbol": l.Symbol, "name": l.Name, "asset_class": words(l.AssetClass), "currency": l.Currency,
			"weight": *l.Weight, "market_value": l.MarketValue,
		})
	}
	first := shown[0]
	s.add(figure(name, "Allocation", v.note()+most(len(shown), len(all)),
		fmt.Sprintf("Bars of %d lines by weight; the largest is %s with %s.", len(shown), first.Symbol, percent(*first.Weight)), values,
		bars(values, "symbol", "weight", "Weight", ".1%", named("asset_class", "Asset class", distinct(values, "asset_class"), categories),
			hint("name", "Name", ""), hint("asset_class", "Asset class", ""), hint("currency", "Currency", ""),
			hint("weight", "Weight", ".2%"), hint("market_value", "Market value, "+v.Currency, ",.2f"))))
}

func most(shown, all int) string {
	if shown == all {
		return ""
	}
	return fmt.Sprintf("; the %d largest of %d", shown, all)
}

// grouping is a property by which weights are added up.
type grouping struct {
	chart, title, field string
	of                  func(valuedLine) string
}

var (
	currencies   = grouping{"allocation_by_currency", "Allocation by currency", "currency", func(l valuedLine) string { return l.Currency }}
	assetClasses = grouping{"allocation_by_asset_class", "Allocation by asset class", "asset_class", func(l valuedLine) string { return words(l.AssetClass) }}
)

// allocationBy shows a group's weights side by side in one bar, whose length is their sum.
func (s *sheet) allocationBy(raw json.RawMessage, by grouping) {
	var v valued
	if !s.read("valued_positions", raw, &v, by.chart) {
		return
	}
	lines := v.lines()
	switch {
	case len(lines) == 0:
		s.omit(by.chart, "%s", v.why("positions"))
		return
	case len(lines) > maxLines:
		s.omit(by.chart, "%d lines are more than the %d that a chart adds up", len(lines), maxLines)
		return
	}
	values := make([]spec, 0, len(lines))
	for _, l := range lines {
		values = append(values, spec{by.field: by.of(l), "weight": *l.Weight})
	}
	groups := distinct(values, by.field)
	y := category(by.field)
	y["sort"] = "-x"
	x := quantity("weight", "Weight", ".0%")
	x["aggregate"] = "sum"
	total := hint("weight", "Weight", ".2%")
	total["aggregate"] = "sum"
	s.add(figure(by.chart, by.title, v.note(),
		fmt.Sprintf("Bars of the weights, one for each of %s.", strings.Join(groups, ", ")), values,
		spec{
			"height": spec{"step": 24},
			"encoding": spec{
				"y": y, "x": x, "tooltip": []spec{hint(by.field, words(by.field), ""), total},
			},
			"layer": []spec{
				{"mark": spec{"type": "bar", "color": blue}},
				{
					"mark":     spec{"type": "text", "align": "left", "baseline": "middle", "dx": 4, "aria": false},
					"encoding": spec{"text": spec{"aggregate": "sum", "field": "weight", "type": "quantitative", "format": ".1%"}},
				},
			},
		}))
}

// attribution is what is read of attribution.currency.
type attribution struct {
	lacks

	TotalReturn *json.Number `json:"total_return"`
	LocalReturn *json.Number `json:"local_return"`
	FXReturn    *json.Number `json:"fx_return"`
	Interaction *json.Number `json:"interaction"`
	Costs       *json.Number `json:"costs"`
	Positions   []struct {
		Symbol      string       `json:"symbol"`
		Local       *json.Number `json:"local"`
		FX          *json.Number `json:"fx"`
		Interaction *json.Number `json:"interaction"`
	} `json:"positions"`
	Window *struct {
		Start string `json:"start"`
		End   string `json:"end"`
	} `json:"window"`
}

func (a attribution) span() string {
	if a.Window == nil {
		return "Parts of the return"
	}
	return "Parts of the return, " + a.Window.Start + " to " + a.Window.End
}

func (s *sheet) waterfall(raw json.RawMessage) {
	const name = "attribution_waterfall"
	var a attribution
	if !s.read("currency_attr", raw, &a, name) {
		return
	}
	values := []spec{}
	var told []string
	for _, part := range []struct {
		field, label, kind string
		value              *json.Number
	}{
		{"local_return", "Local markets", "part", a.LocalReturn},
		{"fx_return", "Currencies", "part", a.FXReturn},
		{"interaction", "Interaction", "part", a.Interaction},
		{"costs", "Costs", "part", a.Costs},
		{"total_return", "Total return", "total", a.TotalReturn},
	} {
		if part.value == nil {
			s.omit(name, "%s", a.why(part.field))
			return
		}
		values = append(values, spec{"part": part.label, "kind": part.kind, "amount": *part.value})
		told = append(told, part.label+" "+percent(*part.value))
	}
	s.add(figure(name, "Where the return came from", a.span(), "Waterfall of the return: "+strings.Join(told, ", ")+".", values,
		steps("part", ".1%", ".2%", "Return")))
}

// steps is a waterfall over values with amount and kind: parts stand on what is before them, a total
// on zero. Where they stand is worked out by the renderer.
func steps(label, axisFormat, labelFormat, title string) spec {
	return spec{
		"transform": []spec{
			{"calculate": "datum.kind === 'total' ? 0 : datum.amount", "as": "step"},
			{"window": []spec{{"op": "sum", "field": "step", "as": "sum"}}, "frame": []any{nil, 0}},
			{"calculate": "datum.kind === 'total' ? 0 : datum.sum - datum.step", "as": "from"},
			{"calculate": "datum.kind === 'total' ? datum.amount : datum.sum", "as": "to"},
			{"calculate": "max(datum.from, datum.to)", "as": "top"},
		},
		"height": 260,
		"encoding": spec{
			"x": spec{"field": label, "type": "nominal", "sort": nil, "axis": spec{"title": nil, "labelAngle": 0, "ticks": false}},
			"tooltip": []spec{
				hint(label, "Part", ""), hint("amount", title, labelFormat),
			},
		},
		"layer": []spec{
			{
				"mark": spec{"type": "bar", "size": 46},
				"encoding": spec{
					"y": quantity("from", title, axisFormat), "y2": spec{"field": "to"},
					"color": spec{"condition": []spec{
						{"test": "datum.kind === 'total'", "value": grey}, {"test": "datum.amount < 0", "value": vermillion},
					}, "value": blue},
				},
			},
			zero("y"),
			{
				"mark":     spec{"type": "text", "baseline": "bottom", "dy": -4, "aria": false},
				"encoding": spec{"y": spec{"field": "top", "type": "quantitative"}, "text": spec{"field": "amount", "type": "quantitative", "format": labelFormat}},
			},
		},
	}
}

func (s *sheet) attributionLines(raw json.RawMessage) {
	const name = "attribution_by_line"
	var a attribution
	if !s.read("currency_attr", raw, &a, name) {
		return
	}
	type line struct {
		symbol string
		parts  [3]json.Number
	}
	var lines []line
	for _, p := range a.Positions {
		if p.Local != nil && p.FX != nil && p.Interaction != nil {
			lines = append(lines, line{p.Symbol, [3]json.Number{*p.Local, *p.FX, *p.Interaction}})
		}
	}
	if len(lines) == 0 {
		s.omit(name, "%s", a.why("positions"))
		return
	}
	shown := largest(lines, func(l line) json.Number {
		big := l.parts[0]
		for _, p := range l.parts[1:] {
			if size(p) > size(big) {
				big = p
			}
		}
		return big
	}, func(l line) string { return l.symbol })
	parts := []string{"Local", "Currency", "Interaction"}
	values := make([]spec, 0, len(shown)*len(parts))
	for _, l := range shown {
		for i, part := range parts {
			values = append(values, spec{"symbol": l.symbol, "part": part, "order": i, "contribution": l.parts[i]})
		}
	}
	s.add(figure(name, "Contributions by line", a.span()+most(len(shown), len(lines)),
		fmt.Sprintf("Bars of the local, currency and interaction parts of %d lines; the line with the largest part is %s.", len(shown), shown[0].symbol), values,
		spec{
			"height": spec{"step": 20},
			"encoding": spec{
				"y": category("symbol"), "x": quantity("contribution", "Contribution to the return", ".1%"),
				"tooltip": []spec{hint("symbol", "Line", ""), hint("part", "Part", ""), hint("contribution", "Contribution", ".2%")},
			},
			"layer": []spec{
				{
					"mark": spec{"type": "bar", "stroke": grey, "strokeWidth": 0.5},
					"encoding": spec{
						"color": named("part", "Part", parts, []string{blue, orange, green}),
						"order": spec{"field": "order", "type": "quantitative"},
					},
				},
				zero("x"),
			},
		}))
}
