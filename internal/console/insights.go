package console

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/runs"
)

// Insights sums up recorded runs.
type Insights interface {
	// Insights sums up those of the time just past: span, in parts of length.
	Insights(ctx context.Context, tenantID string, span, length time.Duration) (runs.Insights, error)
}

const insightsPath = "/console/insights"

func (c *Console) insightRoutes() []Route {
	return []Route{{Method: http.MethodGet, Path: insightsPath, Handler: c.insights}}
}

// insightSpan is a period to look at, and the length of the parts that its chart has.
type insightSpan struct {
	Name, Text string
	labels     string // of the chart's times, a format of d3-time-format
	span, part time.Duration
}

var insightSpans = []insightSpan{
	{"hour", "last hour", "%H:%M", time.Hour, time.Minute},
	{"day", "last day", "%H:%M", 24 * time.Hour, 30 * time.Minute},
	{"week", "last week", "%d %b", 7 * 24 * time.Hour, 3 * time.Hour},
}

const defaultSpan = "day"

// insightPattern is a pattern's line.
type insightPattern struct {
	runs.PatternFigures
	Name         string
	All, Errors  string // addresses of the runs counted
	Steps, Known int    // calls of steps that were not skipped, and those of them whose result was there already
	CacheRuns    string // address of the runs whose steps were counted
}

// CacheShare is the part of step calls whose result was there already; Steps is not 0.
func (p insightPattern) CacheShare() float64 { return float64(p.Known) / float64(p.Steps) }

// insightStep is a step's line.
type insightStep struct {
	runs.StepFigures
	Name string
	Runs string // address of the runs whose calls are counted
}

// Share is the part of a step's calls that n are.
func (s insightStep) Share(n int) float64 { return float64(n) / float64(s.Calls) }

// insights shows how fast patterns and steps were. It is not live: its period moves with every minute.
func (c *Console) insights(w http.ResponseWriter, r *http.Request) error {
	given := cmp.Or(r.URL.Query().Get("span"), defaultSpan)
	at := slices.IndexFunc(insightSpans, func(s insightSpan) bool { return s.Name == given })
	if at < 0 {
		return fault.InvalidField("/query/span", "must be hour, day or week")
	}
	chosen := insightSpans[at]
	found, err := c.Insights.Insights(r.Context(), auth.Tenant(r.Context()), chosen.span, chosen.part)
	if err != nil {
		return err
	}
	byPattern := c.insightPatterns(found)
	data := map[string]any{
		"Found": found, "Span": chosen, "Spans": insightSpans, "Patterns": byPattern, "Steps": c.insightSteps(found),
		"All": listOf("", "", found.Of.Since, found.Until), "StepRuns": listOf("", "", found.StepsOf.Since, found.Until),
		"Slowest": found.Slowest, "Names": c.patternNames(found),
	}
	if len(found.Periods) > 0 {
		data["OverTime"] = durationsOverTime(found, chosen)
		data["ByPattern"] = durationsByPattern(byPattern)
	}
	return c.render(w, r, http.StatusOK, "insights", insightsPath, "Insights", data)
}

// listOf is the address of the list of runs that a number counts.
func listOf(patternID string, outcome runs.Outcome, since, until time.Time) string {
	q := url.Values{"since": {minute(since)}, "until": {minute(until)}}
	if patternID != "" {
		q.Set("pattern_id", patternID)
	}
	if outcome != "" {
		q.Set("outcome", string(outcome))
	}
	return address(runsPath, q)
}

func (c *Console) patternNames(found runs.Insights) map[string]string {
	names := map[string]string{}
	for _, p := range found.Patterns {
		names[p.PatternID] = c.patternName(p.PatternID)
	}
	return names
}

// insightPatterns puts the slowest first.
func (c *Console) insightPatterns(found runs.Insights) []insightPattern {
	list := make([]insightPattern, len(found.Patterns))
	for i, p := range found.Patterns {
		line := insightPattern{
			PatternFigures: p, Name: c.patternName(p.PatternID),
			All:       listOf(p.PatternID, "", found.Of.Since, found.Until),
			Errors:    listOf(p.PatternID, runs.Error, found.Of.Since, found.Until),
			CacheRuns: listOf(p.PatternID, "", found.StepsOf.Since, found.Until),
		}
		for _, s := range found.Steps {
			if s.PatternID == p.PatternID {
				line.Steps += s.Calls - s.Skipped
				line.Known += s.Cached
			}
		}
		list[i] = line
	}
	slices.SortStableFunc(list, func(a, b insightPattern) int {
		return cmp.Or(cmp.Compare(b.Took.P95, a.Took.P95), strings.Compare(a.PatternID, b.PatternID))
	})
	return list
}

// mostSteps is how many steps the page shows, the slowest.
const mostSteps = 50

// insightSteps puts the slowest first; those that never did any work come last.
func (c *Console) insightSteps(found runs.Insights) []insightStep {
	list := make([]insightStep, len(found.Steps))
	for i, s := range found.Steps {
		list[i] = insightStep{s, c.patternName(s.PatternID), listOf(s.PatternID, "", found.StepsOf.Since, found.Until)}
	}
	p95 := func(s insightStep) time.Duration {
		if s.Took == nil {
			return -1
		}
		return s.Took.P95
	}
	slices.SortStableFunc(list, func(a, b insightStep) int { return cmp.Compare(p95(b), p95(a)) })
	return list[:min(len(list), mostSteps)]
}

// The colours are of Okabe and Ito, as in the patterns' charts: 3:1 on white and on black.
const (
	medianColour = "#0072B2"
	p95Colour    = "#D55E00"
)

type chartSpec = map[string]any

func chartConfig() chartSpec {
	return chartSpec{
		"background": "transparent", "font": "system-ui, sans-serif", "view": chartSpec{"stroke": nil}, "legend": chartSpec{"orient": "bottom"},
		"axis": chartSpec{"gridOpacity": 0.2}, "title": chartSpec{"anchor": "start", "fontSize": 15, "fontWeight": 600, "offset": 12},
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// measures tells the two measures apart by colour and shape.
func measures(extra chartSpec) chartSpec {
	domain := []string{"median", "95th percentile"}
	encoding := chartSpec{
		"color": chartSpec{"field": "measure", "type": "nominal", "title": nil, "scale": chartSpec{"domain": domain, "range": []string{medianColour, p95Colour}}},
		"shape": chartSpec{"field": "measure", "type": "nominal", "title": nil, "scale": chartSpec{"domain": domain, "range": []string{"circle", "triangle-up"}}},
		"tooltip": []chartSpec{
			{"field": "measure", "type": "nominal"}, {"field": "ms", "type": "quantitative", "title": "Milliseconds", "format": ",.3~g"},
		},
	}
	for k, v := range extra {
		encoding[k] = v
	}
	return encoding
}

func durationsOverTime(found runs.Insights, chosen insightSpan) chartSpec {
	var values []chartSpec
	for _, p := range found.Periods {
		began := p.Began.Format(time.RFC3339)
		values = append(values,
			chartSpec{"began": began, "measure": "median", "ms": milliseconds(p.Took.Median), "runs": p.Runs},
			chartSpec{"began": began, "measure": "95th percentile", "ms": milliseconds(p.Took.P95), "runs": p.Runs})
	}
	return chartSpec{
		"$schema": vegaLite, "name": "run-durations-over-time",
		"description": "How long runs took in the " + chosen.Text + ", by when they started, in parts of " + duration(chosen.part) + ". Logarithmic; a part in which nothing ran has no point.",
		"title":       "Duration of runs over time", "data": chartSpec{"values": values}, "width": "container", "height": 220, "config": chartConfig(),
		"mark": chartSpec{"type": "line", "point": true},
		"encoding": measures(chartSpec{
			"x": chartSpec{
				"field": "began", "type": "temporal", "scale": chartSpec{"type": "utc", "domain": []string{found.Since.Format(time.RFC3339), found.Until.Format(time.RFC3339)}},
				"axis": chartSpec{"title": "Started, UTC", "grid": false, "labelOverlap": true, "format": chosen.labels},
			},
			"y": chartSpec{"field": "ms", "type": "quantitative", "scale": chartSpec{"type": "symlog"}, "axis": chartSpec{"title": "Milliseconds", "format": ",.3~g", "tickCount": 6}},
		}),
	}
}

// vegaLite names the language; nothing is fetched from there.
const vegaLite = "https://vega.github.io/schema/vega-lite/v6.json"

// mostBars is how many patterns the chart shows, the slowest.
const mostBars = 20

func durationsByPattern(list []insightPattern) chartSpec {
	var values []chartSpec
	var names []string
	for _, p := range list[:min(len(list), mostBars)] {
		names = append(names, p.Name)
		values = append(values,
			chartSpec{"pattern": p.Name, "measure": "median", "ms": milliseconds(p.Took.Median)},
			chartSpec{"pattern": p.Name, "measure": "95th percentile", "ms": milliseconds(p.Took.P95)})
	}
	return chartSpec{
		"$schema": vegaLite, "name": "run-durations-by-pattern",
		"description": "How long the runs of each pattern took, the slowest first.",
		"title":       "Duration of runs by pattern", "data": chartSpec{"values": values}, "width": "container", "height": chartSpec{"step": 24}, "config": chartConfig(),
		"mark": chartSpec{"type": "point", "filled": true, "size": 90, "opacity": 1},
		"encoding": measures(chartSpec{
			"y": chartSpec{"field": "pattern", "type": "nominal", "sort": names, "axis": chartSpec{"title": nil, "grid": true, "labelLimit": 220}},
			"x": chartSpec{"field": "ms", "type": "quantitative", "axis": chartSpec{"title": "Milliseconds", "format": ",.3~g"}},
		}),
	}
}
