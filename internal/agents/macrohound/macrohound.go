// Package macrohound is the agent macro_hound: it reads macroeconomic series through a pricing pack and
// answers in which regime and in which phase of its debt cycles the economy is.
//
// Arithmetic is in package macro; this package checks arguments, reads, and shapes answers. Each
// capability makes at most two reads. None needs a portfolio.
package macrohound

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/dawsos/dawsos/internal/agents/capability"
	"github.com/dawsos/dawsos/internal/macro"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/pkg/agent"
)

// Name is the agent's name in traces, metrics and breaker settings.
const Name = "macro_hound"

// Market reads macro series.
type Market interface {
	// MacroCatalog describes the series that the cut holds values of, by name.
	MacroCatalog(ctx context.Context, cut portfolio.Cut) ([]macro.Info, error)
	// Series returns time series from the last observation on or before the query's From to the cut's date.
	Series(ctx context.Context, cut portfolio.Cut, q portfolio.SeriesQuery) (portfolio.SeriesSet, error)
}

// Hound answers for one market database.
type Hound struct {
	market Market
	config macro.Config
	extra  []agent.Capability
}

var _ agent.Agent = (*Hound)(nil)

// New returns an agent that judges by config what it reads from market. It has the capabilities of extra
// besides its own.
func New(market Market, config macro.Config, extra ...agent.Capability) *Hound {
	return &Hound{market: market, config: config, extra: extra}
}

// Name implements agent.Agent.
func (*Hound) Name() string { return Name }

// Capabilities implements agent.Agent. Its own are pure: macro values are read through the pack's date and
// revision from append-only tables, and the config is the process's, which no cache outlives.
func (h *Hound) Capabilities() []agent.Capability {
	s := newSchemas(h.config)
	own := []agent.Capability{
		{
			Name: "macro.detect_regime",
			Description: "The regime of the economy with the probability of each, and the z-scores over ten years " +
				"that they come from; nothing is used before its publication.",
			Args: json.RawMessage(asofArgs), Result: s.regime, Cost: agent.Medium,
			Run: h.detectRegime,
		},
		{
			Name:        "macro.get_regime_history",
			Description: "The regime at the end of each of the last weeks and its probability, each with what was known then.",
			Args:        json.RawMessage(historyArgs), Result: s.history, Cost: agent.Medium,
			Run: h.regimeHistory,
		},
		{
			Name: "macro.get_indicators",
			Description: "Every macro series' newest known value in its unit, its change over a year and its z-score " +
				"over ten years.",
			Args: json.RawMessage(asofArgs), Result: json.RawMessage(indicatorsResult), Cost: agent.Medium,
			Run: h.indicators,
		},
		{
			Name: "macro.detect_trend_shifts",
			Description: "Changes of regime that are sure enough, and betas that moved by more than two standard " +
				"errors, from the histories of both.",
			Args: json.RawMessage(shiftsArgs), Result: json.RawMessage(shiftsResult), Cost: agent.Low,
			Run: h.trendShifts,
		},
		{
			Name:        "cycles.compute_short_term",
			Description: "The phase of the short-term debt cycle with the probability of each, and the phase at the end of past months.",
			Args:        json.RawMessage(asofArgs), Result: s.shortTerm, Cost: agent.Medium,
			Run: h.shortTerm,
		},
		{
			Name:        "cycles.compute_long_term",
			Description: "The phase of the long-term debt cycle with the probability of each, the credit-to-GDP gap among its inputs.",
			Args:        json.RawMessage(asofArgs), Result: s.longTerm, Cost: agent.Medium,
			Run: h.longTerm,
		},
		{
			Name:        "cycles.compute_empire",
			Description: "Says what the cycle of empires would be judged by and why there is no data of it: no phase is ever told.",
			Args:        json.RawMessage(asofArgs), Result: s.empire, Cost: agent.Low,
			Run: h.empire,
		},
		{
			Name:        "cycles.aggregate_overview",
			Description: "The phases of the three cycles side by side, and what is missing of each.",
			Args:        json.RawMessage(overviewArgs), Result: json.RawMessage(overviewResult), Cost: agent.Low,
			Run: h.overview,
		},
	}
	for i := range own {
		own[i].Purity = agent.Pure
	}
	return append(own, h.extra...)
}

// asofOf returns the day that is asked about: the argument's, else the run's.
func asofOf(req agent.Request, value *string) (time.Time, error) {
	d, err := capability.Day(req, "asof", value)
	if err != nil || value != nil {
		return d, err
	}
	return req.Context.Asof, nil
}

// readAsof reads the arguments of capabilities that take nothing but a day.
func readAsof(req agent.Request) (time.Time, error) {
	var args struct {
		Asof *string `json:"asof"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return time.Time{}, err
	}
	return asofOf(req, args.Asof)
}

// beginning is before any series.
var beginning = time.Date(1700, time.January, 1, 0, 0, 0, 0, time.UTC)

// panel reads the named series, or all that there are when names is nil, from years before a day on; 0
// means from their beginnings. It holds at most most series, the first by name; omitted counts the others.
func (h *Hound) panel(ctx context.Context, c agent.Context, names []string, from time.Time, most int) (panel macro.Panel, omitted int, err error) {
	cut := capability.Cut(c)
	catalog, err := h.market.MacroCatalog(ctx, cut)
	if err != nil {
		return nil, 0, err
	}
	infos := map[string]macro.Info{}
	var wanted []string
	for _, info := range catalog {
		if names == nil || slices.Contains(names, info.Name) {
			infos[info.Name] = info
			wanted = append(wanted, info.Name)
		}
	}
	slices.Sort(wanted)
	if len(wanted) > most {
		wanted, omitted = wanted[:most], len(wanted)-most
	}
	panel = macro.Panel{}
	if len(wanted) == 0 {
		return panel, omitted, nil
	}
	set, err := h.market.Series(ctx, cut, portfolio.SeriesQuery{From: from, Macro: wanted})
	if err != nil {
		return nil, 0, err
	}
	for name, points := range set.Macro {
		panel[name] = macro.Observed{Info: infos[name], Points: points}
	}
	return panel, omitted, nil
}

// detector reads what a model needs to be read on the days from one on.
func (h *Hound) detector(ctx context.Context, c agent.Context, m macro.Model, first time.Time) (*macro.Detector, error) {
	from := beginning
	if years := h.config.Settings.Reach(m); years > 0 {
		from = first.AddDate(-years, 0, 0)
	}
	names := m.SeriesNames()
	panel, _, err := h.panel(ctx, c, names, from, len(names))
	if err != nil {
		return nil, err
	}
	return macro.NewDetector(m, panel, h.config.Settings)
}

// used collects what answers were computed from: series with the newest date that was used, and files.
type used map[string]time.Time

// configured returns a collection with the files of the config.
func configured(files ...string) used {
	u := used{}
	for _, f := range files {
		u[f] = time.Time{}
	}
	return u
}

func (u used) series(name string, date time.Time) {
	key := "macro:" + name
	if u[key].Before(date) {
		u[key] = date
	}
}

func (u used) readings(r macro.Reading) {
	for _, in := range r.Inputs {
		for _, name := range in.Candidate.Series {
			u.series(name, in.Date)
		}
	}
}

func (u used) sources() []agent.Source {
	sources := make([]agent.Source, 0, len(u))
	for _, name := range slices.SortedFunc(maps.Keys(u), cmp.Compare[string]) {
		sources = append(sources, agent.Source{Name: name, Asof: u[name]})
	}
	return sources
}

func text(d time.Time) string { return d.Format(time.DateOnly) }
