package provider

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Marketaux is a news service that says which listed companies an article is about and judges its
// sentiment towards each (https://www.marketaux.com/documentation).
type Marketaux struct{ service }

// NewMarketaux returns the provider.
func NewMarketaux(o Options) *Marketaux {
	return &Marketaux{newService("marketaux", "https://api.marketaux.com", 60, time.Minute, o, keyInQuery("api_token"))}
}

// Name implements Provider.
func (*Marketaux) Name() string { return "marketaux" }

// Kind implements Provider.
func (*Marketaux) Kind() Kind { return News }

const (
	symbolsAtOnce = 20 // in one request
	pagesAtMost   = 20 // of one request's answer; older articles than those are left for no one
)

// Fetch implements Provider. An article about several symbols is emitted once, with all that were asked
// for; its sentiment is the mean over them.
func (m *Marketaux) Fetch(ctx context.Context, symbols []string, since time.Time, emit func(Row) error) error {
	seen := map[string]bool{}
	for group := range slices.Chunk(symbols, symbolsAtOnce) {
		for page := 1; page <= pagesAtMost; page++ {
			more, err := m.page(ctx, symbols, group, since, page, func(row NewsRow) error {
				if seen[row.ID] {
					return nil
				}
				seen[row.ID] = true
				return emit(row)
			})
			if err != nil {
				return err
			}
			if !more {
				break
			}
		}
	}
	return nil
}

type article struct {
	UUID        string `json:"uuid"`
	Title       string `json:"title"`
	URL         string `json:"url"`
	PublishedAt string `json:"published_at"`
	Source      string `json:"source"`
	Entities    []struct {
		Symbol    string   `json:"symbol"`
		Sentiment *float64 `json:"sentiment_score"`
	} `json:"entities"`
}

func (m *Marketaux) page(ctx context.Context, all, group []string, since time.Time, page int, emit func(NewsRow) error) (more bool, err error) {
	var answer struct {
		Meta struct {
			Found int `json:"found"`
			Limit int `json:"limit"`
		} `json:"meta"`
		Data []article `json:"data"`
	}
	query := url.Values{
		"symbols": {strings.Join(group, ",")}, "filter_entities": {"true"}, "language": {"en"}, "page": {strconv.Itoa(page)},
	}
	if !since.IsZero() {
		query.Set("published_after", since.UTC().Format("2006-01-02T15:04:05"))
	}
	if err := m.get(ctx, strings.Join(group, ","), "/v1/news/all", query, &answer); err != nil {
		return false, err
	}
	for _, a := range answer.Data {
		row, ok, err := m.row(a, all)
		if err != nil {
			return false, err
		}
		if !ok {
			continue
		}
		if err := emit(row); err != nil {
			return false, err
		}
	}
	return len(answer.Data) > 0 && page*answer.Meta.Limit < answer.Meta.Found, nil
}

// row returns an article's, false when it is about none of the symbols.
func (m *Marketaux) row(a article, symbols []string) (NewsRow, bool, error) {
	published, err := time.Parse(time.RFC3339, a.PublishedAt)
	if err != nil || a.UUID == "" || strings.TrimSpace(a.Title) == "" {
		return NewsRow{}, false, &Error{Provider: m.name, Detail: fmt.Sprintf("an article without id, title or time of publication (%.40q, %.40q)", a.UUID, a.PublishedAt)}
	}
	row := NewsRow{
		ID: m.name + ":" + a.UUID, PublishedAt: published.UTC().Format(time.RFC3339), Title: a.Title,
		Source: a.Source, URL: a.URL, Symbols: []string{},
	}
	sum, n := 0.0, 0
	for _, e := range a.Entities {
		if !slices.Contains(symbols, e.Symbol) || slices.Contains(row.Symbols, e.Symbol) {
			continue
		}
		row.Symbols = append(row.Symbols, e.Symbol)
		if e.Sentiment != nil {
			sum += *e.Sentiment
			n++
		}
	}
	slices.Sort(row.Symbols)
	if n > 0 {
		mean := max(-1, min(1, sum/float64(n)))
		row.Sentiment = &mean
	}
	return row, len(row.Symbols) > 0, nil
}
