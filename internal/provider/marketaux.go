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
// for; its sentiment is the mean over them. One about symbols of several requests is answered to each with that
// request's alone, so that none is whole before the last.
func (m *Marketaux) Fetch(ctx context.Context, symbols []string, since time.Time, emit func(Row) error) error {
	byID := map[string]*covered{}
	var articles []*covered // in the order in which they came
	for group := range slices.Chunk(symbols, symbolsAtOnce) {
		for page := 1; page <= pagesAtMost; page++ {
			answered, more, err := m.page(ctx, group, since, page)
			if err != nil {
				return err
			}
			for _, a := range answered {
				c, known := byID[a.UUID]
				if !known {
					if c, err = m.cover(a); err != nil {
						return err
					}
					byID[a.UUID], articles = c, append(articles, c)
				}
				c.take(a, symbols)
			}
			if !more {
				break
			}
		}
	}
	for _, c := range articles {
		if row, ok := c.whole(); ok {
			if err := emit(row); err != nil {
				return err
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

func (m *Marketaux) page(ctx context.Context, group []string, since time.Time, page int) (list []article, more bool, err error) {
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
		return nil, false, err
	}
	return answer.Data, len(answer.Data) > 0 && page*answer.Meta.Limit < answer.Meta.Found, nil
}

// covered is an article with what is known so far of whom it is about.
type covered struct {
	row    NewsRow
	sum    float64 // of the sentiments
	judged int
}

func (m *Marketaux) cover(a article) (*covered, error) {
	published, err := time.Parse(time.RFC3339, a.PublishedAt)
	if err != nil || a.UUID == "" || strings.TrimSpace(a.Title) == "" {
		return nil, &Error{Provider: m.name, Detail: fmt.Sprintf("an article without id, title or time of publication (%.40q, %.40q)", a.UUID, a.PublishedAt)}
	}
	return &covered{row: NewsRow{
		ID: m.name + ":" + a.UUID, PublishedAt: published.UTC().Format(time.RFC3339), Title: a.Title,
		Source: a.Source, URL: a.URL, Symbols: []string{},
	}}, nil
}

// take adds those of the symbols that an answer says the article is about.
func (c *covered) take(a article, symbols []string) {
	for _, e := range a.Entities {
		if !slices.Contains(symbols, e.Symbol) || slices.Contains(c.row.Symbols, e.Symbol) {
			continue
		}
		c.row.Symbols = append(c.row.Symbols, e.Symbol)
		if e.Sentiment != nil {
			c.sum += *e.Sentiment
			c.judged++
		}
	}
}

// whole returns the row, false when it is about none of the symbols.
func (c *covered) whole() (NewsRow, bool) {
	slices.Sort(c.row.Symbols)
	if c.judged > 0 {
		mean := max(-1, min(1, c.sum/float64(c.judged)))
		c.row.Sentiment = &mean
	}
	return c.row, len(c.row.Symbols) > 0
}
