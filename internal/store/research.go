package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/portfolio"
	"github.com/dawsos/dawsos/internal/research"
	"github.com/dawsos/dawsos/internal/store/db"
)

// maxFigures bounds the figures that one read of fundamentals returns.
const maxFigures = 100_000

// SecurityByID returns a security with the attributes that it had at the cut's revision, or
// [fault.NotFound] when the cut does not know it. The cut's date does not matter.
func (s *Store) SecurityByID(ctx context.Context, cut portfolio.Cut, id string) (portfolio.Security, error) {
	missing := func(err error) error { return fault.Wrap(err, fault.NotFound, "there is no security %q", id) }
	parsed, err := uuid.Parse(id)
	if err != nil {
		return portfolio.Security{}, missing(err)
	}
	r, err := s.q.SecurityByID(ctx, cut.Revision, cut.TenantID, parsed)
	if errors.Is(err, pgx.ErrNoRows) {
		return portfolio.Security{}, missing(err)
	}
	if err != nil {
		return portfolio.Security{}, fmt.Errorf("security %s: %w", id, err)
	}
	duration, convexity := r.Duration, r.Convexity
	if r.ChangedIn != 0 {
		duration, convexity = r.ChangedDuration, r.ChangedConvexity
	}
	return portfolio.Security{
		ID: r.ID.String(), Symbol: r.Symbol, Name: r.Name, AssetClass: r.AssetClass,
		Sector: r.Sector, Currency: r.Currency, Role: r.Role,
		Duration: floatOrNil(duration), Convexity: floatOrNil(convexity),
	}, nil
}

// Fundamentals returns the newest figure of every metric that the cut holds of a security, ordered by
// provider, then metric. provider "" means all of them. A security without figures has none; one that
// does not exist has none either.
func (s *Store) Fundamentals(ctx context.Context, cut portfolio.Cut, securityID, provider string) ([]research.Fundamental, error) {
	return s.FundamentalsOf(ctx, cut, []string{securityID}, provider, nil)
}

// FundamentalsOf is Fundamentals for several securities in one read, ordered by symbol, provider and
// metric, and for the named metrics alone unless none are named.
func (s *Store) FundamentalsOf(
	ctx context.Context, cut portfolio.Cut, securityIDs []string, provider string, metrics []string,
) ([]research.Fundamental, error) {
	if !storable(provider) {
		return nil, nil // nobody has such a name
	}
	rows, err := s.q.Fundamentals(ctx, db.FundamentalsParams{
		TenantID: cut.TenantID, Ids: ids(securityIDs), Provider: provider, Asof: cut.Date, Revision: cut.Revision,
		Metrics: append([]string{}, metrics...), RowLimit: maxFigures + 1,
	})
	if err != nil {
		return nil, fmt.Errorf("fundamentals on %s: %w", cut.Date.Format(time.DateOnly), err)
	}
	if len(rows) > maxFigures {
		return nil, fault.New(fault.TooLarge, "more than %d fundamentals are stored of what was asked for", maxFigures)
	}
	figures := make([]research.Fundamental, len(rows))
	for i, r := range rows {
		figures[i] = research.Fundamental{
			SecurityID: r.SecurityID.String(), Symbol: r.Symbol, Provider: r.Provider, Metric: r.Metric,
			Date: r.Date, PeriodEnd: zeroIfNil(r.PeriodEnd), Value: r.Value,
		}
	}
	return figures, nil
}

// Ratings returns the newest score of every metric that the cut holds of the securities, ordered by
// symbol, then metric.
func (s *Store) Ratings(ctx context.Context, cut portfolio.Cut, securityIDs []string) ([]research.Rating, error) {
	rows, err := s.q.Ratings(ctx, db.RatingsParams{
		TenantID: cut.TenantID, Ids: ids(securityIDs), Asof: cut.Date, Revision: cut.Revision,
	})
	if err != nil {
		return nil, fmt.Errorf("ratings on %s: %w", cut.Date.Format(time.DateOnly), err)
	}
	ratings := make([]research.Rating, len(rows))
	for i, r := range rows {
		ratings[i] = research.Rating{
			SecurityID: r.SecurityID.String(), Symbol: r.Symbol, Metric: r.Metric, Date: r.Date, Score: r.Score, Source: r.Source,
		}
	}
	return ratings, nil
}

// News returns up to limit items about any of the symbols that the cut holds, published at since or
// later, newest first. An item that was corrected counts as its last correction says.
func (s *Store) News(ctx context.Context, cut portfolio.Cut, symbols []string, since time.Time, limit int) ([]research.NewsItem, error) {
	since = since.UTC()
	rows, err := s.q.News(ctx, db.NewsParams{
		TenantID: cut.TenantID, Asof: cut.Date, Revision: cut.Revision,
		Symbols: slices.DeleteFunc(slices.Clone(symbols), func(symbol string) bool { return !storable(symbol) }),
		Since:   since, SinceDate: time.Date(since.Year(), since.Month(), since.Day(), 0, 0, 0, 0, time.UTC),
		RowLimit: int32(limit), //nolint:gosec // bounded by the agent
	})
	if err != nil {
		return nil, fmt.Errorf("news since %s: %w", since.Format(time.RFC3339), err)
	}
	items := make([]research.NewsItem, len(rows))
	for i, r := range rows {
		items[i] = research.NewsItem{
			ID: r.ID, PublishedAt: r.PublishedAt.UTC(), Title: r.Title, Source: r.Source, URL: r.Url,
			Sentiment: r.Sentiment, Symbols: r.Symbols,
		}
	}
	return items, nil
}

// NewestNews returns when the newest news item that the cut holds was published, whatever it is about;
// the zero time when there is none.
func (s *Store) NewestNews(ctx context.Context, cut portfolio.Cut) (time.Time, error) {
	at, err := s.q.NewestNews(ctx, cut.TenantID, cut.Date, cut.Revision)
	if errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("newest news on %s: %w", cut.Date.Format(time.DateOnly), err)
	}
	return at.UTC(), nil
}

// ids reads UUIDs. What is none names nothing.
func ids(texts []string) []uuid.UUID {
	list := make([]uuid.UUID, 0, len(texts))
	for _, text := range texts {
		if id, err := uuid.Parse(text); err == nil {
			list = append(list, id)
		}
	}
	return list
}
