package charts

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// schemaURL names the language of the specifications. Nothing is fetched from there.
const schemaURL = "https://vega.github.io/schema/vega-lite/v6.json"

const (
	// maxPoints is how many days a chart over time shows; of more, some are picked: see pick.
	maxPoints = 2_000
	// maxBars is how many lines a chart of bars shows: the largest.
	maxBars = 30
	// maxLines is how many lines a chart adds up. A chart over some of them would show wrong totals.
	maxLines = 10_000
)

// spec is a part of a specification. Maps are written with their keys sorted, so that the same
// chart has the same bytes.
type spec = map[string]any

// The colours are those of Okabe and Ito, "Color Universal Design" (2008), which people with any
// kind of colour vision can tell apart. Lines and bars take the ones that have a contrast of at
// least 3:1 on white as well as on black (WCAG 2.2, 1.4.11); the paler ones only fill areas that
// have a border.
const (
	blue       = "#0072B2"
	vermillion = "#D55E00"
	green      = "#009E73"
	purple     = "#CC79A7"
	orange     = "#E69F00"
	sky        = "#56B4E9"
	yellow     = "#F0E442"
	// grey is for text and totals: 4.5:1 on white, 4.6:1 on black (WCAG 2.2, 1.4.3).
	grey = "#767676"
)

// categories are the colours of names in their order.
var categories = []string{blue, orange, green, purple, sky, vermillion, yellow, grey}

// config is the same in every chart: no background of its own, text that is legible on light and
// on dark ones.
func config() spec {
	text := spec{"labelColor": grey, "titleColor": grey, "labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal"}
	axis := spec{"domainColor": grey, "tickColor": grey, "gridColor": grey, "gridOpacity": 0.2, "labelLimit": 200, "labelPadding": 6, "labelOverlap": true}
	for k, v := range text {
		axis[k] = v
	}
	return spec{
		"background": "transparent",
		"font":       "system-ui, sans-serif",
		"axis":       axis,
		"legend":     spec{"labelColor": grey, "titleColor": grey, "labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal", "orient": "bottom", "columns": 4},
		"title": spec{
			"anchor": "start", "color": grey, "subtitleColor": grey, "fontSize": 15, "subtitleFontSize": 12,
			"fontWeight": 600, "offset": 12,
		},
		"view": spec{"stroke": nil, "continuousWidth": 640, "continuousHeight": 220},
		"line": spec{"strokeWidth": 2},
		"rule": spec{"color": grey},
		"text": spec{"color": grey, "fontSize": 11},
	}
}

// figure is what all charts have in common; body holds the rest of the specification.
func figure(name, title, subtitle, description string, values []spec, body spec) spec {
	s := spec{
		"$schema": schemaURL, "name": name, "description": description,
		"title":  spec{"text": title, "subtitle": subtitle},
		"data":   spec{"values": values},
		"width":  "container",
		"config": config(),
	}
	for k, v := range body {
		s[k] = v
	}
	return s
}

func (s *sheet) add(f spec) { s.Specs = append(s.Specs, f) }

// days is an axis of days from first to last, labelled as finely as that takes. They are UTC, wherever
// the chart is looked at.
func days(first, last string) spec {
	format := "%b %Y"
	if from, err := time.Parse(time.DateOnly, first); err == nil {
		if to, err := time.Parse(time.DateOnly, last); err == nil {
			switch span := to.Sub(from).Hours() / 24; {
			case span <= 100:
				format = "%d %b %Y"
			case span > 365*4:
				format = "%Y"
			}
		}
	}
	return spec{
		"field": "date", "type": "temporal", "scale": spec{"type": "utc"},
		"axis": spec{"title": nil, "grid": false, "labelOverlap": true, "format": format, "tickCount": 8},
	}
}

// quantity is an axis of numbers, with a format of d3-format.
func quantity(field, title, format string) spec {
	return spec{"field": field, "type": "quantitative", "axis": spec{"title": title, "format": format}}
}

// category is an axis of names in the data's order.
func category(field string) spec {
	return spec{"field": field, "type": "nominal", "sort": nil, "axis": spec{"title": nil, "grid": false, "domain": false, "ticks": false}}
}

// hint is a line of a tooltip.
func hint(field, title, format string) spec {
	h := spec{"field": field, "title": title, "type": "nominal"}
	if format != "" {
		h["type"], h["format"] = "quantitative", format
	}
	return h
}

// hintDay is a tooltip's line with the day.
func hintDay() spec {
	return spec{"field": "date", "title": "Day", "type": "temporal", "timeUnit": "utcyearmonthdate", "format": "%Y-%m-%d"}
}

// zero is a line where a quantity is zero.
func zero(channel string) spec {
	return spec{"mark": spec{"type": "rule", "aria": false}, "encoding": spec{channel: spec{"datum": 0}}}
}

// bars is a horizontal bar and its figure for each of values; colour says what a bar's colour means.
func bars(values []spec, label, field, title, format string, colour spec, hints ...spec) spec {
	x := quantity(field, title, format)
	if slices.ContainsFunc(values, func(v spec) bool { return strings.HasPrefix(v[field].(json.Number).String(), "-") }) {
		x["scale"] = spec{"padding": 48} // room for a figure on the left, where the names are
	}
	return spec{
		"height": spec{"step": 20},
		"encoding": spec{
			"y": category(label), "x": x,
			"tooltip": hints,
		},
		"layer": []spec{
			{"mark": spec{"type": "bar", "stroke": grey, "strokeWidth": 0.5}, "encoding": spec{"color": colour}},
			zero("x"),
			{
				"mark": spec{
					"type": "text", "baseline": "middle", "aria": false,
					"align": spec{"expr": "datum['" + field + "'] < 0 ? 'right' : 'left'"},
					"dx":    spec{"expr": "datum['" + field + "'] < 0 ? -4 : 4"},
				},
				"encoding": spec{"text": spec{"field": field, "type": "quantitative", "format": format}},
			},
		},
	}
}

// signed colours by sign, which the bar's direction and its figure say too.
func signed(field string) spec {
	return spec{"condition": spec{"test": "datum['" + field + "'] < 0", "value": vermillion}, "value": blue}
}

// named colours by name, in the order of names.
func named(field, title string, names, colours []string) spec {
	c := make([]string, len(names))
	for i := range names {
		c[i] = colours[i%len(colours)]
	}
	return spec{"field": field, "type": "nominal", "title": title, "scale": spec{"domain": names, "range": c}}
}

// distinct returns the values of a field, sorted.
func distinct(values []spec, field string) []string {
	var names []string
	for _, v := range values {
		names = append(names, v[field].(string))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// size is a figure's magnitude, by which the largest are picked.
func size(n json.Number) float64 {
	f, _ := n.Float64() // beyond float64 it is infinite, which is large
	return max(f, -f)
}

// largest sorts lines by falling magnitude, then name, and keeps as many as a chart has bars.
func largest[T any](lines []T, magnitude func(T) json.Number, name func(T) string) []T {
	lines = slices.Clone(lines)
	slices.SortStableFunc(lines, func(a, b T) int {
		return cmp.Or(cmp.Compare(size(magnitude(b)), size(magnitude(a))), strings.Compare(name(a), name(b)))
	})
	return lines[:min(len(lines), maxBars)]
}

// pick returns the places of at most most values: all of them, or the first, the last, and of
// equal stretches between the lowest and the highest value each, so that peaks and troughs stay.
// Nothing is averaged. A stretch without values yields its first place.
func pick(values []*json.Number, most int) []int {
	n := len(values)
	if n <= most {
		places := make([]int, n)
		for i := range places {
			places[i] = i
		}
		return places
	}
	at := func(i int) (float64, bool) {
		if values[i] == nil {
			return 0, false
		}
		f, _ := values[i].Float64()
		return f, true
	}
	places := []int{0}
	stretches := (most - 2) / 2
	for s := range stretches {
		from, to := 1+s*(n-2)/stretches, 1+(s+1)*(n-2)/stretches
		low, high := from, from
		for i := from; i < to; i++ {
			v, ok := at(i)
			if !ok {
				continue
			}
			if l, known := at(low); !known || v < l {
				low = i
			}
			if h, known := at(high); !known || v > h {
				high = i
			}
		}
		places = append(places, min(low, high))
		if low != high {
			places = append(places, max(low, high))
		}
	}
	return append(places, n-1)
}

// words makes a name of ours readable: early_expansion is Early expansion.
func words(name string) string {
	name = strings.ReplaceAll(name, "_", " ")
	_, first := utf8.DecodeRuneInString(name)
	return strings.ToUpper(name[:first]) + name[first:]
}
