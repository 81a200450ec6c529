// Package harvester is the agent data_harvester: it reads what was imported or fetched of companies,
// their ratings and the news about them, and measures what news amount to for a portfolio.
//
// It reads stored rows alone, through the run's pricing pack, so that an answer can be computed again
// later. Arithmetic is in package research.
package harvester

import (
	"context"
	"encoding/json"
	"fmt"
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
const Name = "data_harvester"

// Library reads what is stored of securities.
type Library interface {
	// SecurityByID returns fault.NotFound when the cut knows no such security.
	SecurityByID(ctx context.Context, cut portfolio.Cut, id string) (portfolio.Security, error)
	// Fundamentals returns the newest figure of every metric, of all providers ("") or one.
	Fundamentals(ctx context.Context, cut portfolio.Cut, securityID, provider string) ([]research.Fundamental, error)
	// Ratings returns the newest score of every metric.
	Ratings(ctx context.Context, cut portfolio.Cut, securityIDs []string) ([]research.Rating, error)
	// News returns up to limit items about any of the symbols, published at since or later, newest first.
	News(ctx context.Context, cut portfolio.Cut, symbols []string, since time.Time, limit int) ([]research.NewsItem, error)
	// NewestNews returns when the newest item about anything was published, the zero time without one.
	NewestNews(ctx context.Context, cut portfolio.Cut) (time.Time, error)
}

// Harvester reads from a library.
type Harvester struct {
	library  Library
	settings research.NewsSettings
}

var _ agent.Agent = (*Harvester)(nil)

// New returns a harvester whose searches of news are bounded by settings.
func New(library Library, settings research.NewsSettings) *Harvester {
	return &Harvester{library: library, settings: settings}
}

// Name implements agent.Agent.
func (*Harvester) Name() string { return Name }

// Capabilities implements agent.Agent. All are pure: rows are read through the pack's date and
// revision from append-only tables, and settings are read once, when the process starts.
func (h *Harvester) Capabilities() []agent.Capability {
	return []agent.Capability{
		{
			Name:        "fundamentals.load",
			Description: "The newest figures of a company's accounts that were known on the as-of date, in the units of docs/analytics/ratings.md.",
			Args:        json.RawMessage(fundamentalsArgs), Result: json.RawMessage(fundamentalsResult),
			Purity: agent.Pure, Cost: agent.Low,
			Run: h.fundamentals,
		},
		{
			Name:        "provider.fundamentals",
			Description: "The same as fundamentals.load for what one provider gave, on any day up to the as-of date.",
			Args:        json.RawMessage(providerFundamentalsArgs), Result: json.RawMessage(fundamentalsResult),
			Purity: agent.Pure, Cost: agent.Low,
			Run: h.fundamentals,
		},
		{
			Name:        "provider.ratings",
			Description: "The newest stored ratings of a security by metric, scores 0 to 10 as decimal strings.",
			Args:        json.RawMessage(providerRatingsArgs), Result: json.RawMessage(providerRatingsResult),
			Purity: agent.Pure, Cost: agent.Low,
			Run: h.ratings,
		},
		{
			Name:        "news.search",
			Description: "Stored news about any of the symbols in the hours before the end of the as-of day (UTC), newest first; sentiment -1 to 1.",
			Args:        json.RawMessage(searchArgs), Result: json.RawMessage(searchResult),
			Purity: agent.Pure, Cost: agent.Low,
			Run: h.search,
		},
		{
			Name:        "news.compute_portfolio_impact",
			Description: "The sum over news of absolute sentiment times the weight of the holdings mentioned, a fraction.",
			Args:        json.RawMessage(impactArgs), Result: json.RawMessage(impactResult),
			Purity: agent.Pure, Cost: agent.Low,
			Run: h.impact,
		},
	}
}

type fundamentalsAnswer struct {
	research.Report

	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

// cutOn is the run's cut as it was on an earlier day; the zero time keeps it.
func cutOn(req agent.Request, day time.Time) portfolio.Cut {
	cut := capability.Cut(req.Context)
	if !day.IsZero() && day.Before(cut.Date) {
		cut.Date = day
	}
	return cut
}

func (h *Harvester) fundamentals(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		SecurityID string  `json:"security_id"`
		Provider   string  `json:"provider"`
		Asof       *string `json:"asof"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	day, err := capability.Day(req, "asof", args.Asof)
	if err != nil {
		return agent.Result{}, err
	}
	cut := cutOn(req, day)
	security, err := h.library.SecurityByID(ctx, cut, args.SecurityID)
	if err != nil {
		return agent.Result{}, err
	}
	figures, err := h.library.Fundamentals(ctx, cut, security.ID, args.Provider)
	if err != nil {
		return agent.Result{}, err
	}
	answer := fundamentalsAnswer{
		Report:       research.NewReport(security, args.Provider, cut.Date, figures),
		Insufficient: []capability.Insufficient{},
	}
	source := agent.Source{Name: "fundamentals:" + security.Symbol}
	for _, f := range figures {
		if f.Date.After(source.Asof) {
			source.Asof = f.Date
		}
	}
	if len(figures) == 0 {
		from := ""
		if args.Provider != "" {
			from = " from " + args.Provider
		}
		answer.Insufficient = append(answer.Insufficient, capability.Insufficient{
			Field: "figures", Missing: source.Name,
			Reason: fmt.Sprintf("no fundamentals%s are stored that were known on %s", from, cut.Date.Format(time.DateOnly)),
		})
		return agent.Result{Value: answer}, nil
	}
	return agent.Result{Value: answer, Sources: []agent.Source{source}}, nil
}

type ratingsAnswer struct {
	SecurityID   string                    `json:"security_id"`
	Symbol       string                    `json:"symbol"`
	Asof         string                    `json:"asof"`
	Ratings      []storedRating            `json:"ratings"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

type storedRating struct {
	Metric string `json:"metric"`
	Score  string `json:"score"`
	Date   string `json:"date"`
	Source string `json:"source"`
}

func (h *Harvester) ratings(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		SecurityID string  `json:"security_id"`
		Asof       *string `json:"asof"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	day, err := capability.Day(req, "asof", args.Asof)
	if err != nil {
		return agent.Result{}, err
	}
	cut := cutOn(req, day)
	security, err := h.library.SecurityByID(ctx, cut, args.SecurityID)
	if err != nil {
		return agent.Result{}, err
	}
	found, err := h.library.Ratings(ctx, cut, []string{security.ID})
	if err != nil {
		return agent.Result{}, err
	}
	answer := ratingsAnswer{
		SecurityID: security.ID, Symbol: security.Symbol, Asof: cut.Date.Format(time.DateOnly),
		Ratings: make([]storedRating, len(found)), Insufficient: []capability.Insufficient{},
	}
	source := agent.Source{Name: "ratings:" + security.Symbol}
	for i, r := range found {
		answer.Ratings[i] = storedRating{Metric: r.Metric, Score: r.Score.String(), Date: r.Date.Format(time.DateOnly), Source: r.Source}
		if r.Date.After(source.Asof) {
			source.Asof = r.Date
		}
	}
	if len(found) == 0 {
		answer.Insufficient = append(answer.Insufficient, capability.Insufficient{
			Field: "ratings", Missing: source.Name,
			Reason: "no ratings are stored that were known on " + cut.Date.Format(time.DateOnly),
		})
		return agent.Result{Value: answer}, nil
	}
	return agent.Result{Value: answer, Sources: []agent.Source{source}}, nil
}

// maxSymbols bounds the symbols of one search.
const maxSymbols = 10_000

type searchAnswer struct {
	Items        []newsItem                `json:"items"`
	Window       timeWindow                `json:"window"`
	Truncated    bool                      `json:"truncated"`
	Insufficient []capability.Insufficient `json:"insufficient_data"`
}

type newsItem struct {
	ID          string   `json:"id"`
	PublishedAt string   `json:"published_at"` // RFC 3339, UTC
	Title       string   `json:"title"`
	Source      string   `json:"source"`
	URL         *string  `json:"url"`
	Sentiment   *float64 `json:"sentiment"`
	Symbols     []string `json:"symbols"`
}

type timeWindow struct {
	Start string `json:"start"` // RFC 3339, UTC
	End   string `json:"end"`   // exclusive
	Hours int    `json:"hours"`
}

func (h *Harvester) search(ctx context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		Symbols   []string        `json:"symbols"`
		Positions json.RawMessage `json:"positions"`
		Hours     *int            `json:"lookback_hours"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	symbols, err := symbolsOf(req, args.Symbols, args.Positions)
	if err != nil {
		return agent.Result{}, err
	}
	hours := h.settings.LookbackHours
	if args.Hours != nil {
		hours = *args.Hours
	}
	if hours < 1 || hours > h.settings.MaxLookbackHours {
		return agent.Result{}, fault.InvalidField("/args/lookback_hours", "%d is outside 1 to %d", hours, h.settings.MaxLookbackHours)
	}
	// The last day that the run can see: what was published later does not exist for it.
	cut := capability.Cut(req.Context)
	end := cut.Date.AddDate(0, 0, 1)
	start := end.Add(-time.Duration(hours) * time.Hour)
	answer := searchAnswer{
		Items:        []newsItem{},
		Window:       timeWindow{Start: start.Format(time.RFC3339), End: end.Format(time.RFC3339), Hours: hours},
		Insufficient: []capability.Insufficient{},
	}
	sources := []agent.Source{{Name: h.settings.Source}}
	if len(symbols) == 0 {
		return agent.Result{Value: answer, Sources: sources}, nil
	}
	found, err := h.library.News(ctx, cut, symbols, start, h.settings.MaxItems+1)
	if err != nil {
		return agent.Result{}, err
	}
	newest, err := h.library.NewestNews(ctx, cut)
	if err != nil {
		return agent.Result{}, err
	}
	var warnings []string
	if len(found) > h.settings.MaxItems {
		found, answer.Truncated = found[:h.settings.MaxItems], true
		warnings = append(warnings, fmt.Sprintf("There are more news in the window; these are the newest %d.", h.settings.MaxItems))
	}
	for _, n := range found {
		item := newsItem{
			ID: n.ID, PublishedAt: n.PublishedAt.Format(time.RFC3339Nano), Title: n.Title, Source: n.Source,
			Sentiment: n.Sentiment, Symbols: append([]string{}, n.Symbols...),
		}
		if n.URL != "" {
			item.URL = &n.URL
		}
		answer.Items = append(answer.Items, item)
	}
	switch {
	case newest.IsZero():
		answer.Insufficient = append(answer.Insufficient, capability.Insufficient{
			Field: "items", Missing: "news", Reason: "no news are stored up to " + cut.Date.Format(time.DateOnly),
		})
	case newest.Before(start):
		// No news of one security is an answer; none of any is as likely a feed that has stopped.
		answer.Insufficient = append(answer.Insufficient, capability.Insufficient{
			Field: "items", Missing: "news",
			Reason: fmt.Sprintf("the newest news that are stored, of anything, are of %s, before the window", newest.Format(time.RFC3339)),
		})
	}
	if !newest.IsZero() {
		sources = append(sources, agent.Source{Name: "news", Asof: newest.Truncate(24 * time.Hour)})
	}
	return agent.Result{Value: answer, Sources: sources, Warnings: warnings}, nil
}

// symbolsOf returns the distinct symbols that were named, or those of the positions, sorted.
func symbolsOf(req agent.Request, symbols []string, positions json.RawMessage) ([]string, error) {
	if (symbols == nil) == (positions == nil) {
		return nil, fault.New(fault.Invalid, "%s needs one of symbols and positions", req.Capability)
	}
	if positions != nil {
		var list []struct {
			Symbol string `json:"symbol"`
		}
		if err := json.Unmarshal(positions, &list); err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "%s: positions must be a list of objects with a symbol", req.Capability)
		}
		for _, p := range list {
			symbols = append(symbols, p.Symbol)
		}
	}
	if len(symbols) > maxSymbols {
		return nil, fault.New(fault.Invalid, "%s: %d symbols are named, %d are allowed", req.Capability, len(symbols), maxSymbols)
	}
	symbols = slices.Clone(symbols)
	slices.Sort(symbols)
	return slices.Compact(symbols), nil
}

type impactAnswer struct {
	TotalImpact    *float64                  `json:"total_impact"`
	NetImpact      *float64                  `json:"net_impact"`
	MinThreshold   float64                   `json:"min_threshold"`
	Items          []itemImpact              `json:"items"`
	BelowThreshold belowThreshold            `json:"below_threshold"`
	BySymbol       []symbolImpact            `json:"by_symbol"`
	Unjudged       []namedItem               `json:"unjudged"`
	Unweighted     []namedItem               `json:"unweighted"`
	Elsewhere      int                       `json:"elsewhere"`
	Insufficient   []capability.Insufficient `json:"insufficient_data"`
}

type itemImpact struct {
	ID          string   `json:"id"`
	PublishedAt string   `json:"published_at"`
	Title       string   `json:"title"`
	Sentiment   float64  `json:"sentiment"`
	Symbols     []string `json:"symbols"` // holdings alone
	Weight      float64  `json:"weight"`
	Impact      float64  `json:"impact"`
	NetImpact   float64  `json:"net_impact"`
}

type belowThreshold struct {
	Items  int     `json:"items"`
	Impact float64 `json:"impact"`
}

type symbolImpact struct {
	Symbol    string  `json:"symbol"`
	Weight    float64 `json:"weight"`
	Items     int     `json:"items"`
	Sentiment float64 `json:"mean_sentiment"`
	Impact    float64 `json:"impact"`
	NetImpact float64 `json:"net_impact"`
}

type namedItem struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Symbols []string `json:"symbols"`
}

func (h *Harvester) impact(_ context.Context, req agent.Request) (agent.Result, error) {
	var args struct {
		News      json.RawMessage `json:"news_items"`
		Valued    json.RawMessage `json:"valued_positions"`
		Threshold *float64        `json:"min_threshold"`
	}
	if err := capability.Decode(req, &args); err != nil {
		return agent.Result{}, err
	}
	var news searchAnswer
	var valued struct {
		Positions []struct {
			Symbol string   `json:"symbol"`
			Weight *float64 `json:"weight"`
		} `json:"positions"`
	}
	if err := json.Unmarshal(args.News, &news); err != nil {
		return agent.Result{}, fault.Wrap(err, fault.Invalid, "%s: news_items must be what news.search answers", req.Capability)
	}
	if err := json.Unmarshal(args.Valued, &valued); err != nil {
		return agent.Result{}, fault.Wrap(err, fault.Invalid, "%s: valued_positions must be what pricing.apply_pack answers", req.Capability)
	}
	threshold := h.settings.MinImpactThreshold
	if args.Threshold != nil {
		threshold = *args.Threshold
	}
	items, err := readItems(news.Items)
	if err != nil {
		return agent.Result{}, err
	}
	holdings := make([]research.Exposure, len(valued.Positions))
	for i, p := range valued.Positions {
		holdings[i] = research.Exposure(p)
	}
	m := research.MeasureImpact(items, holdings)
	answer := impactAnswer{
		TotalImpact: m.Total, NetImpact: m.Net, MinThreshold: threshold, Items: []itemImpact{},
		BySymbol: make([]symbolImpact, len(m.Symbols)), Unjudged: named(m.Unjudged), Unweighted: named(m.Unweighted),
		Elsewhere: m.Elsewhere, Insufficient: []capability.Insufficient{},
	}
	for _, i := range m.Items {
		if i.Impact < threshold {
			answer.BelowThreshold.Items++
			answer.BelowThreshold.Impact += i.Impact
			continue
		}
		answer.Items = append(answer.Items, itemImpact{
			ID: i.ID, PublishedAt: i.PublishedAt.Format(time.RFC3339Nano), Title: i.Title, Sentiment: *i.Sentiment,
			Symbols: i.Held, Weight: i.Weight, Impact: i.Impact, NetImpact: i.Net,
		})
	}
	for i, s := range m.Symbols {
		answer.BySymbol[i] = symbolImpact{
			Symbol: s.Symbol, Weight: s.Weight, Items: s.Items, Sentiment: s.Sentiment, Impact: s.Impact, NetImpact: s.Net,
		}
	}
	lacking := func(missing, reason string) {
		answer.TotalImpact, answer.NetImpact = nil, nil
		for _, field := range []string{"total_impact", "net_impact"} {
			answer.Insufficient = append(answer.Insufficient, capability.Insufficient{Field: field, Missing: missing, Reason: reason})
		}
	}
	for _, i := range news.Insufficient {
		lacking(i.Missing, i.Reason)
	}
	if len(news.Insufficient) == 0 && m.Total == nil {
		lacking("news.sentiment", fmt.Sprintf("of the news about holdings %d have no sentiment and %d are about unpriced positions alone",
			len(m.Unjudged), len(m.Unweighted)))
	}
	var warnings []string
	if news.Truncated {
		warnings = append(warnings, "The impact is that of the newest news alone: the search had more than it returns.")
	}
	if n := len(m.Unjudged); n > 0 && answer.TotalImpact != nil {
		warnings = append(warnings, fmt.Sprintf("%d news about holdings have no sentiment and are not counted.", n))
	}
	return agent.Result{Value: answer, Sources: []agent.Source{{Name: h.settings.Source}}, Warnings: warnings}, nil
}

// readItems reads news back from arguments.
func readItems(list []newsItem) ([]research.NewsItem, error) {
	items := make([]research.NewsItem, len(list))
	for i, n := range list {
		at, err := time.Parse(time.RFC3339, n.PublishedAt)
		if err != nil {
			return nil, fault.InvalidField(fmt.Sprintf("/args/news_items/items/%d/published_at", i), "%q is not a moment after RFC 3339", n.PublishedAt)
		}
		if n.Sentiment != nil && (*n.Sentiment < -1 || *n.Sentiment > 1) {
			return nil, fault.InvalidField(fmt.Sprintf("/args/news_items/items/%d/sentiment", i), "%v is outside -1 to 1", *n.Sentiment)
		}
		items[i] = research.NewsItem{
			ID: n.ID, PublishedAt: at.UTC(), Title: n.Title, Source: n.Source, Sentiment: n.Sentiment, Symbols: n.Symbols,
		}
	}
	return items, nil
}

func named(items []research.NewsItem) []namedItem {
	list := make([]namedItem, len(items))
	for i, n := range items {
		list[i] = namedItem{ID: n.ID, Title: n.Title, Symbols: append([]string{}, n.Symbols...)}
	}
	slices.SortStableFunc(list, func(a, b namedItem) int { return strings.Compare(a.ID, b.ID) })
	return list
}
